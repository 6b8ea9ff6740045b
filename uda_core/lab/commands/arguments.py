"""What the commands share: a parser that tells mistakes in one line, and arguments that several of them take."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from uda_core.data import load
from uda_core.errors import UserError
from uda_core.task import Task


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


def add_task(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """TASK and what it is made of; `task_of` loads it."""
    about = "one of those that `tasks` lists, such as moons, office31:A-W or folders"
    parser.add_argument("task", nargs=None if required else "?", metavar="TASK", help=about)
    add_data(parser)
    for domain in ("source", "target"):
        about = f"your own {domain}: a folder of class folders (task folders) or an .npz file (task features)"
        parser.add_argument(f"--{domain}", type=Path, metavar="PATH", help=about)


def task_of(args: argparse.Namespace) -> Task:
    return load(args.task, args.data, args.source, args.target)


def record_of(args: argparse.Namespace) -> dict[str, str]:
    """The task by name, and where one's own data lies, for settings.json; `task_on_record` finds it again."""
    own = {name: str(path.absolute()) for name in ("source", "target") if (path := getattr(args, name))}
    return {"task": args.task} | own


def task_on_record(record: dict, data: Path | None) -> Task:
    return load(record["task"], data, record.get("source"), record.get("target"))


def example_of(words: str) -> str:
    return f"example:\n  python -m uda_core {words}"
