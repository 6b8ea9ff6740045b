"""`uda bench`: speed, reading, and accuracy over seeds, measured. Other packages add theirs: group "uda.benches"."""

import argparse
import tempfile
from pathlib import Path

from uda_core.data import load
from uda_core.data.catalog import entry_of
from uda_core.errors import UserError
from uda_core.lab import main
from uda_core.lab.recipe import default_for


def add(commands) -> None:
    """The command `bench`, with commands of its own."""
    p = main.add_command(commands, "bench", None, "measure speed, reading, or accuracy over seeds", "bench speed")
    benches = p.add_subparsers(required=True, metavar="WHAT")
    about = "training steps, fast against naive forms"
    speed = main.add_command(benches, "speed", bench_speed, about, "bench speed")
    speed.description += (
        "\nMCD's step is compared with pytorch-adapt's where that is installed (its torchmetrics needs pkg_resources):"
        '\n  python3 -m pip install "pytorch-adapt==0.0.83" "setuptools<81"'
    )
    speed.add_argument("--device", default="cpu", metavar="D", help="cpu (default), or cuda: CGDM on ResNet-101 only")
    about = "category anchors, vectorised against loops"
    anchors = main.add_command(benches, "anchors", bench_anchors, about, "bench anchors")
    about, example = "whether L_gd pulls as the pseudo-labels do, or the true ones", "bench gradients --seeds 0-2"
    gradients = main.add_command(benches, "gradients", bench_gradients, about, example)
    fonts, about = ("fonts-handwriting", "fonts-distorted"), "fonts-handwriting (default) or fonts-distorted"
    gradients.add_argument("task", nargs="?", default=fonts[0], choices=fonts, metavar="TASK", help=about)
    about = "of CGDM's training: a range, or a list (default: 0)"
    gradients.add_argument("--seeds", default="0", metavar="A-B", help=about)
    gradients.add_argument("--out", type=Path, metavar="FILE.csv", help="also write each number, a loss a line")
    example = "bench accuracy --seeds 0-9 --out accuracy.csv"
    p = main.add_command(benches, "accuracy", bench_accuracy, "every method, seed by seed", example)
    p.add_argument("--seeds", default="0-9", metavar="A-B", help="a range, or a list such as 0,3,4 (default: 0-9)")
    tables = sorted(path.stem for path in Path(__file__).with_name("studies").glob("*.toml"))
    tables = f"{', '.join(tables)} (default: fonts-handwriting)"
    p.add_argument("--table", default="fonts-handwriting", metavar="NAME", help=tables)
    main.add_data(p)
    p.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="results file: what it holds is kept")
    about, example = "what would have chosen well among the runs that `bench accuracy` recorded", "bench validators"
    p = main.add_command(
        benches, "validators", bench_validators, about, f"{example} --traces accuracy.traces --out v.csv"
    )
    p.add_argument("--table", default="fonts-handwriting", metavar="NAME", help=tables)
    p.add_argument("--traces", type=Path, required=True, metavar="DIR", help="folder beside its results: NAME.traces")
    main.add_data(p)
    p.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="numbers of other tables are kept there")
    p.add_argument("--last", action="store_true", help="look at the last step of each run alone")
    about, example = "reading images, against training on them", "bench loader office31:A-W --network resnet18"
    loader = main.add_command(benches, "loader", bench_loader, about, example)
    loader.description += "\nWithout a TASK it writes JPEGs of 160 to 500 pixels to a temporary folder and reads those."
    main.add_task(loader, required=False)
    loader.add_argument("--method", default="cgdm", metavar="METHOD", help="that trains (default: cgdm)")
    loader.add_argument("--network", metavar="NAME", help="that is trained (default: the recipe's, resnet50)")
    loader.add_argument("--batch-size", type=int, metavar="N", help="per domain (default: the recipe's, 32)")
    loader.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda")
    loader.add_argument("--batches", type=int, default=10, metavar="N", help="measured at a time (default: 10)")
    for p in (speed, anchors, loader):
        p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    main.add_chosen(benches, [], [], "uda.benches")


def bench_speed(args: argparse.Namespace) -> int:
    """Measure the forms of a training step; the exit status is 1 if a target is missed."""
    from uda_core.lab.benchmarks import report, speed, table  # each benchmark brings its own imports

    result = speed.measure(device=args.device)
    return report(result, table(result), args.out)


def bench_anchors(args: argparse.Namespace) -> int:
    """Measure the forms of the anchors; the exit status is 1 if a target is missed."""
    from uda_core.lab.benchmarks import anchors, report

    result = anchors.measure()
    return report(result, anchors.table(result), args.out) or int(result["memory"]["share"] > anchors.MEMORY_TARGET)


def bench_gradients(args: argparse.Namespace) -> int:
    """Measure the gradients of CGDM's losses; the exit status."""
    from uda_core.lab import results, studies
    from uda_core.lab.benchmarks import gradients

    held = gradients.measure(load(args.task), seeds_of(args.seeds))
    print(results.of_gradients(held))
    if args.out:
        command = f"uda bench gradients {args.task} --seeds {args.seeds} --out {args.out.name}"
        results.write(held, args.out, {"command": command} | studies.made_with({}))
    return 0


def bench_accuracy(args: argparse.Namespace) -> int:
    """Measure a study, or what its results file lacks; the exit status."""
    from uda_core.lab import studies

    studies.measure(args.table, seeds_of(args.seeds), args.out, args.data)
    return 0


def bench_validators(args: argparse.Namespace) -> int:
    """Compute every validator on recorded runs; the exit status."""
    from uda_core.lab import choosing

    choosing.measure(args.table, args.traces, args.out, args.data, args.last)
    return 0


def bench_loader(args: argparse.Namespace) -> int:
    """Measure reading and training; the exit status.

    Raises:
        UserError: for a method or a task that does not classify images, or a number of batches below 1.
    """
    from uda_core.lab.benchmarks import loader, report

    task = args.task or "folders"
    recipe = default_for(args.method, task)
    if entry_of(task).dense:
        raise UserError(f"bench loader measures tasks that classify images, but {task} has a label for each pixel")
    if args.batches < 1:
        raise UserError(f"--batches must be at least 1, got {args.batches}")
    given = {"network": args.network, "batch_size": args.batch_size, "device": args.device}
    config = recipe.changed({name: value for name, value in given.items() if value is not None}).config
    with tempfile.TemporaryDirectory() as folder:
        loaded = main.task_of(main.record_of(args), args.data) if args.task else loader.made_up(Path(folder))
        result = loader.measure(loaded, args.method, recipe.form.run.CONFIG(**config), args.batches)
    return report(result, loader.table(result), args.out)


def seeds_of(text: str) -> list[int]:
    """ "0-9" or "0,3,4" as a list.

    Raises:
        UserError: for another text.
    """
    first, _, last = text.partition("-")
    try:
        seeds = list(range(int(first), int(last) + 1)) if last else [int(seed) for seed in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds:
        raise UserError(f"--seeds takes a range such as 0-9 or a list such as 0,3,4, got {text!r}")
    return seeds
