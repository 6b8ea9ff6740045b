"""The public data sets: where the loaders find their files in the data folder, and the command that downloads them."""

import os
from collections.abc import Iterable
from pathlib import Path

from uda_core.errors import UserError, choose

# what each set consists of, in the data folder: files, and folders that must not be empty
SETS: dict[str, tuple[str, ...]] = {
    "mnist": tuple(f"MNIST/raw/{kind}-ubyte" for kind in (
        "train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1",
    )),
    "usps": ("usps/usps.bz2", "usps/usps.t.bz2"),
    "svhn": ("svhn/train_32x32.mat", "svhn/test_32x32.mat"),
    "mnist-m": tuple(f"mnist_m/mnist_m_{split}{kind}" for split in ("train", "test") for kind in ("", "_labels.txt")),
    "office31": tuple(f"office31/{domain}/images" for domain in ("amazon", "dslr", "webcam")),
    "office-home": tuple(f"office_home/{domain}" for domain in ("Art", "Clipart", "Product", "Real World")),
    "imageclef": tuple(
        f"imageclef/{part}" for part in ("i", "p", "c", "list/iList.txt", "list/pList.txt", "list/cList.txt")
    ),
    "visda2017": tuple(
        f"visda2017/{part}" for part in ("train", "train/image_list.txt", "validation", "validation/image_list.txt")
    ),
    "domainnet": tuple(
        f"domainnet/{domain}{part}"
        for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
        for part in ("", "_train.txt", "_test.txt")
    ),
    "camvid": ("camvid/train", "camvid/trainannot", "camvid/test", "camvid/testannot"),
    "gta5": ("gta5/images", "gta5/labels"),
    "synthia": ("synthia/RGB", "synthia/GT/LABELS"),
    "cityscapes": tuple(
        f"cityscapes/{kind}/{split}" for kind in ("leftImg8bit", "gtFine") for split in ("train", "val")
    ),
}  # fmt: skip


def data_folder(option: str | Path | None = None) -> Path:
    """The folder that holds the data sets: the option, else the environment variable UDA_DATA, else `data`.

    Raises:
        UserError: if the option, or else UDA_DATA, names a folder that does not exist.
    """
    given = option or os.environ.get("UDA_DATA")
    if given and not Path(given).is_dir():
        raise UserError(f"{given}: no such folder; {'--data' if option else 'UDA_DATA'} names the folder with the sets")
    return Path(given or "data")


def missing(names: Iterable[str], data: Path) -> str | None:
    """One line for each of these sets that is incomplete: what is missing, and the command that downloads it.

    Returns None if every set is there.

    Raises:
        UserError: if there is no set of that name.
    """
    lines = []
    for name in names:
        paths = SETS[choose("data set", name, SETS)]
        lacking = [str(data / path) for path in paths if not _there(data / path)]
        if lacking:
            what = ", ".join(lacking[:2]) + (f" and {len(lacking) - 2} more" if len(lacking) > 2 else "")
            lines.append(f"{name}: nothing in {what}; get it with: uda download {name} --to {data}")
    return "\n".join(lines) or None


def require(names: Iterable[str], data: Path) -> None:
    """Makes sure that these sets are in the data folder.

    Raises:
        UserError: if one of them is incomplete; the line names the command that downloads it.
    """
    lack = missing(names, data)
    if lack:
        raise UserError(lack.replace("\n", "; "))


def _there(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))
