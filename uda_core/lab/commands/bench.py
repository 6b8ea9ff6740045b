"""`bench`: speed, reading, accuracy over seeds, and the live board, measured."""

import argparse
import subprocess
import sys
from pathlib import Path

from uda_core.data.catalog import entry_of
from uda_core.errors import UserError, choose
from uda_core.lab.commands import arguments
from uda_core.methods import CLASSIFY, Config


def add(commands) -> None:
    about = "measure speed, reading, accuracy over seeds, or the live board"
    benches = arguments.add(commands, "bench", None, about, "bench speed").add_subparsers(required=True, metavar="WHAT")
    p = arguments.add(
        benches, "speed", bench_speed, "the gradient discrepancy, fast against naive forms", "bench speed"
    )
    p.add_argument("--device", default="cpu", metavar="D", help="cpu (default), or cuda: CGDM on ResNet-101 only")
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    p = arguments.add(benches, "anchors", bench_anchors, "category anchors, vectorised against loops", "bench anchors")
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    example = "bench accuracy --seeds 0-9 --out accuracy.json"
    p = arguments.add(benches, "accuracy", bench_accuracy, "every method, seed by seed", example)
    p.add_argument("--seeds", default="0-9", metavar="A-B", help="a range, or a list such as 0,3,4 (default: 0-9)")
    about = "fonts-handwriting (default), imbalanced, rehearsal, streets, streets-rehearsal, camvid-day-dusk, "
    about += "mnist-usps, usps-mnist, office31-features"
    p.add_argument("--table", default="fonts-handwriting", metavar="NAME", help=about)
    arguments.add_data(p)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="results file: what it holds is kept")
    about, example = "reading images, against training on them", "bench loader office31:A-W --network resnet18"
    p = arguments.add(benches, "loader", bench_loader, about, example)
    p.description += "\nWithout a TASK it writes JPEGs of 160 to 500 pixels to a temporary folder and reads those."
    arguments.add_task(p, required=False)
    p.add_argument("--method", default="cgdm", metavar="METHOD", help="that trains (default: cgdm)")
    p.add_argument("--network", metavar="NAME", help="that is trained (default: the task's; without one resnet50)")
    p.add_argument("--batch-size", type=int, metavar="N", help="per domain (default: the task's; without one 32)")
    p.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda")
    p.add_argument("--batches", type=int, default=10, metavar="N", help="measured at a time (default: 10)")
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    p = arguments.add(
        benches, "board", bench_board, "the live board in headless Chromium", "bench board --out board.json"
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write the times to")


def bench_speed(args: argparse.Namespace) -> int:
    from uda_core.lab.benchmarks import speed  # each benchmark brings its own imports

    return speed.main(args.out, args.device)


def bench_anchors(args: argparse.Namespace) -> int:
    from uda_core.lab.benchmarks import anchors

    return anchors.main(args.out)


def bench_accuracy(args: argparse.Namespace) -> int:
    from uda_core.lab.benchmarks import accuracy

    choose("table", args.table, accuracy.TABLES)
    accuracy.main(_seeds(args.seeds), args.out, args.table, args.data)
    return 0


def bench_loader(args: argparse.Namespace) -> int:
    from uda_core.lab.benchmarks import loader

    choose("method", args.method, CLASSIFY)
    entry = entry_of(args.task or "folders")
    if entry.dense:
        raise UserError(f"bench loader measures tasks that classify images, but {args.task} has a label for each pixel")
    if args.batches < 1:
        raise UserError(f"--batches must be at least 1, got {args.batches}")
    given = {"network": args.network, "batch_size": args.batch_size, "device": args.device}
    config = Config(**entry.config | {name: value for name, value in given.items() if value is not None})
    return loader.main(arguments.task_of(args) if args.task else None, args.method, config, args.batches, args.out)


def bench_board(args: argparse.Namespace) -> int:
    checkout = Path(__file__).parents[2]
    tests = checkout / "tests" / "browser"
    if not tests.is_dir():
        raise UserError("bench board drives tests/browser, which only a checkout of the repository has; run it there")
    command = [sys.executable, "-m", "pytest", str(tests), "--figures", str(args.out.absolute())]
    return subprocess.run(command, cwd=checkout).returncode


def _seeds(text: str) -> list[int]:
    """ "0-9" or "0,3,4" as a list."""
    first, _, last = text.partition("-")
    try:
        seeds = list(range(int(first), int(last) + 1)) if last else [int(seed) for seed in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds:
        raise UserError(f"--seeds takes a range such as 0-9 or a list such as 0,3,4, got {text!r}")
    return seeds
