"""`uda bench board`: how quick the live board is in a real browser, and what its processor time goes to."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from uda_core.errors import UserError
from uda_core.lab.main import add_command


def add(benches: Any) -> None:
    """Add `board` to the subparsers of `uda bench`."""
    about, example = "the live board in headless Chromium", "bench board --out board.json"
    p = add_command(benches, "board", bench_board, about, example)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write the times to")


def bench_board(args: argparse.Namespace) -> int:
    """Run the browser tests with `--figures` and print these, a column for each kernel; the tests' exit status.

    Raises:
        UserError: outside a checkout, which alone has these tests.
    """
    checkout = Path(__file__).parents[2]
    tests = checkout / "tests" / "browser"
    if not tests.is_dir():
        raise UserError("bench board drives tests/browser, which only a checkout of the repository has; run it there")
    command = [sys.executable, "-m", "pytest", str(tests), "--figures", str(args.out.absolute())]
    status = subprocess.run(command, cwd=checkout).returncode
    if args.out.exists():
        print(table(json.loads(args.out.read_text())), f"load: {os.getloadavg()[0]:.1f} now", sep="\n")
    return status


def table(figures: dict[str, dict[str, float]]) -> str:
    """One line for each figure, by kernel; milliseconds where a name says nothing else."""
    names = dict.fromkeys(name for column in figures.values() for name in column)
    lines = [f"{'':34}" + "".join(f"{kernel:>14}" for kernel in figures)]
    return "\n".join(
        lines + [f"{name:34}" + "".join(f"{column.get(name, ''):>14}" for column in figures.values()) for name in names]
    )
