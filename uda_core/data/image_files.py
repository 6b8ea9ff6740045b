"""Image files that are read when they are indexed: float32 [n, 3, H, W], RGB from 0 to 1.

The images are not normalised: networks do that themselves.  A damaged file raises a `UserError` that names it.
"""

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT
from torch import Tensor

from uda_core.errors import UserError

THREADS = 4  # that decode the files of one batch
NO_FILE = "a folder, a pipe, a socket or a device, not a file; take it away"
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
        with reading(self.paths[place]):
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
        with Image.open(self.paths[place]) as image:
            if self.draft:
                image.draft(None, self.draft[::-1])
            return as_rgb(image)

    def _tensor(self, batch: np.ndarray) -> Tensor:
        return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous().float().div_(255)


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in 8-bit RGB: up to 16 bits of grey are scaled to 8, transparent pixels lie on white.

    As with torchvision's `ImageFolder`, the first frame counts, and EXIF's orientation does not: cameras' photographs
    may lie on their side.

    Raises:
        UserError: for pixels whose range is unknown: floating point, integers with a sign or of more than 16 bits.
    """
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    bits = max(tags.get(BITSPERSAMPLE, (1,))) if tags else 16
    signed = 2 in tags.get(SAMPLEFORMAT, ())
    raw = np.asarray(image) if image.mode.startswith("I") else np.zeros(1, np.uint8)
    if image.mode == "F" or signed or bits > 16 or not 0 <= raw.min() <= raw.max() <= 65535:
        what = "floating-point values" if image.mode == "F" else "integers with a sign, or of more than 16 bits,"
        name = getattr(image, "filename", "") or "the image"
        raise UserError(f"{name}: holds {what} of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow's own conversion would clip at 255
        grey = raw.astype(np.uint32) * 255 // (2**bits - 1)
        if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:  # white is 0, which Pillow heeds up to 8 bits
            grey = 255 - grey
        clear = raw == image.info["transparency"] if "transparency" in image.info else False
        return Image.fromarray(np.where(clear, 255, grey).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """A context in which `path` is read; whatever fails in it becomes one line that names the file.

    A pipe, a socket or a device is refused before anything waits for it.

    Raises:
        UserError: in place of any other exception; a `UserError` passes as it is.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(f"{path}: {NO_FILE}")
        yield path
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; unpack or download it again") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"{path}: more than {most:,} pixels; make it smaller") from None
    except Exception as error:  # Pillow, torchvision, SciPy and NumPy raise a dozen kinds for damaged files
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({why}); unpack or download it again") from None
