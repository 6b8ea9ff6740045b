"""Exercises of lesson 07. Letters: B images, D features, C classes, h x w pixels; f [B,D,h,w] features, z [B,C,h,w]
logits, y [B,h,w] labels or pseudo-labels, a [C,D] anchors."""

import copy
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from uda_core.anchors import Anchors, class_means
from uda_core.data.streets import streets
from uda_core.losses import area_scaled_distance, pixel_cross_entropy, pixel_distance
from uda_core.maps import at_stride
from uda_core.methods.cag import CAG, CAGRun, CAGSettings, cag_step
from uda_core.methods.segmentation import SegmentationConfig
from uda_core.samples import IGNORE, Batch
from uda_core.training import fit
from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.moves import first_other_move, refuse_leftovers


def _labelled_features(seed: int = 0) -> list[tuple]:
    """Features, labels with `IGNORE` among them, and anchors; then a class without anchor; then no label at all."""
    generator = torch.Generator().manual_seed(seed)
    f = 2 * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(4, (2, 4, 5), generator=generator)
    y[0, :2], y[1, 0, 0] = IGNORE, IGNORE
    a = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    weight = torch.tensor([5, 3, 4, 2])
    fewer = torch.tensor([1, 1, 1, 0])
    cases = (y, a, weight), (y, a * fewer[:, None], fewer), (torch.full_like(y, IGNORE), a, weight)
    return [(f.clone().requires_grad_(), y, Anchors(a, weight)) for y, a, weight in cases]


def _differences(f: Tensor, y: Tensor, anchors: Anchors) -> Tensor:
    """f_j - a of its label for each labelled pixel j, [n, D]."""
    labelled = y != IGNORE
    return f.movedim(1, -1)[labelled] - anchors.a[y[labelled]]


def _of_class_means(f: Tensor, y: Tensor, anchors: Anchors) -> Tensor:
    v, n = class_means(f, y, len(anchors.a))
    return (v - anchors.a).norm(dim=2)[n > 0].mean()


PIXEL_DISTANCE = Exercise(
    name="pixel_distance",
    reference=pixel_distance,
    cases=_labelled_features,
    mistakes=(
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors)[anchors.present[y[y != IGNORE]]].norm(dim=1).mean(),
            "NaN: in the third case no pixel has a label, and the mean of nothing is not a number. Divide a sum by at "
            "least 1.",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).square().sum(1).mean(),
            "squared distances: the few far pixels would decide everything. Take the root, or .norm(dim=1).",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).abs().sum(1).mean(),
            "you add absolute differences: the distance is Euclidean, .norm(dim=1).",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).square().mean(1).sqrt().mean(),
            "you average over the features under the root: a distance adds them up.",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).norm(),
            "one norm of everything: take the distance of each pixel, then the mean over pixels.",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).norm(dim=1).sum(),
            "you add over the pixels: with a sum, the weight of the loss would depend on how many are active.",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).norm(dim=1).sum() / y.numel(),
            "you divide by all pixels: divide by the labelled ones, or a high margin would switch the loss off.",
        ),
        Mistake(
            lambda f, y, anchors: pixel_distance(f, y.clamp_max(len(anchors.a) - 1), anchors),
            "pixels without a label are drawn to the last class: leave IGNORE out.",
        ),
        Mistake(
            _of_class_means,
            "you average each class in each image first: that is the code's form, blind to how wide the pixels "
            "spread. Here each pixel has its own distance.",
        ),
        Mistake(
            lambda f, y, anchors: torch.stack(
                [_differences(f[n : n + 1], y[n : n + 1], anchors).norm(dim=1).mean() for n in range(len(f))]
            ).mean(),
            "you average in each image and then over the images: the mean is over all labelled pixels at once.",
        ),
        Mistake(
            lambda f, y, anchors: torch.cdist(f.movedim(1, -1)[y != IGNORE], anchors.a).amin(1).mean(),
            "you take the nearest anchor: a pixel belongs to the anchor of its *label*.",
        ),
        Mistake(
            lambda f, y, anchors: f.movedim(1, -1) - anchors.a[y],
            "255, IGNORE, is no class, and has no anchor to look up: choose the labelled pixels first.",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).norm() / (y != IGNORE).sum().clamp_min(1),
            "one norm of everything: take the distance of each pixel, .norm(dim=1), then the mean.",
        ),
        Mistake(
            lambda f, y, anchors: f.movedim(1, -1)[y != IGNORE].norm(dim=1).mean(),
            "these are the lengths of the features: subtract the anchor of each pixel's label first.",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).abs().mean(),
            "you average absolute differences: the distance is Euclidean, .norm(dim=1), and one per pixel.",
        ),
        Mistake(
            lambda f, y, anchors: _differences(f, y, anchors).square().mean(),
            "a mean of squares, as in mse_loss: take the root of each pixel's sum over the features.",
        ),
        Mistake(
            lambda f, y, anchors: (
                pixel_distance(f, y, anchors)
                * (anchors.present[y.clamp_max(len(anchors.a) - 1)] & (y != IGNORE)).sum()
                / (y != IGNORE).sum().clamp_min(1)
            ),
            "you divide by all labelled pixels: those whose class has no anchor have no distance, and do not count.",
        ),
        Mistake(
            lambda f, y, anchors: (
                _differences(f, y, anchors).norm(dim=1).mean() if (y != IGNORE).any() else pixel_distance(f, y, anchors)
            ),
            "in the second case class 3 has no anchor, and you draw its pixels to the zero vector: leave out pixels "
            "whose class is not anchors.present.",
        ),
    ),
    hints=(
        "Choose the pixels first: those with a label, and whose class has an anchor.",
        "f.movedim(1, -1)[mask] are their features, [n, D], and anchors.a[y[mask]] the anchors they belong to.",
        "difference.norm(dim=1).sum() / mask.sum().clamp_min(1), with mask = (y != 255) & ... anchors.present.",
    ),
    right="every active pixel is drawn to the anchor of its label, and an empty map costs nothing.",
)


@cache
def _run_in_its_first_stage(seed: int) -> CAGRun:
    """Small streets, a network that has seen the source for a moment, teacher and anchors made from it."""
    pair = streets(samples=6, test_samples=1, seed=seed, size=(32, 64)).pair
    config = SegmentationConfig(batch_size=3, features=8, jitter="none", seed=seed)
    run = CAG(pair, config, source_steps=40, distance=2.0, confidence=0.4, margin=0.4)
    list(fit(run, 40))
    run.separate_target_statistics(pair.target_train.x)
    run.next_stage(run.settings)
    run.segmenter_opt = torch.optim.SGD(run.segmenter.parameters(), lr=0.1)
    return run


def _in_the_first_stage(seed: int = 0) -> list[tuple]:
    """The run, its settings and one batch."""
    run = copy.deepcopy(_run_in_its_first_stage(seed))
    i = torch.arange(3)
    x_s, y_s = run.pair.source_train.draw(i)
    return [(run, run.settings, Batch(x_s, y_s.long(), run.pair.target_train.draw(i), i))]


def _segmenter_after(step: Callable, run: CAGRun, s: CAGSettings, batch: Batch) -> Tensor:
    """All weights and batch-norm statistics of the segmenter after one call of `step`."""
    before = copy.copy(s)
    step(run, s, batch)
    refuse_leftovers(run, s, before)
    return torch.cat([t.detach().float().flatten() for t in run.segmenter.state_dict().values()])


def _losses(run: CAGRun, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    y_hat = run.label(batch.x_t, run.settings)
    f_s, z_s = run.embed(batch.x_s, "source")
    f_t, z_t = run.embed(batch.x_t, "target")
    y, y_small, a, b = batch.y_s, at_stride(batch.y_s, z_s), y_hat.by_anchor, y_hat.by_confidence
    right = {
        "source cross-entropy": pixel_cross_entropy(z_s, y),
        "source distance": run.distance("source", f_s, z_s, y_small),
        "cross-entropy on anchor labels": pixel_cross_entropy(z_t, a),
        "cross-entropy on confidence labels": pixel_cross_entropy(z_t, b),
        "target distance": run.distance("target", f_t, z_t, a),
    }
    enlarged = sum(pixel_cross_entropy(z_t, at_stride(y, batch.x_t)) for y in (a, b))
    misread = sum(area_scaled_distance(f, y, run.anchors) for f, y in ((f_s, y_small), (f_t, a)))
    return right, {
        "cross-entropy on shrunk source labels": pixel_cross_entropy(z_s, y_small),
        "cross-entropy on enlarged pseudo-labels": enlarged,
        "cross-entropy where both labels agree": pixel_cross_entropy(z_t, torch.where(a == b, a, IGNORE)),
        "cross-entropy on both labels merged": pixel_cross_entropy(z_t, torch.where(a == IGNORE, b, a)),
        "target distance to confidence labels": run.distance("target", f_t, z_t, b),
        "distance of misread pixels too": misread,
    }


HALVED = ": the code halves it between anchor labels and confidence labels (the poster has anchor labels alone)"
CAG_STEP = Exercise(
    name="cag_step",
    reference=cag_step,
    cases=_in_the_first_stage,
    outcome=_segmenter_after,
    mistakes=(),
    explain=first_other_move(
        cag_step,
        _losses,
        stages=("the update",),
        why={
            "the update, cross-entropy on shrunk source labels": ": true labels are used at full size, to which "
            "pixel_cross_entropy enlarges the logits",
            "the update, cross-entropy on enlarged pseudo-labels": ": they were made at the features' size, and stay "
            "there",
            "the update, cross-entropy where both labels agree": ": a line of the authors' code did that, and is "
            "commented out. Each kind has its own cross-entropy",
            "the update, cross-entropy on both labels merged": ": each kind has its own, over its own pixels",
            "the update, target distance to confidence labels": ": an anchor calls its own, y_hat.by_anchor",
            "the update, distance of misread pixels too": ": leave them out with where_right, as run.distance does",
            "the update, source cross-entropy": ": on the true labels, and plus=g_s adds its gradients",
            "the update, source distance": ": s.distance times that to the anchors of the true labels",
            "the update, cross-entropy on anchor labels": HALVED,
            "the update, cross-entropy on confidence labels": HALVED,
            "the update, target distance": ": s.distance times that to the anchors of the anchor labels",
        },
        left="the weights are right, but the target went through the source's batch-norm statistics: embed it as "
        '"target".',
    ),
    hints=(
        "Each line is a cross-entropy plus s.distance times a distance.",
        "Source: labels batch.y_s at full size for the cross-entropy, at_stride(batch.y_s, z) for the distance.",
        "Target: half of the cross-entropy on y_hat.by_anchor, half on y_hat.by_confidence; distance to by_anchor.",
    ),
    right="one student, two domains, three kinds of labels, each at its own size.",
    tolerance=1e-5,  # the networks count in float32
)

EXERCISES = (PIXEL_DISTANCE, CAG_STEP)
