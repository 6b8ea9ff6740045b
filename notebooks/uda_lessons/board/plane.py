"""Samples that are points in the plane: where the heads' boundaries run, and a slider that moves the target.

Letters: N points (source first, then target), C classes, n places in the plane.
"""

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uda_core.errors import UserError
from uda_core.task import Pair, Task

STEPS = 65535  # positions are sent as uint16
LEAST, MOST = 1e-4, 1e3  # differences of logits, as they are sent


class PlaneMap:
    """In place of a `FeatureMap`: the points stand where they are; those outside the window stand at its edge."""

    kind = "plane"

    def advance(self, f: Tensor, thorough: bool = False) -> "Future[np.ndarray]":
        """The layout for points f [N, 2], whose window goes from 0 to 1: themselves, at once."""
        future: Future = Future()
        future.set_result(f.cpu().numpy())
        return future

    def take(self, layout: np.ndarray) -> np.ndarray:
        """Its positions [N, 2] as uint16: 0 is left and bottom, 65535 right and top."""
        return (layout.clip(0, 1) * STEPS).round().astype(np.uint16)


def regions(z: Tensor) -> Tensor:
    """uint8 [2, n] of logits z [n, C] at n places: the class, and how far its logit is above the next one.

    Between two places of different classes, the boundary divides the line in the ratio of these differences. They go
    by their logarithm, so that a byte keeps the ratio within 7 %, be they as small as when training begins.
    """
    first, second = z.topk(2).values.unbind(1)
    above = (first - second).clamp(LEAST, MOST)
    level = 255 * (above / LEAST).log() / math.log(MOST / LEAST)
    return torch.stack([z.argmax(1), level.round()]).to(torch.uint8).cpu()


def above_of(level: np.ndarray) -> np.ndarray:
    """The differences of logits that `regions` wrote."""
    return LEAST * (MOST / LEAST) ** (level / 255)


@dataclass
class Dial:
    """A number of the data that gets a slider: `Dial("angle", moons, 25, 0, 90, "degrees", "of the rotation")`.

    Whoever moves it stores `value`; the board's loop moves the target's samples, between two steps. Nothing else
    changes: not the source, not the order of the samples, and pseudo-labels only when they are made anew.

    Args:
        make: the task for a value; always as many target samples, of the same classes in the same order.
    """

    name: str
    make: Callable[[float], Task]
    value: float
    low: float
    high: float
    unit: str = ""
    help: str = ""
    _stands: float | None = field(default=None, init=False, repr=False)  # the value that the samples were made with

    @property
    def moved(self) -> bool:
        """Whether the samples are not yet where `value` puts them."""
        return self.value != self._stands

    def move(self, pair: Pair) -> None:
        """Put the target's samples, training and test, where `value` has them, in the tensors that they are in.

        Raises:
            UserError: if `make` gives another number of samples.
        """
        value = self.value  # a callback may change it at any time
        made = self.make(value).pair
        for split in ("target_train", "target_test"):
            x, new = getattr(pair, split).x, getattr(made, split).x
            if x.shape != new.shape:
                shapes = f"{list(new.shape)}, but the run has {list(x.shape)}"
                raise UserError(
                    f"{self.name} = {value:g} makes {split} of shape {shapes}; give the task's own function"
                )
            x.copy_(new)
        self._stands = value

    def control(self) -> dict:
        """The slider, as `facts.controls` describes one."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / 100))  # so that round values can be set
        return {
            "name": self.name, "label": self.name.replace("_", " "), "unit": self.unit, "help": self.help,
            "low": self.low, "high": self.high, "step": step, "value": self.value,
            "kind": "float",
        }  # fmt: skip
