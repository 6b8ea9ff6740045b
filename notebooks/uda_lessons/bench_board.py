"""`uda bench board`: how quick the live board is in a real browser."""

import argparse
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
    """Run the browser tests with `--figures`; their exit status.

    Raises:
        UserError: outside a checkout, which alone has these tests.
    """
    checkout = Path(__file__).parents[2]
    tests = checkout / "tests" / "browser"
    if not tests.is_dir():
        raise UserError("bench board drives tests/browser, which only a checkout of the repository has; run it there")
    command = [sys.executable, "-m", "pytest", str(tests), "--figures", str(args.out.absolute())]
    return subprocess.run(command, cwd=checkout).returncode
