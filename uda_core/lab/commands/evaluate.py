"""`evaluate`: score a trained run again."""

import argparse
from pathlib import Path

from uda_core.evaluation import evaluate
from uda_core.lab.commands import arguments
from uda_core.lab.exports import export
from uda_core.lab.run_folder import RunFolder
from uda_core.methods import METHODS, Config, SegmentationConfig, adabn


def add(commands) -> None:
    example = "evaluate runs/cgdm-moons-seed1 --target-statistics"
    p = arguments.add(commands, "evaluate", evaluate_run, "score a trained run again", example)
    p.add_argument("run", type=Path, metavar="RUN_DIR", help="folder that `train` wrote")
    p.add_argument("--target-statistics", action="store_true", help="batch norm re-estimated on the unlabelled target")
    p.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda, wherever it was trained")
    about = "folder for the embeddings, predictions and confusion matrix; see uda_core/exports.py"
    p.add_argument("--export", type=Path, metavar="DIR", help=about)
    arguments.add_data(p)


def evaluate_run(args: argparse.Namespace) -> int:
    folder = RunFolder(args.run)
    saved = folder.settings()
    task = arguments.task_on_record(saved, args.data)
    config = SegmentationConfig if task.pair.dense else Config
    run = METHODS[saved["method"]](
        task.pair, config(device=args.device, batch_size=2)
    )  # of the rest the checkpoint tells
    folder.load(run)
    if args.target_statistics:
        run = adabn(run)
    variant = "" if run.pair.dense else f" ({run.config.variant})"
    print(f"{run.method}{variant}, seed {run.config.seed}, {run.steps} steps")
    if args.target_statistics:
        print("batch-norm statistics re-estimated on the target")
    evaluation = evaluate(run, task)
    print(evaluation)
    if args.export:
        print(f"written to {args.export}: {', '.join(export(run, task, evaluation, args.export))}")
    return 0
