"""Digits from files: MNIST, USPS, SVHN and MNIST-M, and the tasks made of them, as in MCD and SWD.

Images are tensors in memory, float32 in [-1, 1] (MCD's code subtracts a mean of 0.5 and divides by 0.5).  Every reader
takes the data folder and a split, "train" or "test".
"""

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.data.image_files import reading
from uda_core.data.sets import require
from uda_core.errors import UserError
from uda_core.files import write_whole
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

CLASSES = tuple("0123456789")
Split = tuple[Tensor, Tensor]  # images float32 [N, 1 or 3, H, W] in [-1, 1], labels int64 [N] from 0 to 9


def mnist_usps(data: Path) -> Task:
    """MNIST (60,000; validation: its 10,000 test images) teaches USPS (7,291 unlabelled, 2,007 test), grey 28x28.

    USPS is padded by 3 and enlarged, so that its digits are as large as MNIST's: see `usps`.

    Raises:
        UserError: if one of the two sets is missing or damaged.
    """
    require(["mnist", "usps"], data)
    return _task("mnist-usps", data, mnist, usps)


def usps_mnist(data: Path) -> Task:
    """USPS (7,291; validation: its 2,007 test images) teaches MNIST (60,000 unlabelled, 10,000 test), grey 28x28.

    USPS is padded by 3 and enlarged, so that its digits are as large as MNIST's: see `usps`.

    Raises:
        UserError: if one of the two sets is missing or damaged.
    """
    require(["mnist", "usps"], data)
    return _task("usps-mnist", data, usps, mnist)


def svhn_mnist(data: Path) -> Task:
    """SVHN (73,257; validation: its 26,032 test images) teaches MNIST (60,000 unlabelled, 10,000 test), colour 32x32.

    Raises:
        UserError: if one of the two sets is missing or damaged.
    """
    require(["svhn", "mnist"], data)
    return _task("svhn-mnist", data, svhn, lambda folder, split: _coloured(*mnist(folder, split)))


def mnist_mnistm(data: Path) -> Task:
    """MNIST (60,000) teaches MNIST-M (59,001 unlabelled, 9,001 test): digits over photographs, colour 32x32.

    Raises:
        UserError: if one of the two sets is missing or damaged.
    """
    require(["mnist", "mnist-m"], data)
    return _task("mnist-mnistm", data, lambda folder, split: _coloured(*mnist(folder, split)), mnist_m)


def _task(name: str, data: Path, source: Callable[[Path, str], Split], target: Callable[[Path, str], Split]) -> Task:
    """The task of two readers; each domain's test split validates the source, or tests the target."""
    (x_t, y_t), (x_test, y_test) = target(data, "train"), target(data, "test")
    splits = (Labelled(*source(data, split)) for split in ("train", "test"))
    return Task(Pair(name, CLASSES, *splits, Unlabelled(x_t), Unlabelled(x_test)), Truth(y_t, y_test))


def mnist(data: Path, split: str) -> Split:
    """MNIST/raw/*-ubyte, the IDX files that torchvision's class reads: 60,000 and 10,000 of 28x28.

    Raises:
        UserError: naming a file that is missing or damaged, or whose labels are not those of digits.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file  # not at the top: this import is slow

    start = data / "MNIST" / "raw" / ("train" if split == "train" else "t10k")
    with reading(start.with_name(f"{start.name}-images-idx3-ubyte")) as path:
        images = read_image_file(path)
    with reading(start.with_name(f"{start.name}-labels-idx1-ubyte")) as path:
        return _checked(path, _scaled(images[:, None]), read_label_file(path))


def usps(data: Path, split: str) -> Split:
    """usps/usps.bz2 and usps.t.bz2, in LIBSVM's text format: 7,291 and 2,007 of 16x16, padded by 3, enlarged to 28x28.

    The padding is CoGAN's (mingyuliutw/CoGAN, cogan/data/compute_optimal_alignment.py), chosen there without labels, by
    the distance of the two mean images. On these files their root mean square distance is 51, 36, 23, 15.2, 14.8, 19
    and 25 grey levels for pads 0 to 6: 3 and 4 are near-equal. USPS's digits fill their 16 pixels, MNIST's 20 of 28; a
    pad of 3 makes them 20.4. MCD's `usps_28x28.pkl` comes from CoGAN's repository; the file itself could not be seen.

    Raises:
        UserError: naming a file that is missing or damaged, or whose labels are not those of digits.
    """
    from torchvision.datasets import USPS

    with reading(data / "usps" / ("usps.bz2" if split == "train" else "usps.t.bz2")) as path:
        images = USPS(data / "usps", train=split == "train")
        padded = F.pad(torch.as_tensor(images.data)[:, None], (3, 3, 3, 3))  # with 0, the background
        return _checked(path, _scaled(padded, 28), torch.as_tensor(images.targets))


def svhn(data: Path, split: str) -> Split:
    """svhn/train_32x32.mat and test_32x32.mat, MATLAB 5 files: 73,257 and 26,032 of 32x32; label 10 is the digit 0.

    Raises:
        UserError: naming a file that is missing or damaged, or whose labels are not those of SVHN.
    """
    from scipy.io import loadmat

    with reading(data / "svhn" / f"{split}_32x32.mat") as path, path.open("rb") as file:
        held = loadmat(file)
        x, y = held["X"], held["y"].reshape(-1).astype(np.int64)
        if y.min() < 1 or y.max() > 10:
            raise UserError(f"{path}: labels run from {y.min()} to {y.max()}, those of SVHN from 1 to 10")
        return _checked(path, _scaled(torch.from_numpy(x.transpose(3, 2, 0, 1).copy())), torch.from_numpy(y % 10))


def mnist_m(data: Path, split: str) -> Split:
    """mnist_m/mnist_m_train/*.png with mnist_m_train_labels.txt, and _test: 59,001 and 9,001 of 32x32.

    The decoded images are kept beside them in one file, mnist_m_train_32x32.npz, and decoded again once the list or the
    name, size or time of an image changes, or that file is damaged.

    Raises:
        UserError: naming a file that is missing or damaged, or whose labels are not those of digits.
    """
    folder = data / "mnist_m" / f"mnist_m_{split}"
    with reading(folder.with_name(f"{folder.name}_labels.txt")) as path:
        lines = [line.split() for line in path.read_text().split("\n") if line.strip()]
        files, labels = [folder / name for name, _ in lines], [int(label) for _, label in lines]
        made_from = hashlib.sha256(repr([_state(file) for file in files]).encode()).hexdigest()
        kept = folder.with_name(f"{folder.name}_32x32.npz")
        images = _kept(kept, made_from)
        if images is None:
            images = np.stack([_decoded(file) for file in files])
            _keep(kept, made_from, images)
        return _checked(path, _scaled(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.tensor(labels))


def _decoded(file: Path) -> np.ndarray:
    """An image file as uint8 [32, 32, 3]."""
    from PIL import Image

    with reading(file), Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))


def _state(file: Path) -> tuple[str, int, int]:
    """What changes when a file does: its name, its size in bytes, the time of its last change in nanoseconds."""
    with reading(file):
        found = file.stat()
        return str(file), found.st_size, found.st_mtime_ns


def _kept(path: Path, made_from: str) -> np.ndarray | None:
    """The images in a file that `_keep` wrote; None if there is none, or it is damaged or made from others."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return held["images"] if str(held["made_from"]) == made_from else None
    except Exception:  # NumPy, zipfile and zlib raise a dozen kinds for damaged files
        return None


def _keep(path: Path, made_from: str, images: np.ndarray) -> None:
    """Write the file whole or not at all; a folder that cannot be written to costs time, no more."""
    buffer = io.BytesIO()
    np.savez(buffer, images=images, made_from=made_from)
    with suppress(OSError):
        write_whole(path, buffer.getbuffer())


def _checked(path: Path, x: Tensor, y: Tensor) -> Split:
    """x and y, if there is one label from 0 to 9 for each image; else an error that names the file of the labels."""
    if len(x) != len(y):
        raise UserError(f"{path}: {len(y)} labels for {len(x)} images; download it again")
    if len(y) == 0 or y.min() < 0 or y.max() > 9:
        what = f"labels run from {y.min()} to {y.max()}" if len(y) else "no label in it"
        raise UserError(f"{path}: {what}, those of digits from 0 to 9; download it again")
    return x, y


def _scaled(x: Tensor, size: int | None = None) -> Tensor:
    """uint8 [N, channels, H, W] as float32 in [-1, 1], resized (bilinear) where a size is given."""
    x = x.float() / 127.5 - 1
    return x if size is None else F.interpolate(x, (size, size), mode="bilinear", align_corners=False)


def _coloured(x: Tensor, y: Tensor) -> Split:
    """Grey images as colour ones of 32x32."""
    return F.interpolate(x, (32, 32), mode="bilinear", align_corners=False).repeat(1, 3, 1, 1), y
