"""How a source without a split of its own is divided."""

import torch
from torch import Tensor

from uda_core.errors import UserError

HELD_OUT = 10  # one source sample in so many validates


def tenth(y: Tensor, where: object) -> Tensor:
    """[N] whether a sample is the second, twelfth, 22nd ... of its class; see `every`."""
    return every(HELD_OUT, y, where)


def every(n: int, y: Tensor, where: object) -> Tensor:
    """[N] whether a sample is the second of its class, or the n-th after that: a class with one sample keeps it.

    Raises:
        UserError: naming `where` the labels y [N] are from, if no class has a second sample.
    """
    order = y.argsort(stable=True)
    counts = y[order].unique_consecutive(return_counts=True)[1]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(y)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    held_out = place % n == 1
    if not held_out.any():
        raise UserError(f"{where}: no class has two samples, of which one validates; add more")
    return held_out
