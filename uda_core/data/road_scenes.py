"""Road scenes from files: GTA5, SYNTHIA-RAND-CITYSCAPES, Cityscapes and CamVid, and the tasks made of them.

Missing folders and pairs are told when a task is made, damaged files when they are read.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda_core.data import road_classes as table
from uda_core.data.scene_files import (
    Crop,
    ImageFiles,
    LabelFiles,
    LabelledScenes,
    UnlabelledScenes,
    ids_8bit,
    ids_16bit,
)
from uda_core.data.sets import require
from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

# -- the sets ----------------------------------------------------------------------------------------------------------

Pairs = list[tuple[Path, Path]]  # an image and its label each, in the order of their names
GTA5_MISFITS = ("15188", "17705")  # known to be published with a label of another size than the image


def gta5(folder: Path) -> Pairs:
    """images/00001.png and labels/00001.png: 24,966, without the two misfits; not all are 1914x1052."""
    pairs = _pairs(_listing(folder / "images", ".png"), folder / "labels", ".png")
    return [(image, label) for image, label in pairs if image.stem not in GTA5_MISFITS]


def synthia(folder: Path) -> Pairs:
    """RGB/0000000.png and GT/LABELS/0000000.png: 9,400 of 1280x760."""
    return _pairs(_listing(folder / "RGB", ".png"), folder / "GT" / "LABELS", ".png")


def cityscapes(folder: Path, split: str) -> Pairs:
    """leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png of 2048x1024.

    Split train has 2,975, val 500.
    """
    images = _listing(folder / "leftImg8bit" / split, "_leftImg8bit.png")
    return _pairs(images, folder / "gtFine" / split, "_gtFine_labelIds.png")


def camvid(folder: Path, split: str) -> Pairs:
    """SPLIT/*.png (or .jpg) and SPLITannot/*.png of the SegNet split: train has 367, val 101, test 233."""
    return _pairs(_listing(folder / split, ".png", ".jpg"), folder / f"{split}annot", ".png")


def _listing(folder: Path, *endings: str) -> dict[str, Path]:
    """Every file in the folder, and in those inside it, by its name without the ending."""
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


def _pairs(images: dict[str, Path], labels_folder: Path, ending: str) -> Pairs:
    labels = _listing(labels_folder, ending)
    for these, those, lack in ((images, labels, "label"), (labels, images, "image")):
        alone = [path for name, path in these.items() if name not in those]
        if alone:
            more = f" (and {len(alone) - 1} more files)" if len(alone) > 1 else ""
            raise UserError(f"{alone[0]}: there is no {lack} to it{more}; unpack or download the set again")
    return [(image, labels[name]) for name, image in images.items()]


# -- the tasks ---------------------------------------------------------------------------------------------------------


def gta5_cityscapes(data: Path) -> Task:
    """A game teaches German streets, 19 classes.

    Source: GTA5, whole images at 1914x1052; the last fiftieth is the validation split. Target: Cityscapes train
    (unlabelled) and val (test).
    """
    require(["gta5", "cityscapes"], data)
    ids = table.train_ids(table.GTA5_IDS, table.CITYSCAPES_19)
    train, val = _hold_out(gta5(data / "gta5"), 50)
    splits = (LabelledScenes(*_files(part, ids_8bit, ids, (1052, 1914))) for part in (train, val))
    return _cityscapes_task("gta5-cityscapes", table.CITYSCAPES_19, splits, data)


def synthia_cityscapes(data: Path) -> Task:
    """Rendered streets teach German ones, 16 classes, scored over 13 of them too: mIoU*.

    Source: SYNTHIA-RAND-CITYSCAPES; the last fiftieth is the validation split. Target: Cityscapes train (unlabelled)
    and val (test).
    """
    return _synthia_task("synthia-cityscapes", table.CITYSCAPES_16, data)


def synthia_cityscapes_13(data: Path) -> Task:
    """The same with 13 classes from the start: an easier task than 13 columns of the 16-class model."""
    return _synthia_task("synthia-cityscapes-13", table.CITYSCAPES_13, data)


def _synthia_task(name: str, classes: tuple[str, ...], data: Path) -> Task:
    require(["synthia", "cityscapes"], data)
    ids = table.train_ids(table.SYNTHIA_IDS, classes)
    splits = (LabelledScenes(*_files(part, ids_16bit, ids)) for part in _hold_out(synthia(data / "synthia"), 50))
    return _cityscapes_task(name, classes, splits, data)


def camvid_day_dusk(data: Path) -> Task:
    """One town by day teaches the same town at dusk: CamVid at 240x180, 11 classes.

    Source: the sequences 0006R0 and 0016E5 of train, 305 images; the last tenth of each film (30 images) is the
    validation split, so that neighbouring frames are on one side of it. Target: sequence 0001TP, 62 images of train
    (unlabelled) and 62 of test.
    """
    require(["camvid"], data)
    size = (180, 240)
    crop = Crop((128, 160), width=(0.75 * size[1], 1.25 * size[1]))
    ids = table.train_ids(table.CAMVID_IDS, table.CAMVID_11)
    day = camvid(data / "camvid", "train")
    (train_1, val_1), (train_2, val_2) = (_hold_out(_film(day, film), 10) for film in ("0006R0", "0016E5"))
    dusk, dusk_test = (_film(camvid(data / "camvid", split), "0001TP") for split in ("train", "test"))
    (x_t, y_t), (x_test, y_test) = (_files(part, ids_8bit, ids, size) for part in (dusk, dusk_test))
    pair = Pair(
        "camvid-day-dusk",
        table.CAMVID_11,
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
    """
    from uda_core.data.streets import CLASSES, draw_streets

    require(["camvid"], data)
    size, ids = (96, 128), table.train_ids(table.CAMVID_IDS, CLASSES, table.CAMVID_TO_STREETS)

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


def _cityscapes_task(name: str, classes: tuple[str, ...], source, data: Path) -> Task:
    """The two source splits, and Cityscapes as the target: whole images of 2048x1024 in the test split."""
    ids = table.train_ids(table.CITYSCAPES_IDS, classes)
    targets = (_files(cityscapes(data / "cityscapes", split), ids_8bit, ids) for split in ("train", "val"))
    (x_t, y_t), (x_test, y_test) = targets
    pair = Pair(name, classes, *source, UnlabelledScenes(x_t), UnlabelledScenes(x_test))
    subsets = {"13 of its classes": table.CITYSCAPES_13} if classes == table.CITYSCAPES_16 else {}
    return Task(pair, Truth(y_t, y_test), metric="miou", subsets=subsets)


def _files(pairs: Pairs, decode, ids: np.ndarray, size: tuple[int, int] | None = None) -> tuple[ImageFiles, LabelFiles]:
    return ImageFiles([image for image, _ in pairs], size), LabelFiles(pairs, decode, ids, size)


def _hold_out(pairs: Pairs, part: int) -> tuple[Pairs, Pairs]:
    """All but the last 1/part, and these, at least one: frames next to each other are alike, so there is one cut."""
    n = max(1, len(pairs) // part)
    return pairs[:-n], pairs[-n:]


def _film(pairs: Pairs, sequence: str) -> Pairs:
    film = [(image, label) for image, label in pairs if image.name.startswith(sequence)]
    if not film:
        raise UserError(f"{pairs[0][0].parent}: no image of sequence {sequence}; the files' names begin with it")
    return film
