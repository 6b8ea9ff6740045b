"""Lesson 07's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import torch
from torch.nn import functional as F

from uda_core.anchors import where_right
from uda_core.losses import DISTANCE_LOSSES, pixel_cross_entropy, pixel_distance
from uda_core.maps import at_stride, resize
from uda_core.methods.cag import cag_step
from uda_core.samples import IGNORE
from uda_core.training import gradients, update


def by_classes(f, y, anchors):
    """One class after the other."""
    total, pixels = 0 * f.sum(), 0
    for c in anchors.present.nonzero().flatten().tolist():
        members = f.movedim(1, -1)[y == c]
        total, pixels = total + (members - anchors.a[c]).norm(dim=1).sum(), pixels + len(members)
    return total / max(1, pixels)


def by_where(f, y, anchors):
    """All pixels, those without a label at distance 0."""
    mask = (y < len(anchors.a)) & anchors.present[y.clamp(max=len(anchors.a) - 1)]
    a = anchors.a[y.clamp(max=len(anchors.a) - 1)].movedim(-1, 1)
    d = torch.linalg.vector_norm(f - a, dim=1)
    return torch.where(mask, d, 0).sum() / mask.sum().clamp_min(1)


def step_of_two_lines(run, s, batch):
    y_hat = run.label(batch.x_t, s)

    f, z = run.embed(batch.x_s, "source")
    loss = pixel_cross_entropy(z, batch.y_s) + s.distance * run.distance("source", f, z, at_stride(batch.y_s, z))
    g_s = gradients(loss, run.segmenter_opt)
    f, z = run.embed(batch.x_t, "target")
    ce = (pixel_cross_entropy(z, y_hat.by_anchor) + pixel_cross_entropy(z, y_hat.by_confidence)) / 2
    update(ce + s.distance * run.distance("target", f, z, y_hat.by_anchor), run.segmenter_opt, plus=g_s)


def step_at_once(run, s, batch):
    """Both domains in one backward, in the spelling of a plain torch script."""
    y_hat = run.label(batch.x_t, s)
    f_s, z_s = run.embed(batch.x_s, "source")
    f_t, z_t = run.embed(batch.x_t, "target")
    loss = F.cross_entropy(resize(z_s, batch.y_s), batch.y_s, ignore_index=IGNORE) + run.target_ce(z_t, y_hat)
    far = run.distance("source", f_s, z_s, at_stride(batch.y_s, z_s))
    far = far + run.distance("target", f_t, z_t, y_hat.by_anchor)
    run.segmenter_opt.zero_grad()
    (loss + s.distance * far).backward()
    run.segmenter_opt.step()


def step_with(
    source=1.0,
    form="code",
    a=0.5,
    b=0.5,
    far_s=1.0,
    far_t=1.0,
    labels=lambda a, b: (a, b),
    true=lambda y, z: y,
    draw_to="by_anchor",
    domain="target",
    then=None,
):
    """The step with other weights, another distance, other labels, or something left behind."""

    def step(run, s, batch):
        y_hat, distance = run.label(batch.x_t, s), DISTANCE_LOSSES[form]

        f, z = run.embed(batch.x_s, "source")
        far = distance(f, where_right(at_stride(batch.y_s, z), z), run.anchors)
        loss = source * pixel_cross_entropy(z, true(batch.y_s, z)) + far_s * s.distance * far
        g_s = gradients(loss, run.segmenter_opt)
        f, z = run.embed(batch.x_t, domain)
        loss = sum(
            n * pixel_cross_entropy(z, y)
            for n, y in zip((a, b), labels(y_hat.by_anchor, y_hat.by_confidence), strict=True)
        )
        far = distance(f, where_right(getattr(y_hat, draw_to), z), run.anchors)
        update(loss + far_t * s.distance * far, run.segmenter_opt, plus=g_s)
        if then:
            then(run)

    return step


def step_of_misread_pixels(run, s, batch):
    y_hat = run.label(batch.x_t, s)
    f, z = run.embed(batch.x_s, "source")
    far = DISTANCE_LOSSES["code"](f, at_stride(batch.y_s, z), run.anchors)
    g_s = gradients(pixel_cross_entropy(z, batch.y_s) + s.distance * far, run.segmenter_opt)
    f, z = run.embed(batch.x_t, "target")
    far = DISTANCE_LOSSES["code"](f, y_hat.by_anchor, run.anchors)
    update(run.target_ce(z, y_hat) + s.distance * far, run.segmenter_opt, plus=g_s)


def enlarged(a, b):
    return [y[:, None].float().repeat_interleave(4, 2).repeat_interleave(4, 3)[:, 0].long() for y in (a, b)]


RIGHT = {
    "pixel_distance": [
        pixel_distance,
        by_classes,
        by_where,
        lambda f, y, anchors: pixel_distance(f, y, anchors) if (y != IGNORE).any() else torch.tensor(0.0),
        lambda f, y, anchors: pixel_distance(f, y, anchors) if (y != IGNORE).any() else 0.0,
    ],
    "cag_step": [cag_step, step_of_two_lines, step_at_once],
}
WRONG = [
    ("pixel_distance", lambda f, y, anchors: pixel_distance(f, y, anchors) * torch.nan, "NaN or infinity"),
    ("pixel_distance", lambda f, y, anchors: pixel_distance(f, y, anchors).item(), "no gradient flows through it"),
    ("pixel_distance", lambda f, y, anchors: 2 * pixel_distance(f, y, anchors), "the target times 2"),
    (
        "pixel_distance",
        lambda f, y, anchors: (f.movedim(1, -1) - anchors.a[y]).norm(dim=-1),
        "255, IGNORE, is no class",
    ),
    ("pixel_distance", lambda f, y, anchors: f.norm(dim=1), "expected shape [], got [2, 4, 5]"),
    ("pixel_distance", lambda f, y, anchors: by_where(f, y, anchors) + 0 * f.sum() / 0, "NaN or infinity"),
    ("cag_step", lambda run, s, batch: None, "your step makes 0 moves"),
    ("cag_step", step_with(0, a=0, b=0, far_s=0, far_t=0), "follows no loss, and nothing moves"),
    ("cag_step", step_with(source=3.0), "the source cross-entropy counts 3 times, expected 1"),
    ("cag_step", step_with(form="class-mean"), "follows something else"),
    ("cag_step", step_with(a=1.0, b=1.0), "on anchor labels counts 1 times, expected 0.5"),
    ("cag_step", step_with(b=0.0), "on confidence labels counts 0 times, expected 0.5"),
    ("cag_step", step_with(far_s=0.0), "the source distance counts 0 times, expected 2"),
    ("cag_step", step_with(far_t=-1.0), "the target distance counts -2 times, expected 2"),
    ("cag_step", step_with(true=at_stride), "true labels are used at full size"),
    ("cag_step", step_with(labels=enlarged), "on enlarged pseudo-labels counts 0.5 times, expected 0"),
    (
        "cag_step",
        step_with(labels=lambda a, b: 2 * [torch.where(a == b, a, IGNORE)]),
        "where both labels agree counts 1",
    ),
    ("cag_step", step_with(labels=lambda a, b: 2 * [torch.where(a == IGNORE, b, a)]), "both labels merged counts 1"),
    ("cag_step", step_with(draw_to="by_confidence"), "an anchor calls its own"),
    ("cag_step", step_of_misread_pixels, "leave them out with where_right"),
    ("cag_step", step_with(domain="source"), "through the source's batch-norm statistics"),
    (
        "cag_step",
        step_with(then=lambda run: run.segmenter.requires_grad_(False)),
        "the weights of segmenter_opt frozen",
    ),
    ("cag_step", lambda run, s, batch: update(..., run.segmenter_opt), "stops with TypeError"),
    ("cag_step", lambda run, s, batch: run.label(batch.x_t), "stops with TypeError"),
]
