"""`uda tasks` and `uda recipes`: what there is to train on, and what to train with."""

import argparse
import textwrap

from uda_core.data import TASKS, missing
from uda_core.lab import main
from uda_core.lab.recipe import BY_TASK, default_for, describe, load, methods_for, names


def add(commands) -> None:
    """The command `tasks`."""
    about = "list the tasks and whether their data is there"
    main.add_data(main.add_command(commands, "tasks", tasks, about, "tasks --data sets"))


def tasks(args: argparse.Namespace) -> int:
    """Print every task, its data, its methods and its recipes."""
    published: dict[str, list[str]] = {name: [] for name in TASKS}
    defaults = {default_for(method, task).name for task in TASKS for method in methods_for(task)}
    by_task = {f"{name}-{task}" for name in BY_TASK for task in TASKS}
    for name in sorted({*names()} - defaults - by_task):
        for task in load(name).tasks:
            published[task].append(name)
    for name, entry in TASKS.items():
        own = "your own, not looked at here" if entry.own else "built in, nothing to download"
        there = missing(name, args.data) or ("found" if entry.sets else own)
        domains = ", ".join(f"{letter} ({folder})" for letter, folder in entry.domains.items())
        lines = [
            entry.about,
            *([f"names: {name}:S-T, where S and T are two of {domains}"] if domains else []),
            f"data: {there}",
            f"methods: {', '.join(methods_for(name))}",
            *([f"recipes by name: {', '.join(BY_TASK)}"] if not entry.dense else []),
            *([f"published recipes: {', '.join(published[name])}"] if published[name] else []),
            *(f"from scratch; published figures start from --weights {w}" for w in _weights(name)),
        ]
        print(f"{name:24}" + textwrap.indent("\n".join(lines), " " * 24).lstrip())
    return 0


def add_recipes(commands) -> None:
    """The command `recipes`."""
    about = "list the recipes, or print some of them: every value with its source"
    p = main.add_command(commands, "recipes", recipes, about, "recipes cgdm-visda")
    p.description += (
        "\nEach is a file; METHOD-TASK is what `uda train METHOD TASK` takes (METHOD-TASK-ours, where a published one\n"
        "has that name), the others are published configurations, which --recipe NAME takes. For each task that\n"
        f"classifies there are {' and '.join(f'{name}-TASK' for name in BY_TASK)}, where --recipe needs no -TASK."
    )
    about = "a recipe to print, or the beginning of some to list, such as infomax (default: list all)"
    p.add_argument("name", nargs="*", metavar="NAME", help=about)


def recipes(args: argparse.Namespace) -> int:
    """Print the recipes that are named, whole; a line of each that begins with NAME-, or without a name of all."""
    print("\n\n".join(map(_recipe, args.name)) or _lines(""))
    return 0


def _recipe(name: str) -> str:
    return (name not in names() and _lines(f"{name}-")) or describe(name)


def _lines(start: str) -> str:
    return "\n".join(f"{name:36}{load(name).about}" for name in names() if name.startswith(start))


def _weights(task: str) -> list[str]:
    """torchvision's name of the weights that a task's ResNet is published with."""
    kind, _, layers = default_for("source_only", task).config["network"].partition("resnet")
    return [f"ResNet{layers}_Weights.IMAGENET1K_V1"] if layers and not kind else []
