"""`presets`: the published configurations, value by value."""

import argparse

from uda_core.lab import presets
from uda_core.lab.commands import arguments


def add(commands) -> None:
    about = "list the published configurations, each value with its source"
    p = arguments.add(commands, "presets", show, about, "presets cgdm-visda")
    p.add_argument("name", nargs="*", metavar="NAME", help="only these (default: all)")


def show(args: argparse.Namespace) -> int:
    print("\n\n".join(presets.describe(name) for name in args.name or presets.PRESETS))
    return 0
