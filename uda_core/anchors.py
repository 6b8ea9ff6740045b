"""Category anchors: where each class lies in the source's feature space, and how far a pixel is from them.

From CAG-UDA (Zhang et al., NeurIPS 2019; poster, and RogerZhangzz/CAG_UDA: cac.py, models/adaptation_model.py).

Letters: B images, D features, C classes, h x w pixels of the feature map; f [B,D,h,w] features, z [B,C,h,w] logits,
y [B,h,w] labels of that size, `IGNORE` where there is none; v [B,C,D] class means of each image, n [B,C] their pixels,
a [C,D] anchors, d [B,C,h,w] distances.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.errors import choose
from uda_core.samples import IGNORE

WEIGHTINGS = ("image", "pixel")
SQUARE_FLOOR = 1e-12  # of a distance, below its rounding: on an anchor itself the root has a gradient, 0, in any torch


@dataclass(frozen=True)
class Anchors:
    """One point per class in feature space."""

    a: Tensor  # [C, D], zero where there is none
    weight: Tensor  # [C] int64, the images (or pixels) that the anchor is the mean of; 0: the class has no anchor

    @property
    def present(self) -> Tensor:
        """Which classes have an anchor, [C] bool."""
        return self.weight > 0

    @cached_property
    def gaps(self) -> Tensor:
        """Distances between anchors, [C, C]; infinite on the diagonal and for a class without anchor."""
        a, absent = self.a.double(), ~self.present
        gaps = torch.cdist(a, a, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
        return gaps.masked_fill(absent[:, None] | absent, torch.inf).to(self.a.dtype)

    @cached_property
    def median_gap(self) -> float:
        """The median distance between two anchors; 0 with fewer than two."""
        gaps = self.gaps.triu(1)
        gaps = gaps[gaps.isfinite() & (gaps > 0)]
        return gaps.quantile(0.5).item() if len(gaps) else 0.0

    def tensors(self) -> dict[str, Tensor]:
        """What to save: `Anchors(**tensors)` makes them again."""
        return {"a": self.a, "weight": self.weight}


def where_right(y: Tensor, z: Tensor) -> Tensor:
    """y where the prediction, argmax z, is right; `IGNORE` elsewhere."""
    return torch.where(z.argmax(1) == y, y, IGNORE)


def class_means(f: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """v_nc = mean of f over the pixels of image n with label c, 0 if none, and their number: [B,C,D] and [B,C]."""
    c = torch.arange(classes, device=y.device)[:, None]
    members = (y.flatten(1)[:, None] == c).to(f.dtype)  # [B, C, hw]
    n = members.sum(2)
    return members @ f.flatten(2).mT / n.clamp_min(1)[..., None], n


def min_pixels(h: int, w: int) -> float:
    """Fewest pixels of a class in an image that make a mean: the authors' 10 of 128 x 224, at this size; at least 3.

    That is their crops' size. On whole images, where they measure the anchors, they keep 10 pixels too; here it grows.
    """
    return max(3.0, 10 / (128 * 224) * h * w)


def category_anchors(batches: Iterable[tuple[Tensor, Tensor]], classes: int, weighting: str = "image") -> Anchors:
    """Anchors from batches of source features and labels (f, y), y with `IGNORE` where the prediction is wrong.

    "image" (the authors' code): a_c = mean over images of their class means v_nc, each image counts once.
    "pixel": a_c = mean over all pixels. In both, an image counts for a class only with `min_pixels` pixels of it.
    """
    choose("weighting", weighting, WEIGHTINGS)
    total, weight = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for f, y in batches:
        v, n = class_means(f, y, classes)
        n = n * (n >= min_pixels(*y.shape[1:]))
        w = (n > 0) if weighting == "image" else n
        total = total + torch.einsum("bc,bcd->cd", w.double(), v.double())
        weight = weight + w.long().sum(0)
    return Anchors((total / weight.clamp_min(1)[:, None]).to(v.dtype), weight)


def anchor_distances(f: Tensor, anchors: Anchors) -> Tensor:
    """d_c = |f - a_c|, [B,C,h,w], infinite for a class without anchor. In float32 also under autocast, without TF32.

    |f - a|^2 = |f|^2 - 2 <a, f> + |a|^2, of which the last two terms are a 1x1 convolution. Half precision would change
    one label in a hundred (bf16).
    """
    with torch.autocast(f.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        f = f if f.dtype == torch.float64 else f.float()
        a = anchors.a.to(f.dtype)
        squares = f.square().sum(1, keepdim=True) + F.conv2d(f, -2 * a[:, :, None, None], a.square().sum(1))
        return squares.clamp_min(SQUARE_FLOOR).sqrt().masked_fill(~anchors.present[:, None, None], torch.inf)


def margin_from_ratio(ratio: float, anchors: Anchors) -> float:
    """The margin Delta_d = ratio x median distance between two anchors; 0 with fewer than two.

    The authors' Delta_d = 2.5 is in units of their 256-d features; it is 0.27 of the median distance between the
    anchors that they published, which is what carries over to another network.
    """
    return ratio * anchors.median_gap


def shut_out(anchors: Anchors, margin: float) -> Tensor:
    """[C] bool: classes that can never be a pseudo-label, as their nearest other anchor is closer than the margin.

    By the triangle inequality d(2) - d(1) <= |a_c - a_c'|, so a pixel on the anchor itself would not be active.
    """
    return anchors.gaps.amin(1) < margin
