"""Lesson 07's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import torch
from torch.nn import functional as F

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


def step_with(source=1.0, form="code"):
    """The step with another weight of the source, or another distance."""

    def step(run, s, batch):
        y_hat = run.label(batch.x_t, s)

        f, z = run.embed(batch.x_s, "source")
        far = DISTANCE_LOSSES[form](f, at_stride(batch.y_s, z), run.anchors)
        g_s = gradients(source * pixel_cross_entropy(z, batch.y_s) + s.distance * far, run.segmenter_opt)
        f, z = run.embed(batch.x_t, "target")
        loss = run.target_ce(z, y_hat) + s.distance * run.distance("target", f, z, y_hat.by_anchor)
        update(loss, run.segmenter_opt, plus=g_s)

    return step


RIGHT = {
    "pixel_distance": [pixel_distance, by_classes, by_where],
    "cag_step": [cag_step, step_of_two_lines, step_at_once],
}
WRONG = [
    ("pixel_distance", lambda f, y, anchors: pixel_distance(f, y, anchors) * torch.nan, "NaN or infinity"),
    ("pixel_distance", lambda f, y, anchors: pixel_distance(f, y, anchors).item(), "f is detached"),
    ("pixel_distance", lambda f, y, anchors: 2 * pixel_distance(f, y, anchors), "expected "),
    ("pixel_distance", lambda f, y, anchors: (f.movedim(1, -1) - anchors.a[y]).norm(dim=-1), "stops with IndexError"),
    ("pixel_distance", lambda f, y, anchors: f.norm(dim=1), "expected shape [], got [2, 4, 5]"),
    ("pixel_distance", lambda f, y, anchors: by_where(f, y, anchors) + 0 * f.sum() / 0, "NaN or infinity"),
    ("cag_step", lambda run, s, batch: None, "of the numbers are not"),
    ("cag_step", step_with(source=3.0), "of the numbers are not"),
    ("cag_step", step_with(form="class-mean"), "of the numbers are not"),
    ("cag_step", lambda run, s, batch: update(..., run.segmenter_opt), "stops with TypeError"),
    ("cag_step", lambda run, s, batch: run.label(batch.x_t), "stops with TypeError"),
]
