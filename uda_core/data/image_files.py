"""Image files that are read when they are indexed: float32 [n, 3, H, W], RGB from 0 to 1.

No mean or standard deviation is taken out: that is the network's business.  A damaged file is one `UserError` that
names it.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uda_core.errors import UserError

THREADS = 4  # that decode the files of one batch
Cut = Callable[[Image.Image, Image.Resampling, int], Image.Image]  # (file, how to resize it, what to fill up with)


class Files:
    """Files that are read when they are indexed, several at a time."""

    resample: Image.Resampling
    fill: int

    def __init__(self, paths: Sequence[Path], size: tuple[int, int] | None):
        self.paths, self.size = tuple(paths), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: Tensor) -> Tensor:
        """The whole samples i, resized to `size` where that is given; else they must be of one size."""
        return self.cut(i, repeat(self.whole))

    def cut(self, i: Tensor, cuts: Iterable[Cut]) -> Tensor:
        """One cut of each of the samples i."""
        places = torch.arange(len(self))[i].tolist()
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(self._one, places, cuts))
        path_of = {image.size: self.paths[place] for place, image in zip(places, images, strict=True)}
        if len(path_of) > 1:
            sizes = " and ".join(f"{path} is {w}x{h}" for (w, h), path in list(path_of.items())[:2])
            raise UserError(f"{sizes}: samples of different sizes make no batch; ask for them one by one, or give size")
        return self._tensor(np.stack([np.asarray(image) for image in images]))

    def whole(self, image: Image.Image, resample: Image.Resampling, fill: int) -> Image.Image:
        """The cut that `files[i]` consists of."""
        return image if self.size is None else image.resize(self.size[::-1], resample)

    def _one(self, place: int, cut: Cut) -> Image.Image:
        return cut(self._open(place), self.resample, self.fill)

    def _open(self, place: int) -> Image.Image:
        raise NotImplementedError

    def _tensor(self, batch: np.ndarray) -> Tensor:
        raise NotImplementedError


class ImageFiles(Files):
    """Photographs or rendered scenes: x[i] is float32 [n, 3, H, W] in [0, 1]; resized by averaging (antialias).

    Where `draft` (H, W) is set, a JPEG at least twice as large is decoded at a half, a quarter or an eighth of its
    size, which takes a fraction of the time.
    """

    resample, fill = Image.Resampling.BILINEAR, 0
    draft: tuple[int, int] | None = None

    def __init__(self, paths: Sequence[Path], size: tuple[int, int] | None = None):
        super().__init__(paths, size)

    def _open(self, place: int) -> Image.Image:
        with reading(self.paths[place]) as path, Image.open(path) as image:
            if self.draft:
                image.draft(None, self.draft[::-1])
            return as_rgb(image)

    def _tensor(self, batch: np.ndarray) -> Tensor:
        return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous().float().div_(255)


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of whatever kind in 8-bit RGB: 16-bit grey is scaled, and what is transparent lies on white."""
    if image.mode == "F":
        raise UserError(f"{image.filename}: holds floating-point values, of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@contextmanager
def reading(path: Path):
    """Whatever goes wrong inside, in one line that names the file."""
    try:
        yield path
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it was there when the task was made") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # what Pillow raises on damaged files
        raise UserError(f"{path}: cannot be read ({error}); unpack or download it again") from None
