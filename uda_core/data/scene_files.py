"""Scenes and their label files, read when they are indexed, and the random cuts that a training step gets of them.

x is float32 [n, 3, H, W], RGB from 0 to 1, without any mean or standard deviation taken out; y is uint8 [n, H, W],
train ids with `IGNORE` where a pixel counts nowhere.  A damaged file is one `UserError` that names it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from uda_core.data.image_files import Cut, Files, ImageFiles, reading
from uda_core.data.road_classes import UNKNOWN
from uda_core.errors import UserError
from uda_core.samples import IGNORE, Labelled, Unlabelled


@dataclass(frozen=True)
class Crop:
    """What a training step sees of a scene: scaled to a random width, cut out at a random place, mirrored or not.

    Where the scaled scene is smaller than the cut, black and `IGNORE` fill up the right and the bottom.
    """

    size: tuple[int, int] = (512, 896)  # of the cut: height, width
    width: tuple[float, float] = (0.5 * 2200, 1.5 * 2200)  # range of the scaled scene's; its aspect is kept
    flip: float = 0.5  # probability

    def draw(self, n: int, generator: torch.Generator | None = None) -> list[Cut]:
        """n random cuts: the same number of draws from the generator (torch's global one) whatever the files' sizes."""
        return [partial(self._cut, u) for u in torch.rand(n, 4, generator=generator).tolist()]

    def _cut(self, u: list[float], image: Image.Image, resample: Image.Resampling, fill: int) -> Image.Image:
        """The cut of four uniform numbers u, resized straight from its box in the file: nothing else is scaled."""
        low, high = self.width
        width = round(low + (high - low) * u[0])
        height = round(width * image.height / image.width)
        h, w = min(self.size[0], height), min(self.size[1], width)
        left, top = int(u[1] * (width - w + 1)), int(u[2] * (height - h + 1))
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, min((left + w) * x, image.width), min((top + h) * y, image.height))
        cut = image.resize((w, h), resample, box)
        if (h, w) != self.size:
            canvas = Image.new(image.mode, self.size[::-1], fill)
            canvas.paste(cut)
            cut = canvas
        return ImageOps.mirror(cut) if u[3] < self.flip else cut


class LabelFiles(Files):
    """The labels of image files: y[i] is uint8 [n, H, W]; resized by nearest neighbours.

    Args:
        pairs: an image and its label each; the two must have one size.
        decode: reads a file's raw ids, [H, W] unsigned integers.
        ids: train id of every raw id, from `road_classes.train_ids`.
        size: (H, W) of the whole samples.
    """

    resample, fill = Image.Resampling.NEAREST, IGNORE

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        decode: Callable[[Path], np.ndarray],
        ids: np.ndarray,
        size: tuple[int, int] | None = None,
    ):
        super().__init__([label for _, label in pairs], size)
        self.images, self.decode, self.ids = tuple(image for image, _ in pairs), decode, ids

    def _open(self, place: int) -> Image.Image:
        with reading(self.paths[place]) as path:
            raw = self.decode(path)
        with reading(self.images[place]) as image_path, Image.open(image_path) as image:
            size = image.size
        if raw.shape != size[::-1]:
            is_, should = "{1}x{0}".format(*raw.shape), "{}x{}".format(*size)
            raise UserError(f"{path}: the label is {is_} pixels, its image {image_path} is {should}")
        y = self.ids[raw]
        unknown = np.unique(raw[y == UNKNOWN])
        if len(unknown):
            known = np.flatnonzero(self.ids != UNKNOWN)
            listed = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise UserError(f"{path}: unknown label id {listed}; the ids of this set are {known[0]} to {known[-1]}")
        return Image.fromarray(y)

    def _tensor(self, batch: np.ndarray) -> Tensor:
        return torch.from_numpy(batch)


def ids_8bit(path: Path) -> np.ndarray:
    """Raw ids of a grey or palette PNG, [H, W]: of a palette the index, not the colour."""
    with Image.open(path) as image:
        if image.mode not in ("L", "P"):
            raise UserError(f"{path}: holds colours ({image.mode}), not label ids; the set has another file for those")
        return np.asarray(image)


def ids_16bit(path: Path) -> np.ndarray:
    """Raw ids of a 16-bit PNG, [H, W]: its first channel. (Pillow keeps 8 bits of several channels, the wrong ones.)"""
    # torchvision.io is on its way to TorchCodec, so only what needs it asks for it
    from torchvision.io import ImageReadMode, decode_image

    try:
        image = decode_image(torch.from_numpy(np.fromfile(path, np.uint8)), ImageReadMode.UNCHANGED)
    except RuntimeError:  # its text is about torchvision's source
        raise OSError("not a whole PNG") from None
    if image.dtype != torch.uint16:
        raise UserError(f"{path}: not a 16-bit PNG; the label ids of SYNTHIA are in GT/LABELS (GT/COLOR is to look at)")
    return image[0].numpy()


@dataclass(frozen=True)
class LabelledScenes(Labelled):
    """Scenes with labels; a training step gets random cuts of them, the same of image and label."""

    x: ImageFiles
    y: LabelFiles
    crop: Crop = Crop()

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        cuts = self.crop.draw(len(i), generator)
        return self.x.cut(i, cuts), self.y.cut(i, cuts)


@dataclass(frozen=True)
class UnlabelledScenes(Unlabelled):
    """Scenes without labels; a training step gets random cuts of them."""

    x: ImageFiles
    crop: Crop = Crop()

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.x.cut(i, self.crop.draw(len(i), generator))
