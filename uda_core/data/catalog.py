"""Every task by its name: `load("fonts-handwriting")`."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from uda_core.data.task import Task
from uda_core.errors import choose


@dataclass(frozen=True)
class Entry:
    """What the command line needs to know about a task before it is loaded."""

    about: str  # one line
    loader: str  # "module:function", imported when the task is loaded: some need libraries that the others do not
    steps: int  # by default
    config: Mapping[str, object] = field(default_factory=dict)  # where the task needs other values than `Config`'s own
    data: str = "built in, nothing to download"


TASKS = {
    "fonts-handwriting": Entry(
        "printed digits teach handwritten ones, 16x16 pixels, 10 classes",
        "uda_core.data.digits:fonts_handwriting",
        steps=400,
    ),
    "fonts-distorted": Entry(
        "printed digits teach other fonts, bent by hand: the pair on which default settings are chosen",
        "uda_core.data.digits:fonts_distorted",
        steps=400,
    ),
    "moons": Entry(
        "two moons in the plane teach the same moons rotated, 2 classes",
        "uda_core.data.moons:moons",
        steps=300,
        config={"dropout": 0.0},
    ),
}


def load(name: str) -> Task:
    """The task of this name, with its default parameters."""
    return pkgutil.resolve_name(TASKS[choose("task", name, TASKS)].loader)()
