"""How a source without a split of its own is divided."""

import torch
from torch import Tensor

HELD_OUT = 10  # one source sample in so many validates


def tenth(y: Tensor) -> Tensor:
    """[N] whether a sample is the second, twelfth, 22nd ... of its class: a class with one sample keeps it."""
    place = torch.empty_like(y)
    for label in y.unique():
        mine = y == label
        place[mine] = torch.arange(int(mine.sum()))
    return place % HELD_OUT == 1
