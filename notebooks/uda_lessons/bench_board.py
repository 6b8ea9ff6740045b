"""`uda bench board`: how quick the live board is in a real browser."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from uda_core.errors import UserError


def add(benches: Any) -> None:
    """Add `board` to the subparsers of `uda bench`."""
    about = "the live board in headless Chromium"
    p = benches.add_parser("board", help=about, description=f"Measure {about}.")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write the times to")
    p.set_defaults(command=bench_board)


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
