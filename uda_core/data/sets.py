"""The public data sets: where their files lie in the data folder, and how to get them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from uda_core.errors import UserError, choose


@dataclass(frozen=True)
class DataSet:
    """What must be in the data folder, files or folders that are not empty, and who may use it."""

    paths: tuple[str, ...]
    terms: str


SETS = {
    "mnist": DataSet(
        tuple(f"MNIST/raw/{kind}-ubyte" for kind in (
            "train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1",
        )),
        "CC BY-SA 3.0",
    ),
    "usps": DataSet(("usps/usps.bz2", "usps/usps.t.bz2"), "no licence stated: research and teaching"),
    "svhn": DataSet(("svhn/train_32x32.mat", "svhn/test_32x32.mat"), "non-commercial"),
    "mnist-m": DataSet(
        tuple(f"mnist_m/mnist_m_{split}{kind}" for split in ("train", "test") for kind in ("", "_labels.txt")),
        "made of MNIST and BSDS500: research and teaching",
    ),
    "office31": DataSet(
        tuple(f"office31/{domain}/images" for domain in ("amazon", "dslr", "webcam")),
        "no licence stated: research and teaching",
    ),
    "imageclef": DataSet(
        tuple(f"imageclef/{part}" for part in ("i", "p", "c", "list/iList.txt", "list/pList.txt", "list/cList.txt")),
        "research and teaching",
    ),
    "visda2017": DataSet(
        tuple(f"visda2017/{part}" for part in (
            "train", "train/image_list.txt", "validation", "validation/image_list.txt",
        )),
        "non-commercial research",
    ),
    "domainnet": DataSet(
        tuple(
            f"domainnet/{domain}{part}"
            for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
            for part in ("", "_train.txt", "_test.txt")
        ),
        "non-commercial research (fair use of the images)",
    ),
    "camvid": DataSet(
        ("camvid/train", "camvid/trainannot", "camvid/test", "camvid/testannot"),
        "non-commercial research",
    ),
    "gta5": DataSet(("gta5/images", "gta5/labels"), "non-commercial research"),
    "synthia": DataSet(("synthia/RGB", "synthia/GT/LABELS"), "CC BY-NC-SA 3.0"),
    "cityscapes": DataSet(
        tuple(f"cityscapes/{kind}/{split}" for kind in ("leftImg8bit", "gtFine") for split in ("train", "val")),
        "free registration, non-commercial research",
    ),
}  # fmt: skip


def data_folder(option: str | Path | None = None) -> Path:
    """The folder with the sets: the option, else the environment variable UDA_DATA, else `data`, where you are."""
    given = option or os.environ.get("UDA_DATA")
    if given and not Path(given).is_dir():
        raise UserError(f"{given}: no such folder; {'--data' if option else 'UDA_DATA'} names the folder with the sets")
    return Path(given or "data")


def missing(names: Iterable[str], data: Path) -> str | None:
    """What these sets lack in the data folder and how to get it, a line per set; None when it is all there."""
    lines = []
    for name in names:
        found = SETS[choose("data set", name, SETS)]
        lacking = [str(data / path) for path in found.paths if not _there(data / path)]
        if lacking:
            what = ", ".join(lacking[:2]) + (f" and {len(lacking) - 2} more" if len(lacking) > 2 else "")
            lines.append(f"{name}: nothing in {what}; get it with: python -m data_download {name} --to {data}")
    return "\n".join(lines) or None


def require(names: Iterable[str], data: Path) -> None:
    """
    Raises:
        UserError: if a set is not all there; how to get it, in one line.
    """
    lack = missing(names, data)
    if lack:
        raise UserError(lack.replace("\n", "; "))


def _there(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))
