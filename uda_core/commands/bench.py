"""`bench`: speed, accuracy over seeds, and the live board, measured."""

import argparse
import subprocess
import sys
from pathlib import Path

from uda_core.commands import arguments
from uda_core.errors import UserError, choose


def add(commands) -> None:
    about = "measure speed, accuracy over seeds, or the live board"
    benches = arguments.add(commands, "bench", None, about, "bench speed").add_subparsers(required=True, metavar="WHAT")
    p = arguments.add(
        benches, "speed", bench_speed, "the gradient discrepancy, fast against naive forms", "bench speed"
    )
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    p = arguments.add(benches, "anchors", bench_anchors, "category anchors, vectorised against loops", "bench anchors")
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    example = "bench accuracy --seeds 0-9 --out accuracy.json"
    p = arguments.add(benches, "accuracy", bench_accuracy, "every method, seed by seed", example)
    p.add_argument("--seeds", default="0-9", metavar="A-B", help="a range, or a list such as 0,3,4 (default: 0-9)")
    about = "fonts-handwriting (default), imbalanced, rehearsal, streets, streets-rehearsal, camvid-day-dusk, "
    about += "office31-features"
    p.add_argument("--table", default="fonts-handwriting", metavar="NAME", help=about)
    arguments.add_data(p)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="results file: what it holds is kept")
    p = arguments.add(
        benches, "board", bench_board, "the live board in headless Chromium", "bench board --out board.json"
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write the times to")


def bench_speed(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import speed  # each benchmark brings its own imports

    return speed.main(args.out)


def bench_anchors(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import anchors

    return anchors.main(args.out)


def bench_accuracy(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import accuracy

    choose("table", args.table, accuracy.TABLES)
    accuracy.main(_seeds(args.seeds), args.out, args.table, args.data)
    return 0


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
