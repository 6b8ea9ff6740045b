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
from uda_core.training import fit, gradients, update
from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.moves import first_other_move, refuse_leftovers


def _labelled_features() -> list[tuple]:
    """Features, labels with `IGNORE` among them, and anchors; then a class without anchor; then no label at all."""
    generator = torch.Generator().manual_seed(0)
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
def _run_in_its_first_stage() -> CAGRun:
    """Small streets, a network that has seen the source for a moment, teacher and anchors made from it."""
    pair = streets(samples=6, test_samples=1, size=(32, 64)).pair
    config = SegmentationConfig(batch_size=3, features=8, jitter="none")
    run = CAG(pair, config, source_steps=40, distance=2.0, confidence=0.4, margin=0.4)
    list(fit(run, 40))
    run.separate_target_statistics(pair.target_train.x)
    run.next_stage(run.settings)
    run.segmenter_opt = torch.optim.SGD(run.segmenter.parameters(), lr=0.1)
    return run


def _in_the_first_stage() -> list[tuple]:
    """The run, its settings and one batch."""
    run = copy.deepcopy(_run_in_its_first_stage())
    i = torch.arange(3)
    x_s, y_s = run.pair.source_train.draw(i)
    return [(run, run.settings, Batch(x_s, y_s.long(), run.pair.target_train.draw(i), i))]


def _segmenter_after(step: Callable, run: CAGRun, s: CAGSettings, batch: Batch) -> Tensor:
    """All weights and batch-norm statistics of the segmenter after one call of `step`."""
    before = copy.copy(s)
    step(run, s, batch)
    refuse_leftovers(run, s, before)
    return torch.cat([t.detach().float().flatten() for t in run.segmenter.state_dict().values()])


def _losses(run: CAGRun, batch: Batch) -> dict[str, Tensor]:
    y_hat, y = run.label(batch.x_t, run.settings), batch.y_s
    f_s, z_s = run.embed(batch.x_s, "source")
    f_t, z_t = run.embed(batch.x_t, "target")
    return {
        "source cross-entropy": pixel_cross_entropy(z_s, y),
        "source distance": run.distance("source", f_s, z_s, at_stride(y, z_s)),
        "cross-entropy by anchor": pixel_cross_entropy(z_t, y_hat.by_anchor),
        "cross-entropy by confidence": pixel_cross_entropy(z_t, y_hat.by_confidence),
        "target distance": run.distance("target", f_t, z_t, y_hat.by_anchor),
        "source cross-entropy on shrunk labels": pixel_cross_entropy(z_s, at_stride(y, z_s)),
        "distance to labels by confidence": run.distance("target", f_t, z_t, y_hat.by_confidence),
    }


def _step(
    source: float = 1.0,
    target: float = 1.0,
    source_labels: Callable[[Tensor, Tensor], Tensor] = lambda y, z: y,
    target_labels: Callable[[Tensor, Tensor], list[Tensor]] = lambda by_anchor, by_confidence: [
        by_anchor,
        by_confidence,
    ],
    target_size: str = "stride",
    share: float | None = None,
    distances: tuple[float, float] = (1.0, 1.0),
    draw_to: str = "by_anchor",
    far: Callable = CAGRun.distance,
    weigh: bool = True,
    domain: str = "target",
) -> Callable:
    """CAG's step with something changed: which labels, at which size, which distances, and what they weigh."""

    def step(run: CAGRun, s: CAGSettings, batch: Batch) -> None:
        y_hat = run.label(batch.x_t, s)
        weight = s.distance if weigh else 1.0

        f, z = run.embed(batch.x_s, "source")
        loss = pixel_cross_entropy(z, source_labels(batch.y_s, z))
        loss = loss + distances[0] * weight * far(run, "source", f, z, at_stride(batch.y_s, z))
        g_s = gradients(source * loss, run.segmenter_opt)

        f, z = run.embed(batch.x_t, domain)
        chosen = target_labels(y_hat.by_anchor, y_hat.by_confidence)
        if target_size == "image":
            chosen = [at_stride(y, batch.x_t) for y in chosen]
        loss = sum(pixel_cross_entropy(z, y) for y in chosen) * (share or 1 / len(chosen))
        loss = loss + distances[1] * weight * far(run, "target", f, z, getattr(y_hat, draw_to))
        update(target * loss, run.segmenter_opt, plus=g_s)

    return step


def _no_matter_what_is_predicted(run: CAGRun, domain: str, f: Tensor, z: Tensor, y: Tensor) -> Tensor:
    return area_scaled_distance(f, y, run.anchors)


CAG_STEP = Exercise(
    name="cag_step",
    reference=cag_step,
    cases=_in_the_first_stage,
    outcome=_segmenter_after,
    explain=first_other_move(cag_step, _losses),
    mistakes=(
        Mistake(_step(0, 0), "no weight has moved: both losses are still to be written."),
        Mistake(_step(target=0), "the source's line is right; the target's is still missing."),
        Mistake(
            _step(source=0),
            "the target's line is right; the source's is still missing, or its gradients are not added: plus=g_s.",
        ),
        Mistake(
            _step(source_labels=at_stride),
            "you shrink the source's labels for the cross-entropy: true labels are used at full size, and "
            "pixel_cross_entropy resizes the logits to them.",
        ),
        Mistake(
            _step(target_size="image"),
            "you enlarge the pseudo-labels: they were made at the features' size, and are used there, as they are.",
        ),
        Mistake(
            _step(target_labels=lambda by_anchor, by_confidence: [by_anchor]),
            "you train on anchor labels alone, as on the poster: the code halves the cross-entropy between them and "
            "the confidence labels.",
        ),
        Mistake(
            _step(target_labels=lambda by_anchor, by_confidence: [by_confidence]),
            "you train on confidence labels alone: half of the cross-entropy is for y_hat.by_anchor.",
        ),
        Mistake(
            _step(share=1.0),
            "you add both cross-entropies: each counts one half, so that source and target weigh the same.",
        ),
        Mistake(
            _step(target_labels=lambda a, b: [torch.where(a == b, a, IGNORE)]),
            "you keep only pixels on which both labels agree: a line of the authors' code did, and is commented out. "
            "Each kind has its own cross-entropy.",
        ),
        Mistake(
            _step(target_labels=lambda a, b: [torch.where(a == IGNORE, b, a)]),
            "you merge both kinds into one map: each has its own cross-entropy, over its own pixels, and counts half.",
        ),
        Mistake(_step(distances=(0, 0)), "the distances to the anchors are missing, in both domains."),
        Mistake(_step(distances=(0, 1)), "the source has a distance too: to the anchors of its true labels."),
        Mistake(_step(distances=(1, 0)), "the target's distance is missing: to the anchors of its anchor labels."),
        Mistake(_step(weigh=False), "the weight s.distance is missing: the slider would do nothing."),
        Mistake(
            _step(draw_to="by_confidence"),
            "you draw the target's pixels to the anchors of their *confidence* labels: an anchor calls its own, "
            "y_hat.by_anchor.",
        ),
        Mistake(
            _step(far=_no_matter_what_is_predicted),
            "the class means hold pixels that the student gets wrong: run.distance leaves them out, with where_right.",
        ),
        Mistake(
            _step(domain="source"),
            "the weights are right, but the target went through the source's batch-norm statistics: embed it as "
            '"target".',
        ),
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
