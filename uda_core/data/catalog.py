"""Every task by its name: `load("fonts-handwriting")`."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uda_core.data.task import Task
from uda_core.errors import choose


@dataclass(frozen=True)
class Entry:
    """What the command line needs to know about a task before it is loaded."""

    about: str  # one line
    loader: str  # "module:function", imported when the task is loaded: some need libraries that the others do not
    steps: int  # by default, where the method does not plan its own
    config: Mapping[str, object] = field(default_factory=dict)  # where the task needs other values than the defaults
    settings: Mapping[str, float] = field(default_factory=dict)  # the same, for those methods that have them
    dense: bool = False  # whether each pixel has a label
    files: bool = False  # whether it is read from the data folder; built in otherwise


# CAG-UDA's published values, and for the warm-up, which was not released, AdaptSegNet's. Learning rates stay constant
# here; theirs decay (poly, power 0.9). The ImageNet weights of the network come with --weights.
DEEPLAB = {
    "network": "deeplab_v3plus_resnet101", "batch_size": 4, "batch_norm": "shared", "warm_up": "adversarial",
    "jitter": "none", "margin_unit": "absolute", "optimizer": "sgd",
}  # fmt: skip
DEEPLAB_SETTINGS = {
    "learning_rate": 2.5e-4, "stage_learning_rate": 1e-4, "margin": 2.5,
    "source_steps": 0, "warm_up_steps": 150_000, "stage_steps": 62_412,
}  # fmt: skip
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
    "streets": Entry(
        "rendered streets teach streets seen by a camera, 64x128 pixels, 8 classes",
        "uda_core.data.streets:streets",
        steps=400,
        dense=True,
    ),
    "streets-rehearsal": Entry(
        "other streets and a milder camera: the pair on which settings are tried",
        "uda_core.data.streets:streets_rehearsal",
        steps=400,
        dense=True,
    ),
    "streets-camvid": Entry(
        "rendered streets teach photographs of real ones, 96x128 pixels, 8 classes",
        "uda_core.data.road_scenes:streets_camvid",
        steps=400,
        dense=True,
        files=True,
    ),
    "camvid-day-dusk": Entry(
        "one town by day teaches the same town at dusk, 180x240 pixels, 11 classes",
        "uda_core.data.road_scenes:camvid_day_dusk",
        steps=800,
        config={"network": "efficientnet_lite0", "weights": "imagenet", "batch_size": 4},
        settings={
            "learning_rate": 1e-3,
            "stage_learning_rate": 5e-4,
            "source_steps": 800,
            "warm_up_steps": 200,
            "stage_steps": 150,
        },  # the first chosen on the source's validation split, the others set beforehand
        dense=True,
        files=True,
    ),
    "gta5-cityscapes": Entry(
        "a game teaches German streets, 19 classes",
        "uda_core.data.road_scenes:gta5_cityscapes",
        steps=90_000,
        config=DEEPLAB,
        settings=DEEPLAB_SETTINGS,
        dense=True,
        files=True,
    ),
    "synthia-cityscapes": Entry(
        "rendered streets teach German ones, 16 classes and 13 of their columns",
        "uda_core.data.road_scenes:synthia_cityscapes",
        steps=90_000,
        config=DEEPLAB,
        settings=DEEPLAB_SETTINGS,
        dense=True,
        files=True,
    ),
    "synthia-cityscapes-13": Entry(
        "the same with 13 classes from the start",
        "uda_core.data.road_scenes:synthia_cityscapes_13",
        steps=90_000,
        config=DEEPLAB,
        settings=DEEPLAB_SETTINGS,
        dense=True,
        files=True,
    ),
}


def load(name: str, data: Path | None = None) -> Task:
    """The task of this name, with its default parameters; files are looked for in the data folder.

    That is `data`, else the folder that the environment variable UDA_DATA names, else `data` where you are.
    """
    entry = TASKS[choose("task", name, TASKS)]
    loader = pkgutil.resolve_name(entry.loader)
    if not entry.files:
        return loader()
    from uda_core.data.road_scenes import data_folder

    return loader(data_folder(data))


def missing(name: str, data: Path | None = None) -> str | None:
    """What a task lacks in the data folder, and how to get it, a line per set; None if it is all there, or built in."""
    if not TASKS[choose("task", name, TASKS)].files:
        return None
    from uda_core.data import road_scenes

    return road_scenes.missing(name, road_scenes.data_folder(data))
