"""Every task by its name: `load("fonts-handwriting")`, `load("office31:A-W")`, `load("folders", None, a, b)`."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uda_core.data import sets
from uda_core.errors import UserError, choose
from uda_core.task import Task


@dataclass(frozen=True)
class Entry:
    """What the command line needs to know about a task, or a family of tasks, before one is loaded."""

    about: str  # one line
    loader: str  # "module:function", imported when the task is loaded: some need libraries that the others do not
    steps: int  # by default, where the method does not plan its own
    config: Mapping[str, object] = field(default_factory=dict)  # where the task needs other values than the defaults
    settings: Mapping[str, float] = field(default_factory=dict)  # the same, for those methods that have them
    dense: bool = False  # whether each pixel has a label
    sets: tuple[str, ...] = ()  # that it is read from, in the data folder; none: built in, or the user's own
    domains: Mapping[str, str] = field(default_factory=dict)  # of a family: letter -> folder; its tasks are NAME:S-T
    own: bool = False  # whether it is made of the user's own --source and --target


# CAG-UDA's published values, and for the warm-up, which was not released, AdaptSegNet's. The ImageNet weights of the
# network come with --weights.
DEEPLAB = {
    "network": "deeplab_v3plus_resnet101", "batch_size": 4, "batch_norm": "shared", "warm_up": "adversarial",
    "jitter": "none", "margin_unit": "absolute", "optimizer": "sgd",
    "decay_steps": 250_000, "stage_decay_steps": 90_000,
}  # fmt: skip
DEEPLAB_SETTINGS = {
    "learning_rate": 2.5e-4, "stage_learning_rate": 1e-4, "margin": 2.5,
    "source_steps": 0, "warm_up_steps": 150_000, "stage_steps": 62_412,
}  # fmt: skip
# Before their results on the target were seen: MCD's network for these digits and its weight decay, 32 + 32 images,
# Adam at its usual 1e-3, the kit's other defaults (chosen on fonts-distorted), new pseudo-labels every 300 steps.
DIGITS = {
    "network": "mcd_digits", "features": 0, "hidden": (100, 100), "batch_size": 32, "weight_decay": 5e-4, "fast": True,
}  # fmt: skip
COLOUR_DIGITS = DIGITS | {"network": "mcd_colour_digits", "hidden": (2048,)}
DIGITS_SETTINGS = {"learning_rate": 1e-3, "refresh": 300}
# Image sets without published settings of their own here: CGDM's network and optimiser, the kit's other defaults.
IMAGES = {
    "network": "resnet50", "features": 256, "hidden": (1000, 1000), "batch_size": 32,
    "optimizer": "sgd", "weight_decay": 5e-4,
}  # fmt: skip
DOMAINNET = {"C": "clipart", "I": "infograph", "P": "painting", "Q": "quickdraw", "R": "real", "S": "sketch"}
FEATURES = {
    "network": "linear", "features": 256, "hidden": (500, 500), "batch_size": 32, "optimizer": "sgd",
    "weight_decay": 5e-4, "fast": True,
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
    "mnist-usps": Entry(
        "scanned digits teach those of envelopes, 28x28 pixels, 10 classes",
        "uda_core.data.digit_files:mnist_usps",
        steps=3000,
        config=DIGITS,
        settings=DIGITS_SETTINGS,
        sets=("mnist", "usps"),
    ),
    "usps-mnist": Entry(
        "the digits of envelopes teach scanned ones, 28x28 pixels, 10 classes",
        "uda_core.data.digit_files:usps_mnist",
        steps=3000,
        config=DIGITS,
        settings=DIGITS_SETTINGS,
        sets=("mnist", "usps"),
    ),
    "svhn-mnist": Entry(
        "house numbers teach scanned digits, in colour, 32x32 pixels, 10 classes",
        "uda_core.data.digit_files:svhn_mnist",
        steps=10_000,
        config=COLOUR_DIGITS,
        settings=DIGITS_SETTINGS,
        sets=("svhn", "mnist"),
    ),
    "mnist-mnistm": Entry(
        "scanned digits teach the same over photographs, 32x32 pixels, 10 classes",
        "uda_core.data.digit_files:mnist_mnistm",
        steps=10_000,
        config=COLOUR_DIGITS,
        settings=DIGITS_SETTINGS,
        sets=("mnist", "mnist-m"),
    ),
    "office31": Entry(
        "things of the office: a shop (A), a good camera (D), a webcam (W); 31 classes",
        "uda_core.data.image_folders:office31",
        steps=4000,
        config=IMAGES,
        settings={"learning_rate": 1e-3},
        sets=("office31",),
        domains={"A": "amazon", "D": "dslr", "W": "webcam"},
    ),
    "imageclef": Entry(
        "12 classes that ImageNet (I), Pascal (P) and Caltech (C) share",
        "uda_core.data.image_folders:imageclef",
        steps=3618,
        config=IMAGES,
        settings={"learning_rate": 1e-3},
        sets=("imageclef",),
        domains={"I": "i", "P": "p", "C": "c"},
    ),
    "visda2017": Entry(
        "renderings teach photographs, 12 classes",
        "uda_core.data.image_folders:visda2017",
        steps=100_000,
        config=IMAGES | {"network": "resnet101"},
        settings={"learning_rate": 1e-3, "refresh": 2000},
        sets=("visda2017",),
    ),
    "domainnet": Entry(
        "345 classes: clipart (C), infographs (I), paintings (P), quick drawings (Q), photographs (R), sketches (S)",
        "uda_core.data.image_folders:domainnet",
        steps=100_000,
        config=IMAGES,
        settings={"learning_rate": 1e-3, "refresh": 4000},
        sets=("domainnet",),
        domains=DOMAINNET,
    ),
    "folders": Entry(
        "your own images: --source DIR and --target DIR, one folder per class, of the same names in both",
        "uda_core.data.image_folders:folders",
        steps=2000,
        config=IMAGES,
        settings={"learning_rate": 1e-3},
        own=True,
    ),
    "features": Entry(
        "your own frozen features: --source A.npz and --target B.npz, which the command `features` makes of folders",
        "uda_core.data.feature_files:load",
        steps=600,
        config=FEATURES,
        settings={"learning_rate": 1e-2},
        own=True,
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
        sets=("camvid",),
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
        sets=("camvid",),
    ),
    "gta5-cityscapes": Entry(
        "a game teaches German streets, 19 classes",
        "uda_core.data.road_scenes:gta5_cityscapes",
        steps=90_000,
        config=DEEPLAB,
        settings=DEEPLAB_SETTINGS,
        dense=True,
        sets=("gta5", "cityscapes"),
    ),
    "synthia-cityscapes": Entry(
        "rendered streets teach German ones, 16 classes and 13 of their columns",
        "uda_core.data.road_scenes:synthia_cityscapes",
        steps=90_000,
        config=DEEPLAB,
        settings=DEEPLAB_SETTINGS,
        dense=True,
        sets=("synthia", "cityscapes"),
    ),
    "synthia-cityscapes-13": Entry(
        "the same with 13 classes from the start",
        "uda_core.data.road_scenes:synthia_cityscapes_13",
        steps=90_000,
        config=DEEPLAB,
        settings=DEEPLAB_SETTINGS,
        dense=True,
        sets=("synthia", "cityscapes"),
    ),
}


def load(
    name: str, data: Path | None = None, source: str | Path | None = None, target: str | Path | None = None
) -> Task:
    """The task of this name, with its default parameters; files are looked for in the data folder.

    That is `data`, else the folder that the environment variable UDA_DATA names, else `data` where you are.
    Tasks of the user's own data ("folders", "features") are made of `source` and `target` instead.
    """
    entry = entry_of(name)
    if ":" in name and not entry.domains:
        raise UserError(f"unknown task {name!r}: {name.partition(':')[0]} has no domains to choose from")
    loader = pkgutil.resolve_name(entry.loader)
    if entry.own:
        if source is None or target is None:
            raise UserError(f"{name} needs your own data: give both --source and --target")
        return loader(Path(source), Path(target))
    if source is not None or target is not None:
        own = " and ".join(other for other, entry in TASKS.items() if entry.own)
        raise UserError(f"{name} brings its own data; --source and --target belong to {own}")
    if entry.domains:
        return loader(sets.data_folder(data), name, *_domains(name))
    return loader(sets.data_folder(data)) if entry.sets else loader()


def missing(name: str, data: Path | None = None) -> str | None:
    """What a task lacks in the data folder, and how to get it, a line per set; None if it needs none, or has it all."""
    entry = entry_of(name)
    return sets.missing(entry.sets, sets.data_folder(data)) if entry.sets else None


def entry_of(name: str) -> Entry:
    """What is known of the task of this name, or of its family, as office31 is of office31:A-W."""
    return TASKS[choose("task", name.partition(":")[0], TASKS)]


def _domains(name: str) -> tuple[str, str]:
    """Source and target of one of a family's tasks, as their folders are called."""
    family, _, letters = name.partition(":")
    known, (source, _, target) = TASKS[family].domains, letters.partition("-")
    if source == target or not {source, target} <= known.keys():
        listed = ", ".join(f"{letter} ({folder})" for letter, folder in known.items())
        raise UserError(
            f"unknown task {name!r}: {family} needs two of its domains, as in {family}:"
            f"{'-'.join(list(known)[:2])}; known: {listed}"
        )
    return known[source], known[target]
