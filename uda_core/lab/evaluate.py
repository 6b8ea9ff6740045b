"""`uda evaluate`: score a trained run again."""

import argparse
from pathlib import Path

from uda_core.errors import UserError
from uda_core.lab import main
from uda_core.lab.exports import export
from uda_core.lab.fingerprint import same_data
from uda_core.lab.recipe import method_for
from uda_core.lab.run_folder import RunFolder
from uda_core.lab.scoring import Kept, evaluate
from uda_core.methods import CGDMConfig, adabn


def add(commands) -> None:
    """The command `evaluate`."""
    example = "evaluate runs/cgdm-moons-seed1 --adabn"
    p = main.add_command(commands, "evaluate", evaluate_run, "score a trained run again", example)
    p.add_argument("run", type=Path, metavar="RUN_DIR", help="folder that `train` wrote; of restarts, the chosen run")
    p.add_argument("--adabn", action="store_true", help="batch norm re-estimated on the unlabelled target")
    p.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda, wherever it was trained")
    about = "folder for the embeddings, predictions and confusion matrix; see uda_core/lab/exports.py"
    p.add_argument("--export", type=Path, metavar="DIR", help=about)
    main.add_data(p)
    main.add_own(p, " that the run was trained on, if it has moved since")
    main.add_plugin(p)


def evaluate_run(args: argparse.Namespace) -> int:
    """Print the scores of the run in a folder, and export what they are made of; the exit status.

    Raises:
        UserError: for --source or --target of a run that was not trained on such.
    """
    folder = RunFolder(args.run).chosen()
    saved = folder.settings()
    main.same_plugin(folder.path, saved, args)
    moved = {name: str(path) for name in ("source", "target") if (path := getattr(args, name))}
    if saved.keys() & moved.keys() != moved.keys():
        raise UserError(f"{folder.path}: trained on {saved['task']}; leave --source and --target out")
    saved |= moved
    with folder.blaming("settings.json"):
        task, method = main.task_of(saved, args.data), method_for(saved["method"], saved["task"])
        same_data(saved, task.pair)
    run = method(task.pair, method.run.CONFIG(device=args.device, batch_size=2))  # the checkpoint holds the rest
    folder.load(run)
    if args.adabn:
        run = adabn(run)
    variant = f" ({run.config.variant})" if isinstance(run.config, CGDMConfig) else ""
    print(f"{run.method}{variant}, seed {run.config.seed}, {run.steps} steps")
    if args.adabn:
        print("batch-norm statistics re-estimated on the target")
    kept: Kept = {}
    evaluation = evaluate(run, task, kept if args.export else None)
    print(evaluation)
    if args.export:
        print(f"written to {args.export}: {', '.join(export(task, evaluation, kept, args.export))}")
    return 0
