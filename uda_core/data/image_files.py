"""Image files that are read when they are indexed: float32 [n, 3, H, W], RGB from 0 to 1.

The images are not normalised: networks do that themselves.  A damaged file raises a `UserError` that names it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
# A function of a decoded image, the filter that resizes it and the value of pixels outside it; it returns a new image.
Transform = Callable[[Image.Image, Image.Resampling, int], Image.Image]


class Files:
    """Files that are read when they are indexed, several at a time: files[i] for indices i [n] is a tensor [n, ...].

    A subclass says how one file is decoded (`_open`) and how a stack of decoded files becomes a tensor (`_tensor`).

    Args:
        paths: one file per sample.
        size: (H, W) to which whole samples are resized; None: they keep their own.
    """

    resample: Image.Resampling  # the filter that resizes a sample
    fill: int  # value of pixels outside the sample

    def __init__(self, paths: Sequence[Path], size: tuple[int, int] | None):
        self.paths, self.size = tuple(paths), size

    def __len__(self) -> int:
        """The number of files."""
        return len(self.paths)

    def __getitem__(self, i: Tensor) -> Tensor:
        """Samples i [n] as `whole` leaves them: [n, ...].

        Raises:
            UserError: if a file cannot be read, or if `size` is None and the samples have different sizes.
        """
        return self.transformed(i, repeat(self.whole))

    def transformed(self, i: Tensor, transforms: Iterable[Transform]) -> Tensor:
        """Samples i [n], each after its own transform: [n, ...].

        Raises:
            UserError: if a file cannot be read, or if the transformed samples have different sizes.
        """
        places = torch.arange(len(self))[i].tolist()
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(self._one, places, transforms))
        path_of = {image.size: self.paths[place] for place, image in zip(places, images, strict=True)}
        if len(path_of) > 1:
            sizes = " and ".join(f"{path} is {w}x{h}" for (w, h), path in list(path_of.items())[:2])
            raise UserError(f"{sizes}: samples of different sizes make no batch; index them one by one, or set size")
        return self._tensor(np.stack([np.asarray(image) for image in images]))

    def whole(self, image: Image.Image, resample: Image.Resampling, fill: int) -> Image.Image:
        """The transform behind `files[i]`: the whole image, resized to `size` where that is set."""
        return image if self.size is None else image.resize(self.size[::-1], resample)

    def _one(self, place: int, transform: Transform) -> Image.Image:
        return transform(self._open(place), self.resample, self.fill)

    def _open(self, place: int) -> Image.Image:
        raise NotImplementedError

    def _tensor(self, batch: np.ndarray) -> Tensor:
        raise NotImplementedError


class ImageFiles(Files):
    """Photographs or rendered scenes: x[i] is float32 [n, 3, H, W] in [0, 1]; resized bilinearly, with antialiasing.

    If `draft` (H, W) is set, a JPEG at least twice as large is decoded at a half, a quarter or an eighth of its size,
    which takes a fraction of the time.
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
    """An image of any mode in 8-bit RGB: 16-bit grey is scaled to 8 bits, transparent pixels lie on white.

    Raises:
        UserError: for floating-point pixels, whose range is unknown.
    """
    if image.mode == "F":
        raise UserError(f"{image.filename}: holds floating-point values of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """A context in which `path` is read; whatever fails in it becomes one line that names the file.

    Raises:
        UserError: in place of any other exception; a `UserError` passes as it is.
    """
    try:
        yield path
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; unpack or download it again") from None
    except Exception as error:  # Pillow, torchvision, SciPy and NumPy raise a dozen kinds for damaged files
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({why}); unpack or download it again") from None
