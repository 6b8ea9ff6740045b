"""Made-up scenes: random ones, those of the golden numbers of CAG-UDA, and a pair small enough to train in a test."""

import torch
from torch import tensor
from transcriptions import NOTHING, waves

from uda_core.anchors import Anchors
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

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


def tiny_task(samples=6, size=(32, 32), gap=0.5):
    """Three colours, sky over road with a box on it; the target is darker and noisier by `gap`."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731

    def domain(gap):
        h, w = size
        y = torch.zeros(samples, h, w, dtype=torch.uint8)
        for n in range(samples):
            y[n, h // 2 :] = 1
            left = int(draw(1) * (w - 12))
            y[n, h // 4 : 3 * h // 4, left : left + 12] = 2
        y[:, -1] = NOTHING
        colour = tensor([[0.3, 0.5, 0.9], [0.4, 0.4, 0.4], [0.9, 0.2, 0.1]])
        x = colour[y.long().clamp_max(2)].movedim(3, 1) * (1 - gap) + (0.1 + gap / 2) * draw(samples, 3, h, w)
        return x.clamp(0, 1), y

    source, val = (Labelled(*domain(0.0)) for _ in range(2))
    (x_t, y_t), (x_test, y_test) = domain(gap), domain(gap)
    pair = Pair("tiny", ("sky", "road", "box", "tree"), source, val, Unlabelled(x_t), Unlabelled(x_test))  # no tree
    return Task(pair, Truth(y_t, y_test))
