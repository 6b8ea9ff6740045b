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
from uda_lessons.exercises.relations import close


def _source_maps(seed: int = 0) -> list[tuple]:
    """Three images of unequal sizes of class and many wrong predictions; then a fourth class that nobody predicts.

    Some images have two right pixels of a class, one has exactly three. In image 0, four pixels are labelled 0 and five
    predicted 2, of which two each are right.
    """
    generator = torch.Generator().manual_seed(seed)
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


def _pixels(answer: Callable, f: Tensor, y: Tensor, z: Tensor) -> str | None:
    """Which pixels make an anchor, and their weights: an anchor is a sum of features, and these are its gradient."""
    f = f.clone().requires_grad_()
    a = answer(f, y, z).double()
    for c in range(z.shape[1]) if a.shape == (z.shape[1], f.shape[1]) else ():
        w = torch.autograd.grad(a[c].mean() * f.shape[1], f, retain_graph=True)[0].mean(1)  # [B, h, w]
        if not close(torch.einsum("bhw,bdhw->d", w, f), a[c], 1e-5):
            return None
        used, labelled, predicted = w != 0, y == c, z.argmax(1) == c
        right = labelled & predicted
        n, total = right.sum((1, 2), keepdim=True), w.sum((1, 2), keepdim=True)
        enough = right & (n >= 3)
        share = total[n >= 3]
        wrong = {
            "uses pixels of the class that are misread, which blur it: ask for the right prediction too": (
                used & labelled & ~predicted
            ),
            "uses pixels that are taken for the class, but labelled otherwise: ask for the right label too": (
                used & predicted & ~labelled
            ),
            "uses pixels of other classes": used & ~right,
            "uses an image with one or two right pixels, however many labelled or predicted ones it has: ask for at "
            "least 3 right ones": used & ~enough,
            "leaves out right pixels of an image that has 3 or more of them": enough & ~used,
            "weighs the pixels of an image unequally: take their mean": enough & ((w - total / n).abs() > 1e-6),
            "weighs some images more than others: each counts once, with a mean of its own": share
            > share.mean() + 1e-6,
            f"has weights of {share.sum():.2f} in all, a mean of means has 1: look at what you divide by": (
                (share.sum() - 1).abs() > 1e-6 if len(share) else torch.tensor(False)
            ),
        }
        if words := next((words for words, where in wrong.items() if where.any()), None):
            return f"the anchor of class {c} {words}."
    return None


CATEGORY_ANCHORS = Exercise(
    name="category_anchors",
    reference=category_anchors,
    cases=_source_maps,
    outcome=_anchors_of,
    explain=_pixels,
    mistakes=(
        Mistake(
            lambda f, y, z: (
                category_anchors([(f, where_right(y, z))], z.shape[1]).a
                / (torch.stack([where_right(y, z) == c for c in range(z.shape[1])]).flatten(1).any(1)[:, None])
            ),
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


def _distances(seed: int = 0) -> list[tuple]:
    """Ordinary distances; then a tie, a pixel at the margin, one far from all, and a class without anchor: infinite."""
    d = 0.2 + 2 * torch.rand(2, 4, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    edge = d.clone()
    edge[:, 1] = torch.inf
    edge[0, [0, 2, 3], 0, 0] = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)
    edge[0, [0, 2, 3], 0, 1] = torch.tensor([1.25, 1.0, 3.0], dtype=torch.float64)
    edge[0, [0, 2, 3], 0, 2] = torch.tensor([99.9, 150.0, 180.0], dtype=torch.float64)
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
