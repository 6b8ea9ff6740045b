"""`evaluate`: score a trained run again."""

import argparse
import json
from pathlib import Path

from uda_core import checkpoints
from uda_core.commands import arguments
from uda_core.data.catalog import entry_of
from uda_core.errors import UserError, choose
from uda_core.evaluation import evaluate
from uda_core.methods import METHODS, Config, SegmentationConfig, with_target_statistics


def add(commands) -> None:
    example = "evaluate runs/cgdm-moons-seed1 --target-statistics"
    p = arguments.add(commands, "evaluate", evaluate_run, "score a trained run again", example)
    p.add_argument("run", type=Path, metavar="RUN_DIR", help="folder that `train` wrote")
    p.add_argument("--target-statistics", action="store_true", help="batch norm re-estimated on the unlabelled target")
    p.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda, wherever it was trained")
    arguments.add_data(p)


def evaluate_run(args: argparse.Namespace) -> int:
    path = args.run / "settings.json"
    if not path.is_file():
        raise UserError(f"{args.run}: no settings.json; give a folder that `train` wrote, such as runs/mcd-moons-seed0")
    try:
        saved = json.loads(path.read_text())
        method, _ = choose("method", saved["method"], METHODS), entry_of(saved["task"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: damaged; train again, or put back the file that `train` wrote") from None
    task = arguments.task_on_record(saved, args.data)
    config = SegmentationConfig if task.pair.dense else Config
    run = METHODS[method](task.pair, config(device=args.device, batch_size=2))  # of the rest the checkpoint tells
    checkpoints.load(args.run / "checkpoint.pt", run)
    if args.target_statistics:
        run = with_target_statistics(run)
    variant = "" if run.pair.dense else f" ({run.config.variant})"
    print(f"{method}{variant}, seed {run.config.seed}, {run.steps} steps")
    if args.target_statistics:
        print("batch-norm statistics re-estimated on the target")
    print(evaluate(run, task))
    return 0
