"""`tasks`: every task, and whether its data is there."""

import argparse
import textwrap

from uda_core.commands import arguments
from uda_core.data import TASKS, missing
from uda_core.methods import CLASSIFY, SEGMENT


def add(commands) -> None:
    p = arguments.add(commands, "tasks", tasks, "list the tasks and whether their data is there", "tasks --data sets")
    arguments.add_data(p)


def tasks(args: argparse.Namespace) -> int:
    for name, entry in TASKS.items():
        there = missing(name, args.data) or ("found" if entry.sets else "built in, nothing to download")
        defaults = [f"{entry.steps} steps", *(f"{k}={v}" for k, v in (entry.config | entry.settings).items())]
        lines = [
            entry.about,
            f"data: {there}",
            f"methods: {', '.join(SEGMENT if entry.dense else CLASSIFY)}",
            f"defaults: {', '.join(defaults)}",
        ]
        print(f"{name:24}" + textwrap.indent("\n".join(lines), " " * 24).lstrip())
    return 0
