"""Lesson 06's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import torch
from torch.nn import functional as F

from uda_core.anchors import category_anchors, class_means, where_right
from uda_core.pseudo_labels import anchor_labels
from uda_core.samples import IGNORE


def by_loops(f, y, z):
    a = torch.zeros(z.shape[1], f.shape[1], dtype=f.dtype)
    for c in range(z.shape[1]):
        mask = (y == c) & (z.argmax(1) == c)
        means = [f[n][:, mask[n]].mean(1) for n in range(len(f)) if mask[n].sum() >= 3]
        if means:
            a[c] = torch.stack(means).mean(0)
    return a


def by_counting(counted, fewest=3):
    """Anchors of right pixels, where an image needs so many pixels that are right, labelled or predicted."""

    def anchors(f, y, z):
        y_hat, right = z.argmax(1), where_right(y, z)
        v, _ = class_means(f, right, z.shape[1])
        kept = (class_means(f, counted(right, y, y_hat), z.shape[1])[1] >= fewest).to(f.dtype)
        return torch.einsum("bc,bcd->cd", kept, v) / kept.sum(0).clamp_min(1)[:, None]

    return anchors


def pooled(f, y, z):
    return category_anchors([(f, where_right(y, z))], z.shape[1], "pixel").a


def by_class_means(f, y, z):
    v, n = class_means(f, where_right(y, z), z.shape[1])
    kept = (n >= 3).to(f.dtype)
    return torch.einsum("bc,bcd->cd", kept, v) / kept.sum(0).clamp_min(1)[:, None]


def by_masked_minimum(d, margin):
    first, y_hat = d.min(1)
    second = d.masked_fill(F.one_hot(y_hat, d.shape[1]).movedim(-1, 1).bool(), torch.inf).min(1).values
    return y_hat.masked_fill(second - first < margin, IGNORE)


def by_overwriting(d, margin):
    first, y_hat = d.min(1)
    d.scatter_(1, y_hat[:, None], torch.inf)
    return torch.where(d.amin(1) - first >= margin, y_hat, IGNORE)


def by_topk(d, margin):
    two, index = d.topk(2, dim=1, largest=False)
    return torch.where(two[:, 1] - two[:, 0] >= margin, index[:, 0], IGNORE)


RIGHT = {
    "category_anchors": [
        category_anchors,
        lambda f, y, z: category_anchors([(f, where_right(y, z))], z.shape[1]).a,
        lambda f, y, z: category_anchors(zip(f.split(1), where_right(y, z).split(1), strict=True), z.shape[1]).a,
        by_loops,
        by_class_means,
    ],
    "anchor_labels": [
        anchor_labels,
        by_masked_minimum,
        by_topk,
        lambda d, margin: torch.where(d.sort(1).values.diff(dim=1)[:, 0] >= margin, d.argmin(1), 255),
        lambda d, margin: torch.where(d.kthvalue(2, 1).values >= d.amin(1) + margin, d.argmin(1), IGNORE).byte(),
    ],
}
WRONG = [
    ("category_anchors", lambda f, y, z: by_loops(f, y, z)[:2], "the target without its last entry"),
    ("category_anchors", lambda f, y, z: by_loops(f, y, z) + 1, "yours is the target plus 1"),
    ("category_anchors", lambda f, y, z: by_loops(f, y, z).T, "yours is the target transposed"),
    ("category_anchors", by_counting(lambda right, y, y_hat: y), "an image with one or two right pixels"),
    ("category_anchors", by_counting(lambda right, y, y_hat: y_hat), "an image with one or two right pixels"),
    ("category_anchors", by_counting(lambda right, y, y_hat: right, 1), "an image with one or two right pixels"),
    ("category_anchors", lambda f, y, z: by_loops(f, z.argmax(1), z).float(), "labelled otherwise"),
    ("category_anchors", by_counting(lambda right, y, y_hat: right, 4), "leaves out right pixels of an image"),
    ("category_anchors", lambda f, y, z: by_loops(f, z.argmax(1), z), "labelled otherwise"),
    ("category_anchors", lambda f, y, z: by_loops(f[:1], y[:1], z[:1]), "leaves out right pixels of an image"),
    ("category_anchors", lambda f, y, z: 2 * by_loops(f, y, z), "has weights of 2.00 in all"),
    ("category_anchors", pooled, "weighs some images more"),
    ("category_anchors", lambda f, y, z: category_anchors([(f, y)], z.shape[1]).a, "are misread"),
    ("category_anchors", lambda f, y, z: f.flatten(2) @ F.one_hot(y.flatten(1), 3).double(), "expected shape"),
    ("category_anchors", lambda f, y, z: f[y == 0], "stops with IndexError"),
    ("category_anchors", lambda f, y, z: category_anchors([(f, y)], z.shape[1]), "returns a Anchors"),
    ("anchor_labels", lambda d, margin: d.softmax(1), "expected shape [2, 3, 5], got [2, 4, 3, 5]"),
    ("anchor_labels", lambda d, margin: anchor_labels(d, margin)[0], "the first entry of the target"),
    ("anchor_labels", lambda d, margin: anchor_labels(d, margin).float(), "a label is a whole number"),
    ("anchor_labels", by_overwriting, "writes into d"),
    (
        "anchor_labels",
        lambda d, margin: anchor_labels(d, margin).clamp_max(254),
        "should all be 255; these are all 254",
    ),
    ("anchor_labels", lambda d, margin: anchor_labels(d, margin) / 0, "NaN or infinity"),
    ("anchor_labels", lambda d, margin: by_topk(d.square(), margin), "Root first"),
    ("anchor_labels", lambda d, margin: by_topk(d, 1.2 * margin), "these should all be 2; these are all 255"),
    ("anchor_labels", lambda d, margin: by_topk(-d, margin), "*farthest*"),
]
