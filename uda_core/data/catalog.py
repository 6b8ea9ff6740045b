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
    """What is known about a task, or a family of tasks, before one is loaded."""

    about: str  # one line
    loader: str  # "module:function", imported when the task is loaded: some need libraries that the others do not
    dense: bool = False  # whether each pixel has a label
    vectors: bool = False  # whether samples are vectors, not images
    sets: tuple[str, ...] = ()  # that it is read from, in the data folder; none: built in, or the user's own
    domains: Mapping[str, str] = field(default_factory=dict)  # of a family: letter -> folder; its tasks are NAME:S-T
    own: bool = False  # whether it is made of the user's own --source and --target


DOMAINNET = {"C": "clipart", "I": "infograph", "P": "painting", "Q": "quickdraw", "R": "real", "S": "sketch"}
TASKS = {
    "fonts-handwriting": Entry(
        "printed digits teach handwritten ones, 16x16 pixels, 10 classes", "uda_core.data.digits:fonts_handwriting"
    ),
    "fonts-distorted": Entry(
        "printed digits teach other fonts, bent by hand: the pair on which default settings are chosen",
        "uda_core.data.digits:fonts_distorted",
    ),
    "moons": Entry(
        "two moons in the plane teach the same moons rotated, 2 classes", "uda_core.data.moons:moons", vectors=True
    ),
    "blobs": Entry(
        "three Gaussians in the plane teach the same ones moved, 3 classes", "uda_core.data.blobs:blobs", vectors=True
    ),
    "mnist-usps": Entry(
        "scanned digits teach those of envelopes, 28x28 pixels, 10 classes",
        "uda_core.data.digit_files:mnist_usps",
        sets=("mnist", "usps"),
    ),
    "usps-mnist": Entry(
        "the digits of envelopes teach scanned ones, 28x28 pixels, 10 classes",
        "uda_core.data.digit_files:usps_mnist",
        sets=("mnist", "usps"),
    ),
    "svhn-mnist": Entry(
        "house numbers teach scanned digits, in colour, 32x32 pixels, 10 classes",
        "uda_core.data.digit_files:svhn_mnist",
        sets=("svhn", "mnist"),
    ),
    "mnist-mnistm": Entry(
        "scanned digits teach the same over photographs, 32x32 pixels, 10 classes",
        "uda_core.data.digit_files:mnist_mnistm",
        sets=("mnist", "mnist-m"),
    ),
    "office31": Entry(
        "things of the office: a shop (A), a good camera (D), a webcam (W); 31 classes",
        "uda_core.data.image_folders:office31",
        sets=("office31",),
        domains={"A": "amazon", "D": "dslr", "W": "webcam"},
    ),
    "office-home": Entry(
        "things of office and home: art (A), clipart (C), products of shops (P), photographs (R); 65 classes",
        "uda_core.data.image_folders:office_home",
        sets=("office-home",),
        domains={"A": "Art", "C": "Clipart", "P": "Product", "R": "Real World"},
    ),
    "imageclef": Entry(
        "12 classes that ImageNet (I), Pascal (P) and Caltech (C) share",
        "uda_core.data.image_folders:imageclef",
        sets=("imageclef",),
        domains={"I": "i", "P": "p", "C": "c"},
    ),
    "visda2017": Entry(
        "renderings teach photographs, 12 classes", "uda_core.data.image_folders:visda2017", sets=("visda2017",)
    ),
    "domainnet": Entry(
        "345 classes: clipart (C), infographs (I), paintings (P), quick drawings (Q), photographs (R), sketches (S)",
        "uda_core.data.image_folders:domainnet",
        sets=("domainnet",),
        domains=DOMAINNET,
    ),
    "folders": Entry(
        "your own images: --source DIR and --target DIR, one folder per class, of the same names in both",
        "uda_core.data.image_folders:folders",
        own=True,
    ),
    "features": Entry(
        "your own frozen features: --source A.npz and --target B.npz, which the command `features` makes of folders",
        "uda_core.data.feature_files:load",
        vectors=True,
        own=True,
    ),
    "streets": Entry(
        "rendered streets teach streets seen by a camera, 64x128 pixels, 8 classes",
        "uda_core.data.streets:streets",
        dense=True,
    ),
    "streets-rehearsal": Entry(
        "other streets and a milder camera: the pair on which settings are tried",
        "uda_core.data.streets:streets_rehearsal",
        dense=True,
    ),
    "streets-camvid": Entry(
        "rendered streets teach photographs of real ones, 96x128 pixels, 8 classes",
        "uda_core.data.road_scenes:streets_camvid",
        dense=True,
        sets=("camvid",),
    ),
    "camvid-day-dusk": Entry(
        "one town by day teaches the same town at dusk, 180x240 pixels, 11 classes",
        "uda_core.data.road_scenes:camvid_day_dusk",
        dense=True,
        sets=("camvid",),
    ),
    "gta5-cityscapes": Entry(
        "a game teaches German streets, 19 classes",
        "uda_core.data.road_scenes:gta5_cityscapes",
        dense=True,
        sets=("gta5", "cityscapes"),
    ),
    "synthia-cityscapes": Entry(
        "rendered streets teach German ones, 16 classes and 13 of their columns",
        "uda_core.data.road_scenes:synthia_cityscapes",
        dense=True,
        sets=("synthia", "cityscapes"),
    ),
    "synthia-cityscapes-13": Entry(
        "the same with 13 classes from the start",
        "uda_core.data.road_scenes:synthia_cityscapes_13",
        dense=True,
        sets=("synthia", "cityscapes"),
    ),
}


def load(
    name: str,
    data: Path | None = None,
    source: str | Path | None = None,
    target: str | Path | None = None,
    standardise: str | None = None,
) -> Task:
    """The task of this name, with its default parameters; files are looked for in the data folder.

    That is `data`, else the folder that the environment variable UDA_DATA names, else `data` where you are.
    Tasks of the user's own data ("folders", "features") are made of `source` and `target` instead; of "features",
    `standardise` says how (`feature_files.load`).

    Raises:
        UserError: for an unknown name, files that are missing or damaged, and `source`, `target` and `standardise`
            where they do not belong or are lacking.
    """
    entry = entry_of(name)
    if ":" in name and not entry.domains:
        raise UserError(f"unknown task {name!r}: {name.partition(':')[0]} has no domains to choose from")
    if standardise is not None and name != "features":
        raise UserError(f"{name} is not made of feature files; --standardise belongs to features")
    loader = pkgutil.resolve_name(entry.loader)
    if entry.own:
        if source is None or target is None:
            raise UserError(f"{name} needs your own data: give both --source and --target")
        return loader(Path(source), Path(target), *([standardise] if standardise else []))
    if source is not None or target is not None:
        own = " and ".join(other for other, entry in TASKS.items() if entry.own)
        raise UserError(f"{name} brings its own data; --source and --target belong to {own}")
    if entry.domains:
        return loader(sets.data_folder(data), name, *_domains(name))
    return loader(sets.data_folder(data)) if entry.sets else loader()


def missing(name: str, data: Path | None = None) -> str | None:
    """What a task lacks in the data folder, and how to get it, a line per set; None if it needs none, or has it all.

    Raises:
        UserError: for an unknown task, or a data folder that is not there.
    """
    entry = entry_of(name)
    return sets.missing(entry.sets, sets.data_folder(data)) if entry.sets else None


def entry_of(name: str) -> Entry:
    """The entry of the task of this name, or of its family, as office31 is of office31:A-W.

    Raises:
        UserError: for an unknown task.
    """
    family = name.partition(":")[0]
    if family not in TASKS:
        choose("task", family, TASKS)
    return TASKS[family]


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
