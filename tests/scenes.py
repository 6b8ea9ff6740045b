"""Made-up scenes: random ones, those of the golden numbers of CAG-UDA, and a pair small enough to train in a test."""

import torch
from torch import tensor
from transcriptions import NOTHING, waves

from uda_core.anchors import Anchors

SCENES = [(1, 2, 3, 4, 5), (2, 3, 4, 5, 6), (3, 4, 2, 3, 7), (2, 5, 6, 6, 4)]  # B, C, D, h, w


def scene(b, c, d, h, w, seed=0):
    """Random features f, logits z, labels y with some pixels unlabelled, and anchors: class 1 has none, if C > 2."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    f, z, a = draw(b, d, h, w).requires_grad_(), (3 * draw(b, c, h, w)).requires_grad_(), 2 * draw(c, d)
    y = torch.randint(c, (b, h, w), generator=generator)
    y[torch.rand(b, h, w, generator=generator) < 0.2] = NOTHING
    anchors = [None if c > 2 and k == 1 else row for k, row in enumerate(a.tolist())]
    return f, z, y, anchors


def as_anchors(rows, dtype=torch.float64):
    """`Anchors` from a list with one list of numbers per class, or None."""
    d = len(next(row for row in rows if row))
    weight = tensor([int(row is not None) for row in rows])
    return Anchors(tensor([row or [0.0] * d for row in rows], dtype=dtype), weight)


def golden_scene(phase=0.0):
    """Two images of 8 x 12 pixels, D = 5, C = 19: f, z and y for the golden numbers of CAG-UDA.

    Every class has none, one or two rightly predicted pixels in an image, or at least eleven.
    """
    f = (2 * waves(2, 5, 8, 12, phase=phase)).requires_grad_()
    y = torch.tensor([[0, 0, 0, 1, 1, 1, 7, 7, 7, 7, 18, 18]] * 8).repeat(2, 1, 1)
    y[0, 0, :2] = 3
    y[1, :, 10:] = NOTHING
    z = torch.nn.functional.one_hot(y.clamp_max(18), 19).movedim(-1, 1).double()
    wrong = waves(2, 8, 12, phase=phase + 1) > 0.6
    return f, torch.where(wrong[:, None], z.roll(1, 1), z), y
