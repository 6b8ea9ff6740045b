"""Three Gaussians in the plane whose target is moved, class B into A's half: two heads agree there and are wrong."""

from collections.abc import Sequence

import torch
from torch import Tensor

from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

SOURCE, SOURCE_SD = ((-2.0, 0.0), (2.0, 0.0), (0.0, 2.5)), 0.45  # means of A, B, C; standard deviation
TARGET, TARGET_SD = ((-2.6, -0.6), (0.0, -0.6), (0.3, 2.6)), 0.35  # B's first coordinate is `b`


def blobs(b: float = 0.5, classes: Sequence[int] = (200, 200, 200), seed: int = 0) -> Task:
    """Source: three Gaussians, A left, B right, C above. Target: narrower ones, a little lower, B at x = `b`.

    The source's B lies at 2; below 0 the target's lies in A's half of the plane. The same seed draws the same noise,
    whatever `b`: a sample moves with its class. Training and test samples are disjoint.

    Args:
        b: where on the line y = -0.6 class B of the target lies.
        classes: samples of A, B and C in each split of the target; the source has 200 of each.
        seed: of the samples.
    Returns:
        A task with x [N, 2], three classes: decision boundaries can be drawn without a projection.
    Raises:
        UserError: unless `classes` are three counts, of which one is not 0.
    """
    if len(classes) != 3 or min(classes) < 0 or not any(classes):
        raise UserError(f"classes must be how many samples A, B and C have, such as (530, 20, 50), got {classes}")
    generator = torch.Generator().manual_seed(seed)
    means = torch.tensor(TARGET)
    means[1, 0] = b
    source, val = (_draw(torch.tensor(SOURCE), SOURCE_SD, (200, 200, 200), generator) for _ in range(2))
    (x_t, y_t), (x_test, y_test) = (_draw(means, TARGET_SD, classes, generator) for _ in range(2))
    pair = Pair("blobs", ("A", "B", "C"), Labelled(*source), Labelled(*val), Unlabelled(x_t), Unlabelled(x_test))
    return Task(pair, Truth(y_t, y_test))


def _draw(means: Tensor, sd: float, classes: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    y = torch.arange(3).repeat_interleave(torch.tensor(classes))
    return means[y] + sd * torch.randn(len(y), 2, generator=generator), y
