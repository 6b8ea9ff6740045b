"""Exercises of lesson 06. Letters: B images, D features, C classes, h x w pixels; f [B,D,h,w] features, z [B,C,h,w]
logits, y [B,h,w] labels, a [C,D] anchors, d [B,C,h,w] distances to them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.anchors import category_anchors, where_right
from uda_core.pseudo_labels import anchor_labels
from uda_core.samples import IGNORE
from uda_lessons.exercises.exercise import Exercise, Mistake


def _source_maps() -> list[tuple]:
    """Three images of unequal sizes of class and many wrong predictions; then a fourth class that nobody predicts.

    Some images have two right pixels of a class, one has exactly three. In image 0, four pixels are labelled 0 and five
    predicted 2, of which two each are right.
    """
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(3, 4, 4, 5, generator=generator, dtype=torch.float64) + 1
    y = torch.zeros(3, 20, dtype=torch.long)
    y[0, 4:18], y[1, 9:], y[2, 14:] = 1, 1, 2
    y[1, 15:], y[0, 18:], y[2, 11:14] = 2, 2, 1
    wrong = torch.rand(3, 20, generator=generator) < 0.2
    predicted = torch.where(wrong, (y + 1) % 3, y)
    predicted[2, 11:14], predicted[0] = 1, torch.tensor([0, 0, 1, 1, *[1] * 11, *[2] * 5])
    z = 3 * F.one_hot(predicted, 4).movedim(2, 1) + torch.rand(3, 4, 20, generator=generator, dtype=torch.float64)
    y, z = y.view(3, 4, 5), z.view(3, 4, 4, 5)
    return [(f, y, z[:, :3]), (f, y, z)]


def _anchors_of(function: Callable, f: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """An answer takes one batch; the package's function many, with `IGNORE` where the prediction is wrong."""
    if function is category_anchors:
        return category_anchors([(f, where_right(y, z))], z.shape[1]).a
    return function(f, y, z)


def _anchors(
    chosen: Callable[[Tensor, Tensor], Tensor] = where_right,
    fewest: int = 3,
    images: str = "with the class",
    pixels: str = "of the class",
    empty: float = 0.0,
    counted: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Callable:
    """Category anchors with something changed: which pixels, from how many on, and what each mean divides by."""

    def anchors(f: Tensor, y: Tensor, z: Tensor) -> Tensor:
        members = F.one_hot(chosen(y, z), IGNORE + 1)[..., : z.shape[1]].to(f.dtype)  # [B, h, w, C]
        n = members.sum((1, 2))
        enough = F.one_hot((counted or chosen)(y, z), IGNORE + 1)[..., : z.shape[1]].sum((1, 2)) >= fewest
        kept = enough.to(f.dtype)
        v = torch.einsum("bhwc,bdhw->bcd", members, f)
        v = v / {"of the class": n.clamp_min(1)[..., None], "all": y[0].numel(), "none": 1}[pixels]
        of_images = kept.sum(0) if images == "with the class" else torch.full_like(kept[0], len(f))
        return torch.einsum("bc,bcd->cd", kept, v) / torch.where(of_images > 0, of_images, empty or 1.0)[:, None]

    return anchors


def _pooled(f: Tensor, y: Tensor, z: Tensor) -> Tensor:
    flat = f.movedim(1, 0).flatten(1)[None, ..., None], where_right(y, z).view(1, -1, 1), z
    return _anchors(lambda right, z: right, fewest=1)(*flat)


CATEGORY_ANCHORS = Exercise(
    name="category_anchors",
    reference=category_anchors,
    cases=_source_maps,
    outcome=_anchors_of,
    mistakes=(
        Mistake(
            _anchors(lambda y, z: y),
            "you average all pixels of a class, the misread ones too: they blur the anchor. Keep those whose "
            "prediction, z.argmax(1), is right.",
        ),
        Mistake(
            _anchors(lambda y, z: z.argmax(1)),
            "you average what the network *takes* for a class: the labels are there, so keep only where it is right.",
        ),
        Mistake(
            lambda f, y, z: category_anchors([(f, where_right(y, z))], z.shape[1], "pixel").a,
            "you pool the pixels of all images: each image counts once, so take its own mean first.",
        ),
        Mistake(
            _anchors(fewest=1),
            "an image with one or two pixels of a class counts as much as one with a thousand: ask for at least 3.",
        ),
        Mistake(_anchors(fewest=4), "an image with exactly 3 pixels counts too: at least 3, not more than 3."),
        Mistake(
            _anchors(counted=lambda y, z: y),
            "you ask for 3 *labelled* pixels of a class in an image: ask for 3 rightly predicted ones, as only these "
            "make its mean.",
        ),
        Mistake(
            _anchors(counted=lambda y, z: z.argmax(1)),
            "you ask for 3 pixels *predicted* as a class in an image: ask for 3 right ones, as only these make its mean.",
        ),
        Mistake(
            lambda f, y, z: category_anchors([(f[-1:], where_right(y, z)[-1:])], z.shape[1]).a,
            "only the last image counts: keep the means of all images, then take their mean.",
        ),
        Mistake(
            _anchors(pixels="none"),
            "you add up the pixels of an image: a class with many of them would outweigh the others. Take their mean.",
        ),
        Mistake(
            _pooled,
            "you pool all right pixels: each image counts once, with a mean of its own, if it has 3 of them.",
        ),
        Mistake(
            _anchors(images="all"),
            "you divide by the number of images: images without the class draw its anchor to zero. Divide by those "
            "that count.",
        ),
        Mistake(
            _anchors(pixels="all"),
            "you divide each image's sum by all of its pixels: divide by the pixels of the class.",
        ),
        Mistake(
            lambda f, y, z: F.normalize(_anchors()(f, y, z), dim=1),
            "you also scale the anchors to length 1: distances to them are Euclidean, so their lengths matter.",
        ),
        Mistake(lambda f, y, z: _anchors()(f, y, z).T, "transposed: one row per class, shape [C, D]."),
        Mistake(
            _anchors(empty=torch.nan),
            "NaN: in the second case nobody predicts class 3, and 0/0 is not a number. Let the divisor be at least 1.",
        ),
    ),
    hints=(
        "Three steps: which pixels count; the mean over them in each image; the mean of those over the images.",
        "The pixels of class c that count are (y == c) & (z.argmax(1) == c), a mask [B, h, w].",
        "For each image n with mask[n].sum() >= 3: f[n][:, mask[n]].mean(1). Then their mean; zeros if there is none.",
    ),
    right="one point per class, in which an image full of road weighs as much as one with a strip of it.",
)


def _distances() -> list[tuple]:
    """Ordinary distances; then a tie, a pixel exactly at the margin, and a class without anchor, infinitely far."""
    d = 0.2 + 2 * torch.rand(2, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edge = d.clone()
    edge[:, 3] = torch.inf
    edge[0, :3, 0, 0] = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)
    edge[0, :3, 0, 1] = torch.tensor([1.25, 1.0, 3.0], dtype=torch.float64)
    return [(d, 0.8), (edge, 0.25)]


def _labels(active: Callable[[Tensor, float], Tensor], other: int = IGNORE) -> Callable:
    """The nearest anchor's class where `active`, called with the distances in rising order and the margin, says so."""

    def labels(d: Tensor, margin: float) -> Tensor:
        rising, order = d.sort(1)
        return torch.where(active(rising, margin), order[:, 0], other)

    return labels


ANCHOR_LABELS = Exercise(
    name="anchor_labels",
    reference=anchor_labels,
    cases=_distances,
    mistakes=(
        Mistake(
            lambda d, margin: d.argmin(1),
            "every pixel got a label: those that lie nearly as close to a second anchor must get IGNORE.",
        ),
        Mistake(
            lambda d, margin: _labels(lambda r, m: r[:, 1] - r[:, 0] >= m)(-d, margin),
            "argmax of a distance is the *farthest* anchor: take the smallest two.",
        ),
        Mistake(
            lambda d, margin: torch.where(d.sort(1).values.diff(dim=1)[:, 0] >= margin, d.argsort(1)[:, 1], IGNORE),
            "the right pixels, but with the *second* nearest class: index 0 of the two smallest is the nearest.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 1] - r[:, 0] < m),
            "the wrong way round: you label the doubtful pixels and ignore the clear ones.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 1].square() - r[:, 0].square() >= m),
            "you subtract squared distances: far from all anchors the same gap then counts for more. Root first.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, -1] - r[:, 0] >= m),
            "you compare with the farthest anchor: the doubt lies between the nearest and the *second* nearest.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 1:].mean(1) - r[:, 0] >= m),
            "you compare with the mean of the others: one close rival is enough to doubt. Take the second smallest.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 0] <= m),
            "this is a circle around each anchor: the margin is a difference of two distances.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 1] >= (1 + m) * r[:, 0]),
            "you compare a ratio of distances: the margin is their difference, d(2) - d(1).",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 1] - r[:, 0] >= m, other=-1),
            "the inactive pixels are marked -1: the losses skip IGNORE, 255.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 1] - r[:, 0] >= m, other=0),
            "the inactive pixels got class 0, which is sky: mark them with IGNORE.",
        ),
        Mistake(
            lambda d, margin: torch.where(
                d.masked_fill(d == d.amin(1, keepdim=True), torch.inf).amin(1) - d.amin(1) >= margin,
                d.argmin(1),
                IGNORE,
            ),
            "in the second case a pixel lies exactly between two anchors, and you skip both: its second smallest "
            "distance equals the first. Mask one place, not all places of that value.",
        ),
        Mistake(
            _labels(lambda r, m: r[:, 1] - r[:, 0] > m),
            "in the second case a pixel lies exactly at the margin: the authors' code counts it in, with >=.",
        ),
    ),
    hints=(
        "You need the two smallest distances of each pixel, and which anchor the smallest belongs to.",
        "d.topk(2, dim=1, largest=False) gives values and indices, each [B, 2, h, w].",
        "torch.where(two[:, 1] - two[:, 0] >= margin, index[:, 0], IGNORE), with two and index from topk.",
    ),
    right="the nearest anchor's class where there is no rival within the margin, and silence elsewhere.",
)

EXERCISES = (CATEGORY_ANCHORS, ANCHOR_LABELS)
