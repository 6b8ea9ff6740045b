"""The command `uda`: trains, scores and measures without a notebook. And what its commands share.

Each command is a function that gets argparse's subparsers and adds its parser, with a function of the parsed arguments
as the default of `command`, which returns the exit status. Other packages add theirs as entry points of the group
"uda.commands". Only the module of the command that runs is imported.
"""

import argparse
import ctypes
import importlib.util
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NoReturn

from uda_core import __version__
from uda_core.data import load
from uda_core.errors import UserError
from uda_core.task import Task

COMMANDS = {  # name -> where its function stands
    "tasks": "uda_core.lab.tasks:add",
    "recipes": "uda_core.lab.tasks:add_recipes",
    "train": "uda_core.lab.train:add",
    "evaluate": "uda_core.lab.evaluate:add",
    "features": "uda_core.lab.features:add",
    "compare": "uda_core.lab.compare:add",
    "bench": "uda_core.lab.bench:add",
    "cite": "uda_core.lab.cite:add",
}


class Parser(argparse.ArgumentParser):
    """Names a mistake in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        """
        Raises:
            UserError: always, with the message.
        """
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status: 0, 2 for bad input (a line on stderr), 130 after Ctrl-C, 143 after SIGTERM."""
    words = sys.argv[1:] if argv is None else argv
    keep_freed_memory()
    try:
        first = Parser("uda", add_help=False, allow_abbrev=False)
        first.add_argument("--plugin")
        load_plugin(first.parse_known_args(words)[0].plugin)  # before a command is asked what it knows
        args = parser_for(words).parse_args(words)
        return args.command(args)
    except (UserError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def parser_for(words: list[str]) -> Parser:
    """A parser that knows the command with which the words begin; all commands where they do not begin with one."""
    parser = Parser(
        "uda",
        description="Train, score and measure methods of unsupervised domain adaptation, without a notebook.",
        epilog=example_of("train cgdm moons"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    own = [EntryPoint(name, place, "uda.commands") for name, place in COMMANDS.items()]
    add_chosen(commands, words[:1], own, "uda.commands")
    return parser


def add_chosen(commands, words: list[str], own: list[EntryPoint], group: str) -> None:
    """Add the commands that are named, of our own or of a group of entry points; where there are none, all of both.

    One of another package is left out where it cannot be imported: the lessons may be missing, or their libraries.
    """
    chosen = [point for point in own if point.name in words]
    if not chosen:
        others = entry_points(group=group)
        chosen = [point for point in others if point.name in words] or [*own, *others]
    for point in chosen:
        try:
            add = point.load()
        except (ImportError, AttributeError):
            if point in own:
                raise
        else:
            add(commands)


def keep_freed_memory() -> None:
    """Let glibc keep what this process frees, up to 1 GiB at a time, for the next step; without glibc nothing happens.

    Otherwise every large tensor is given back to the system and comes anew, page by page: 160,000 page faults in a step
    of CGDM on ResNet-18 with 16 + 16 images of 128 pixels, and 5 % of its processor time. The same as the variables
    MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_, which the process would have to find when it starts.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim, mmap = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        if libc.mallopt(mmap, 2**30) or libc.mallopt(mmap, 2**25):  # some versions refuse more than half a heap, 32 MiB
            libc.mallopt(trim, 2**30)


# -- what the commands share -------------------------------------------------------------------------------------------


def add_command(
    commands, name: str, run: Callable[[argparse.Namespace], int] | None, about: str, example: str, **options
) -> Parser:
    """A parser for the command `name`; `run` is called with what it parsed, and returns the exit status.

    No `run` where the command has commands of its own. `options` go to argparse.
    """
    parser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=example_of(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    parser.set_defaults(command=run)
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option --data."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the sets (default: $UDA_DATA, else data)")


def add_task(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """TASK and what it is made of; `task_of(record_of(args), args.data)` loads it."""
    about = "one of those that `uda tasks` lists, such as moons, office31:A-W or folders"
    parser.add_argument("task", nargs=None if required else "?", metavar="TASK", help=about)
    add_data(parser)
    add_own(parser, ": a folder of class folders (task folders) or an .npz file (task features)")
    about = "for the task features: none (default), per-domain (mean 0 and deviation 1 in each), or source (its alone)"
    parser.add_argument("--standardise", metavar="HOW", help=about)


def add_own(parser: argparse.ArgumentParser, about: str) -> None:
    """The options --source and --target."""
    for domain in ("source", "target"):
        parser.add_argument(f"--{domain}", type=Path, metavar="PATH", help=f"your own {domain}{about}")


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """The option --plugin."""
    about = "a Python file of yours, run first: its networks, tasks, methods, and recipes beside it, are known by name"
    parser.add_argument("--plugin", type=Path, metavar="FILE.py", help=about)


def load_plugin(file: str | Path | None) -> None:
    """Import a Python file, under its name; the recipes in its folder are known from then on. Again: nothing.

    Raises:
        UserError: if there is none, if it fails, or if another module has its name.
    """
    if file is None:
        return
    path = Path(file).resolve()
    if not path.is_file() or path.suffix != ".py" or not path.stem.isidentifier():
        raise UserError(f"{file}: no Python file that can be imported; --plugin takes one such as my_network.py")
    spec = sys.modules[path.stem].__spec__ if path.stem in sys.modules else importlib.util.find_spec(path.stem)
    if spec and not (spec.origin and Path(spec.origin).exists() and path.samefile(spec.origin)):
        raise UserError(f"{file}: {path.stem} is the name of another module, {spec.origin}; rename the file")
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader  # noqa: PT018 - as it is a .py
        sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[path.stem]
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
            line = f", line {lines[-1]}" if lines else ""
            raise UserError(f"{file}{line}: {type(error).__name__}: {error}") from error
    from uda_core.lab.recipe import FOLDERS  # not at the top: not every command has recipes

    if path.parent not in FOLDERS:
        FOLDERS.append(path.parent)


def same_plugin(folder: Path, saved: dict, args: argparse.Namespace) -> None:
    """Do nothing if the plugin that a run was made with is given again, wherever it lies now.

    A settings.json alone does not run any code.

    Raises:
        UserError: if it is not.
    """
    made = saved.get("plugin")
    if made and not (args.plugin and args.plugin.name == Path(made).name):
        raise UserError(f"{folder}: made with your own code; if you trust it, add --plugin {made}")


def names_of(source: str | Path, target: str | Path) -> tuple[str, str]:
    """What to call one's own source and target: the last parts of their paths in which they differ, without .npz."""
    paths = [Path(path).absolute() for path in (source, target)]
    ends = [path.with_suffix("") if path.suffix == ".npz" else path for path in paths]
    parts = zip(*(reversed(path.parts[1:]) for path in ends), strict=False)
    return next(((s, t) for s, t in parts if s != t), (ends[0].name, ends[1].name))


def record_of(args: argparse.Namespace) -> dict[str, str]:
    """The task by name, where one's own data and code lie, and how features are standardised, for settings.json."""
    own = {n: str(path.absolute()) for n in ("source", "target", "plugin") if (path := getattr(args, n, None))}
    return {"task": args.task, **own, **({"standardise": args.standardise} if args.standardise else {})}


def task_of(record: dict[str, str], data: Path | None) -> Task:
    """The task of such a record.

    Raises:
        UserError: if there is none, or its data is missing or damaged.
    """
    return load(record["task"], data, record.get("source"), record.get("target"), record.get("standardise"))


def example_of(words: str) -> str:
    """The end of a help text."""
    return f"example:\n  uda {words}"
