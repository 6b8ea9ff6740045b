"""`tasks`: every task, and whether its data is there."""

import argparse
import textwrap

from uda_core.data import TASKS, missing
from uda_core.data.catalog import Entry
from uda_core.lab.commands import arguments
from uda_core.methods import CLASSIFY, SEGMENT


def add(commands) -> None:
    p = arguments.add(commands, "tasks", tasks, "list the tasks and whether their data is there", "tasks --data sets")
    arguments.add_data(p)


def tasks(args: argparse.Namespace) -> int:
    for name, entry in TASKS.items():
        own = "your own, not looked at here" if entry.own else "built in, nothing to download"
        there = missing(name, args.data) or ("found" if entry.sets else own)
        defaults = [f"{entry.steps} steps", *(f"{k}={v}" for k, v in (entry.config | entry.settings).items())]
        domains = ", ".join(f"{letter} ({folder})" for letter, folder in entry.domains.items())
        family = [f"names: {name}:S-T, where S and T are two of {domains}"] if domains else []
        pretrained = [f"from scratch; published figures start from --weights {w}" for w in _weights(entry)]
        lines = [
            entry.about,
            *family,
            f"data: {there}",
            f"methods: {', '.join(SEGMENT if entry.dense else CLASSIFY)}",
            f"defaults: {', '.join(defaults)}",
            *pretrained,
        ]
        print(f"{name:24}" + textwrap.indent("\n".join(lines), " " * 24).lstrip())
    return 0


def _weights(entry: Entry) -> list[str]:
    """torchvision's name of the weights that a task's ResNet is published with."""
    kind, _, layers = str(entry.config.get("network")).partition("resnet")
    return [f"ResNet{layers}_Weights.IMAGENET1K_V1"] if layers and not kind else []
