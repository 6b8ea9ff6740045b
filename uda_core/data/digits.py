"""Printed digits teach handwriting: a synthetic-to-real gap that needs no download."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import matplotlib
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

CLASSES = tuple("0123456789")
FONTS = (  # shipped with matplotlib; without those of old-style figures and of symbols
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol",
    "STIXGeneralItalic", "cmr10", "cmb10", "cmss10", "cmtt10",
)  # fmt: skip
CANVAS = 48  # pixels of the square in which a glyph is drawn
WRITERS = 6  # of the rehearsal pair's target
COARSE, SIZE = 8, 16  # both domains are reduced to 8x8, scikit-learn's resolution, and enlarged to 16x16


def fonts_handwriting(samples: int = 3000, seed: int = 0, drop: Mapping[int, float] | None = None) -> Task:
    """Source: digits printed in 15 fonts, rotated, sheared, bolder or lighter. Target: 1,797 handwritten digits.

    The target's training and test images are the same (transductive): unlabelled while training. The handwriting is
    scikit-learn's `load_digits` (UCI Optical Recognition of Handwritten Digits).

    Args:
        samples: source training images; a sixth as many again are drawn for validation.
        seed: of the drawing; the handwriting is always the same.
        drop: class -> share of its target images to leave out, e.g. {0: 0.9, 1: 0.9}: an imbalanced target.
    Returns:
        A task with x [N, 1, 16, 16] in [0, 1], ten classes.
    Raises:
        UserError: if `drop` holds another class, or a share below 0 or above 1.
    """
    x, y = _handwriting()
    keep = _kept(y, drop or {}, seed)
    generator = torch.Generator().manual_seed(seed)
    source, val = (Labelled(*_printed(n, FONTS, generator)) for n in (samples, samples // 6))
    target = Unlabelled(x[keep])
    return Task(Pair("fonts-handwriting", CLASSES, source, val, target, target), Truth(y[keep], y[keep]))


def fonts_distorted(samples: int = 3000, seed: int = 0) -> Task:
    """The rehearsal pair: settings are chosen on it, so that `fonts_handwriting` is not tuned on its target labels.

    Source: digits in matplotlib's DejaVu fonts. Target: 1,800 digits in its STIX and Computer Modern fonts, as if
    traced by six writers, each of whom bends each digit in their own way. They are printed by us, so their labels may
    be used.

    Args:
        samples: source training images; a sixth as many again are drawn for validation.
        seed: of the drawing.
    Returns:
        A task with x [N, 1, 16, 16] in [0, 1], ten classes.
    """
    generator = torch.Generator().manual_seed(seed)
    dejavu = tuple(font for font in FONTS if font.startswith("DejaVu"))
    others = tuple(font for font in FONTS if font not in dejavu)
    source, val = (Labelled(*_printed(n, dejavu, generator)) for n in (samples, samples // 6))
    x, y = _printed(1800, others, generator, bend=0.12)
    target = Unlabelled(x)
    return Task(Pair("fonts-distorted", CLASSES, source, val, target, target), Truth(y, y))


@cache
def _handwriting() -> tuple[Tensor, Tensor]:
    """All handwritten digits: x [1797, 1, 16, 16] in [0, 1], y [1797]."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return _enlarge(x), torch.tensor(digits.target, dtype=torch.int64)


def _kept(y: Tensor, drop: Mapping[int, float], seed: int) -> Tensor:
    """Indices of the samples that remain after a share of some classes is dropped, in order."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.ones(len(y), dtype=torch.bool)
    for label, share in drop.items():
        if label not in range(10) or not 0 <= share <= 1:
            raise UserError(f"drop takes a class from 0 to 9 and a share from 0 to 1, got {label}: {share}")
        members = (y == label).nonzero().flatten()
        keep[members[torch.randperm(len(members), generator=generator)[: round(share * len(members))]]] = False
    return keep.nonzero().flatten()


def _printed(
    samples: int,
    fonts: tuple[str, ...],
    generator: torch.Generator,
    bend: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """`samples` printed digits, classes in equal shares: x [N, 1, 16, 16], y [N].

    `bend` is the standard deviation of the smooth displacement, in half canvases, that each writer gives to each digit;
    every image adds a third as much of its own.
    """
    y = torch.arange(samples) % 10
    font = torch.randint(len(fonts), (samples,), generator=generator)
    glyphs = torch.stack([_glyphs(name) for name in fonts])[font, y]  # [N, 1, CANVAS, CANVAS]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(samples, generator=generator)

    rotation, shear, width = uniform(-0.26, 0.26), uniform(-0.3, 0.3), uniform(0.7, 1.2)  # radians, slope, ratio
    habits = torch.randn(WRITERS, 10, 2, 4, 4, generator=generator)
    habit = habits[torch.randint(WRITERS, (samples,), generator=generator), y]
    displacement = bend * (habit + torch.randn(samples, 2, 4, 4, generator=generator) / 3)
    glyphs = _warp(_stroke(glyphs, uniform(-0.3, 1.0)), rotation, shear, width, displacement)
    return _enlarge(_crop_to_glyph(glyphs)), y


@cache
def _glyphs(font: str) -> Tensor:
    """The ten digits of a font, white on black, centred: [10, 1, CANVAS, CANVAS]."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    face = ImageFont.truetype(str(path), 30)
    images = []
    for digit in CLASSES:
        image = Image.new("L", (CANVAS, CANVAS))
        ImageDraw.Draw(image).text((CANVAS / 2, CANVAS / 2), digit, fill=255, font=face, anchor="mm")
        images.append(torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, CANVAS, CANVAS))
    return torch.stack(images).float() / 255


def _stroke(x: Tensor, weight: Tensor) -> Tensor:
    """Bolder (weight [N] towards 1) or lighter (towards -1): a mix of the image and its dilation or erosion."""
    bold, light = F.max_pool2d(x, 3, 1, 1), -F.max_pool2d(-x, 3, 1, 1)
    weight = weight[:, None, None, None]
    return torch.where(weight > 0, x + weight * (bold - x), x - weight * (light - x))


def _warp(x: Tensor, rotation: Tensor, shear: Tensor, width: Tensor, displacement: Tensor) -> Tensor:
    """Affine map of each image, plus a displacement [N, 2, 4, 4] that is interpolated smoothly over the canvas."""
    c, s, zero = rotation.cos(), rotation.sin(), torch.zeros_like(rotation)
    rows = [torch.stack([c / width, s / width + shear, zero], 1), torch.stack([-s, c, zero], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), x.shape, align_corners=False)
    if displacement.any():
        grid = grid + F.interpolate(displacement, CANVAS, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, align_corners=False)


def _crop_to_glyph(x: Tensor) -> Tensor:
    """Crop each image to a square that its glyph fills from edge to edge, and reduce it to 8x8 by averaging."""
    ink = (x > 0.2).squeeze(1)
    (top, bottom), (left, right) = (_extent(ink.any(axis)) for axis in (2, 1))
    centre = torch.stack([left + right, top + bottom], 1) / CANVAS - 1
    scale = torch.maximum(right - left, bottom - top)[:, None, None] / CANVAS * torch.eye(2)
    theta = torch.cat([scale, centre[:, :, None]], 2)
    grid = F.affine_grid(theta, [len(x), 1, 4 * COARSE, 4 * COARSE], align_corners=False)
    return F.avg_pool2d(F.grid_sample(x, grid, align_corners=False), 4)


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First occupied place, and the place after the last occupied one, of rows of booleans [N, L]: [N] each."""
    length, occupied = occupied.shape[1], occupied.int()
    return occupied.argmax(1).float(), (length - occupied.flip(1).argmax(1)).float()


def _enlarge(x: Tensor) -> Tensor:
    """[N, 1, 8, 8] -> [N, 1, 16, 16], bilinearly."""
    return F.interpolate(x, SIZE, mode="bilinear", align_corners=False)
