"""Scenes and their label files, read when they are indexed, and the random crops that a training step gets of them.

x is float32 [n, 3, H, W], RGB from 0 to 1, not normalised; y is uint8 [n, H, W], train ids with `IGNORE` where a pixel
has no label.  A damaged file raises a `UserError` that names it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from uda_core.data.image_files import Files, ImageFiles, Transform, reading
from uda_core.data.road_classes import UNKNOWN
from uda_core.errors import UserError
from uda_core.samples import IGNORE, Labelled, Unlabelled


@dataclass(frozen=True)
class RandomCrop:
    """Scale a scene to a random width, crop it at a random place and mirror it at random.

    Where the scaled scene is smaller than the crop, the right and the bottom are filled: images with black, labels with
    `IGNORE`.
    """

    size: tuple[int, int] = (512, 896)  # (H, W) of the crop
    width: tuple[float, float] = (0.5 * 2200, 1.5 * 2200)  # range of the scaled scene's width; its aspect is kept
    flip: float = 0.5  # probability

    def random(self, n: int, generator: torch.Generator | None = None) -> list[Transform]:
        """n random transforms; each takes four numbers from the generator (None: torch's global one)."""
        return [partial(self._crop, u) for u in torch.rand(n, 4, generator=generator).tolist()]

    def _crop(self, u: list[float], image: Image.Image, resample: Image.Resampling, fill: int) -> Image.Image:
        """The crop of four uniform numbers u, resized straight from its box in the image: nothing else is scaled."""
        low, high = self.width
        width = round(low + (high - low) * u[0])
        height = round(width * image.height / image.width)
        h, w = min(self.size[0], height), min(self.size[1], width)
        left, top = int(u[1] * (width - w + 1)), int(u[2] * (height - h + 1))
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, min((left + w) * x, image.width), min((top + h) * y, image.height))
        crop = image.resize((w, h), resample, box)
        if (h, w) != self.size:
            canvas = Image.new(image.mode, self.size[::-1], fill)
            canvas.paste(crop)
            crop = canvas
        return ImageOps.mirror(crop) if u[3] < self.flip else crop


class LabelFiles(Files):
    """The labels of image files: y[i] is uint8 [n, H, W]; resized to the nearest neighbour.

    Indexing raises a `UserError` for a label that has another size than its image, or ids that its set does not have.

    Args:
        scenes: an image file and its label file each.
        decode: reads the raw ids of a label file: unsigned integers [H, W].
        ids: train id of every raw id, uint8 [65536], from `road_classes.train_ids`.
        size: (H, W) to which whole labels are resized; None: they keep their own.
    """

    resample, fill = Image.Resampling.NEAREST, IGNORE

    def __init__(
        self,
        scenes: Sequence[tuple[Path, Path]],
        decode: Callable[[Path], np.ndarray],
        ids: np.ndarray,
        size: tuple[int, int] | None = None,
    ):
        super().__init__([label for _, label in scenes], size)
        self.images, self.decode, self.ids = tuple(image for image, _ in scenes), decode, ids

    def _open(self, place: int) -> Image.Image:
        path = self.paths[place]
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
    """Raw ids of a grey or palette PNG, uint8 [H, W]: of a palette the index, not the colour.

    Raises:
        UserError: if the file holds colours.
    """
    with Image.open(path) as image:
        if image.mode not in ("L", "P"):
            raise UserError(f"{path}: holds colours ({image.mode}), not label ids; the set has another file for those")
        return np.asarray(image)


def ids_16bit(path: Path) -> np.ndarray:
    """Raw ids of a 16-bit PNG, uint16 [H, W]: its first channel. (Pillow would keep 8 bits of it, the wrong ones.)

    Raises:
        UserError: if the PNG does not have 16 bits.
        OSError: if it is damaged.
    """
    # torchvision.io is moving to TorchCodec: only this function depends on it
    from torchvision.io import ImageReadMode, decode_image

    try:
        image = decode_image(torch.from_numpy(np.fromfile(path, np.uint8)), ImageReadMode.UNCHANGED)
    except RuntimeError:  # whose text is about torchvision's source
        raise OSError("not a whole PNG") from None
    if image.dtype != torch.uint16:
        raise UserError(f"{path}: not a 16-bit PNG; the label ids of SYNTHIA are in GT/LABELS (GT/COLOR is to look at)")
    return image[0].numpy()


@dataclass(frozen=True)
class LabelledScenes(Labelled):
    """Scenes with labels; a training step gets random crops, the same one of an image and its label."""

    x: ImageFiles
    y: LabelFiles
    crop: RandomCrop = RandomCrop()

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Random crops of scenes i [n], of size (H, W): x float32 [n, 3, H, W] and y uint8 [n, H, W]."""
        crops = self.crop.random(len(i), generator)
        return self.x.transformed(i, crops), self.y.transformed(i, crops)


@dataclass(frozen=True)
class UnlabelledScenes(Unlabelled):
    """Scenes without labels; a training step gets random crops."""

    x: ImageFiles
    crop: RandomCrop = RandomCrop()

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Random crops of scenes i [n], of size (H, W): float32 [n, 3, H, W]."""
        return self.x.transformed(i, self.crop.random(len(i), generator))
