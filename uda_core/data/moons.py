"""Two moons, and the same two moons rotated: a gap that can be drawn."""

import math

import torch
from sklearn.datasets import make_moons
from torch import Tensor

from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth


def moons(angle: float = 35.0, samples: int = 600, noise: float = 0.08, seed: int = 0) -> Task:
    """Source: two moons. Target: other samples of the same moons, rotated by `angle` degrees about their centre.

    Training and test samples are disjoint.

    Args:
        angle: of the rotation, in degrees, counter-clockwise.
        samples: of each of the four splits.
        noise: standard deviation of the Gaussian noise on both coordinates; a moon's radius is 1.
        seed: of the samples.
    Returns:
        A task with x [N, 2], two classes: decision boundaries can be drawn without a projection.
    """
    (source, val, train, test) = (_moons(samples, noise, 4 * seed + i) for i in range(4))
    x_t, x_test = _rotate(train[0], angle), _rotate(test[0], angle)
    pair = Pair("moons", ("upper", "lower"), Labelled(*source), Labelled(*val), Unlabelled(x_t), Unlabelled(x_test))
    return Task(pair, Truth(train[1], test[1]))


def _moons(samples: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    x, y = make_moons(samples, noise=noise, random_state=seed)
    return torch.tensor(x, dtype=torch.float32) - torch.tensor([0.5, 0.25]), torch.tensor(y)


def _rotate(x: Tensor, angle: float) -> Tensor:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return x @ torch.tensor([[c, s], [-s, c]])
