"""`python -m uda_core`: train, evaluate and measure without a notebook."""

import argparse
import sys

from uda_core import __version__
from uda_core.errors import UserError
from uda_core.lab.commands import arguments, bench, evaluate, features, presets, tasks, train


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status: 0, 2 for bad input (told in one line), 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        args = _parser().parse_args(argv)
        return args.command(args)
    except (UserError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        "python -m uda_core",
        description="Train, score and measure methods of unsupervised domain adaptation, without a notebook.",
        epilog=arguments.example_of("train cgdm moons"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (tasks, presets, train, evaluate, features, bench):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
