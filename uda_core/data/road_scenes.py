"""Road scenes from files: GTA5, SYNTHIA-RAND-CITYSCAPES, Cityscapes and CamVid, and the tasks made of them.

Missing folders, and images without a label, raise a `UserError` when a task is made; damaged files when they are read.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda_core.data.road_classes import (
    CAMVID_11,
    CAMVID_IDS,
    CAMVID_TO_STREETS,
    CITYSCAPES_13,
    CITYSCAPES_16,
    CITYSCAPES_19,
    CITYSCAPES_IDS,
    GTA5_IDS,
    SYNTHIA_IDS,
    train_ids,
)
from uda_core.data.scene_files import (
    ImageFiles,
    LabelFiles,
    LabelledScenes,
    RandomCrop,
    UnlabelledScenes,
    ids_8bit,
    ids_16bit,
)
from uda_core.data.sets import require
from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

# -- the sets ----------------------------------------------------------------------------------------------------------

Scenes = list[tuple[Path, Path]]  # an image file and its label file each, in the order of their names
GTA5_MISFITS = ("15188", "17705")  # published with a label of another size than the image


def gta5(folder: Path) -> Scenes:
    """images/00001.png and labels/00001.png: 24,966, without the two misfits; not all are 1914x1052.

    Raises:
        UserError: if a folder is missing or empty, or an image or a label has no partner.
    """
    scenes = _scenes(_by_name(folder / "images", ".png"), folder / "labels", ".png")
    return [(image, label) for image, label in scenes if image.stem not in GTA5_MISFITS]


def synthia(folder: Path) -> Scenes:
    """RGB/0000000.png and GT/LABELS/0000000.png: 9,400 of 1280x760.

    Raises:
        UserError: if a folder is missing or empty, or an image or a label has no partner.
    """
    return _scenes(_by_name(folder / "RGB", ".png"), folder / "GT" / "LABELS", ".png")


def cityscapes(folder: Path, split: str) -> Scenes:
    """leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png of 2048x1024.

    Split train has 2,975, val 500.

    Raises:
        UserError: if a folder is missing or empty, or an image or a label has no partner.
    """
    images = _by_name(folder / "leftImg8bit" / split, "_leftImg8bit.png")
    return _scenes(images, folder / "gtFine" / split, "_gtFine_labelIds.png")


def camvid(folder: Path, split: str) -> Scenes:
    """SPLIT/*.png (or .jpg) and SPLITannot/*.png of the SegNet split: train has 367, val 101, test 233.

    Raises:
        UserError: if a folder is missing or empty, or an image or a label has no partner.
    """
    return _scenes(_by_name(folder / split, ".png", ".jpg"), folder / f"{split}annot", ".png")


def _by_name(folder: Path, *endings: str) -> dict[str, Path]:
    """Every file in a folder and the folders inside it, by its path in there without the ending."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files = (path for path in folder.rglob("*") if not path.name.startswith("."))
    found = {
        path.relative_to(folder).as_posix().removesuffix(ending): path
        for path in files
        for ending in endings
        if path.name.endswith(ending)
    }
    if not found:
        raise UserError(f"{folder}: no files *{' or *'.join(endings)} in it; is it the right folder?")
    return dict(sorted(found.items()))


def _scenes(images: dict[str, Path], labels_folder: Path, ending: str) -> Scenes:
    """Images with the labels of the same names; an image or a label without a partner is an error."""
    labels = _by_name(labels_folder, ending)
    for these, those, lack in ((images, labels, "label"), (labels, images, "image")):
        alone = [path for name, path in these.items() if name not in those]
        if alone:
            more = f" (and {len(alone) - 1} more files)" if len(alone) > 1 else ""
            raise UserError(f"{alone[0]}: its {lack} is missing{more}; unpack or download the set again")
    return [(image, labels[name]) for name, image in images.items()]


# -- the tasks ---------------------------------------------------------------------------------------------------------


def gta5_cityscapes(data: Path) -> Task:
    """A game teaches German streets, 19 classes.

    Source: GTA5, whole images at 1914x1052; the last fiftieth is the validation split. Target: Cityscapes train
    (unlabelled) and val (test).

    Raises:
        UserError: if one of the two sets is missing or not as published.
    """
    require(["gta5", "cityscapes"], data)
    ids = train_ids(GTA5_IDS, CITYSCAPES_19)
    train, val = _hold_out(gta5(data / "gta5"), 50)
    splits = (LabelledScenes(*_files(part, ids_8bit, ids, (1052, 1914))) for part in (train, val))
    return _cityscapes_task("gta5-cityscapes", CITYSCAPES_19, splits, data)


def synthia_cityscapes(data: Path) -> Task:
    """Rendered streets teach German ones, 16 classes, scored over 13 of them too: mIoU*.

    Source: SYNTHIA-RAND-CITYSCAPES; the last fiftieth is the validation split. Target: Cityscapes train (unlabelled)
    and val (test).

    Raises:
        UserError: if one of the two sets is missing or not as published.
    """
    return _synthia_task("synthia-cityscapes", CITYSCAPES_16, data)


def synthia_cityscapes_13(data: Path) -> Task:
    """`synthia_cityscapes` with 13 classes from the start: an easier task than 13 columns of the 16-class model.

    Raises:
        UserError: if one of the two sets is missing or not as published.
    """
    return _synthia_task("synthia-cityscapes-13", CITYSCAPES_13, data)


def _synthia_task(name: str, classes: tuple[str, ...], data: Path) -> Task:
    require(["synthia", "cityscapes"], data)
    ids = train_ids(SYNTHIA_IDS, classes)
    splits = (LabelledScenes(*_files(part, ids_16bit, ids)) for part in _hold_out(synthia(data / "synthia"), 50))
    return _cityscapes_task(name, classes, splits, data)


def camvid_day_dusk(data: Path) -> Task:
    """One town by day teaches the same town at dusk: CamVid at 240x180, 11 classes.

    Source: the sequences 0006R0 and 0016E5 of train, 305 images; the last tenth of each film (30 images) is the
    validation split, so that neighbouring frames are on one side of it. Target: sequence 0001TP, 62 images of train
    (unlabelled) and 62 of test.

    Raises:
        UserError: if the set is missing or not as published.
    """
    require(["camvid"], data)
    size = (180, 240)
    crop = RandomCrop((128, 160), width=(0.75 * size[1], 1.25 * size[1]))
    ids = train_ids(CAMVID_IDS, CAMVID_11)
    day = camvid(data / "camvid", "train")
    (train_1, val_1), (train_2, val_2) = (_hold_out(_film(day, film), 10) for film in ("0006R0", "0016E5"))
    dusk, dusk_test = (_film(camvid(data / "camvid", split), "0001TP") for split in ("train", "test"))
    (x_t, y_t), (x_test, y_test) = (_files(part, ids_8bit, ids, size) for part in (dusk, dusk_test))
    pair = Pair(
        "camvid-day-dusk",
        CAMVID_11,
        LabelledScenes(*_files(train_1 + train_2, ids_8bit, ids, size), crop),
        LabelledScenes(*_files(val_1 + val_2, ids_8bit, ids, size), crop),
        UnlabelledScenes(x_t, crop),
        UnlabelledScenes(x_test, crop),
    )
    return Task(pair, Truth(y_t, y_test), metric="miou")


def streets_camvid(data: Path) -> Task:
    """Drawn streets teach photographs of real ones: the eight classes that both have, at 128x96, held as tensors.

    Source: 400 rendered scenes of `streets`, and 150 others for validation. Target: CamVid train (367 images,
    unlabelled) and test (233); its signs, fences and bicyclists are ignored.

    Raises:
        UserError: if the set is missing or not as published.
    """
    from uda_core.data.streets import CLASSES, draw_streets

    require(["camvid"], data)
    size, ids = (96, 128), train_ids(CAMVID_IDS, CLASSES, CAMVID_TO_STREETS)

    def drawn(n: int, seed: int) -> Labelled:
        images, labels = draw_streets(n, seed, gap=0.0, size=size)
        return Labelled(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels))

    def photographed(split: str) -> tuple[Unlabelled, Tensor]:
        x, y = _files(camvid(data / "camvid", split), ids_8bit, ids, size)
        everything = torch.arange(len(x))
        return Unlabelled(x[everything]), y[everything]

    (target, y_t), (target_test, y_test) = photographed("train"), photographed("test")
    pair = Pair("streets-camvid", CLASSES, drawn(400, 0), drawn(150, 1), target, target_test)
    return Task(pair, Truth(y_t, y_test), metric="miou")


def _cityscapes_task(name: str, classes: tuple[str, ...], source: Iterable[LabelledScenes], data: Path) -> Task:
    """The two source splits (train, validation) with Cityscapes as the target, tested on whole images of 2048x1024."""
    ids = train_ids(CITYSCAPES_IDS, classes)
    targets = (_files(cityscapes(data / "cityscapes", split), ids_8bit, ids) for split in ("train", "val"))
    (x_t, y_t), (x_test, y_test) = targets
    pair = Pair(name, classes, *source, UnlabelledScenes(x_t), UnlabelledScenes(x_test))
    subsets = {"13 of its classes": CITYSCAPES_13} if classes == CITYSCAPES_16 else {}
    return Task(pair, Truth(y_t, y_test), metric="miou", subsets=subsets)


def _files(
    scenes: Scenes,
    decode: Callable[[Path], np.ndarray],
    ids: np.ndarray,
    size: tuple[int, int] | None = None,
) -> tuple[ImageFiles, LabelFiles]:
    """x and y of scenes; see `LabelFiles`."""
    return ImageFiles([image for image, _ in scenes], size), LabelFiles(scenes, decode, ids, size)


def _hold_out(scenes: Scenes, part: int) -> tuple[Scenes, Scenes]:
    """All but the last 1/part, and that part, at least one scene; one cut, since neighbouring frames are alike."""
    n = max(1, len(scenes) // part)
    return scenes[:-n], scenes[-n:]


def _film(scenes: Scenes, sequence: str) -> Scenes:
    """The scenes of one of CamVid's sequences, such as 0001TP."""
    film = [(image, label) for image, label in scenes if image.name.startswith(sequence)]
    if not film:
        raise UserError(f"{scenes[0][0].parent}: no image of sequence {sequence}; the files' names begin with it")
    return film
