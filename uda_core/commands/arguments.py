"""What the commands share: a parser that tells mistakes in one line, and arguments that several of them take."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from uda_core.errors import UserError


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def add(commands, name: str, run: Callable[[argparse.Namespace], int] | None, about: str, example: str) -> Parser:
    """A parser for the command `name`; `run` is called with what it parsed, and returns the exit status.

    No `run` where the command has commands of its own.
    """
    parser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=example_of(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the sets (default: $UDA_DATA, else data)")


def example_of(words: str) -> str:
    return f"example:\n  python -m uda_core {words}"
