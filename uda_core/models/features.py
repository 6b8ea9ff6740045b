"""Feature extractors: what both heads, and both domains, share.

Letters: B samples in a batch, D features.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor, nn

from uda_core.errors import UserError, choose
from uda_core.models.batch_norm import batch_norms, statistics


class SmallCNN(nn.Module):
    """Two conv-BN-ReLU blocks that halve the image, then a linear layer.

    Channels last: a quarter faster on a CPU, the same numbers but for rounding.
    """

    def __init__(self, shape: tuple[int, ...], features: int):
        super().__init__()
        channels, height, width = shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * math.ceil(height / 4) * math.ceil(width / 4), features),
        ).to(memory_format=torch.channels_last)  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> features [B, D]."""
        return self.layers(x.contiguous(memory_format=torch.channels_last))


class MLP(nn.Module):
    """Two linear-ReLU layers for points in the plane."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, features), nn.ReLU(), nn.Linear(features, features), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """[B, n] -> features [B, D]."""
        return self.layers(x)


class MCDDigits(nn.Sequential):
    """MCD's network for MNIST and USPS.

    Source: mil-tokyo/MCD_DA, classification/model/usps.py; its heads are 100 and 100 wide.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 5), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 5), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Grey [B,1,28,28] -> features [B,768]."""
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class MCDColourDigits(nn.Sequential):
    """MCD's network for SVHN: [B,3,32,32] -> features [B,3072], behind a dropout of a half.

    Source: mil-tokyo/MCD_DA, classification/model/svhn2mnist.py; its heads are 2048 wide.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 64, 5, padding=2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(64, 64, 5, padding=2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(64, 128, 5, padding=2), nn.BatchNorm2d(128), nn.ReLU(),
            nn.Flatten(), nn.Linear(8192, 3072), nn.BatchNorm1d(3072), nn.ReLU(), nn.Dropout(),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)  # 12 % faster on a CPU


def bottleneck(inputs: int, features: int) -> nn.Linear:
    """One linear layer with neither batch norm nor ReLU behind it: W ~ N(0, 0.005), b = 0.1.

    Source: lijin118/CGDM, models/basenet.py.
    """
    layer = nn.Linear(inputs, features)
    nn.init.normal_(layer.weight, std=0.005)
    nn.init.constant_(layer.bias, 0.1)
    return layer


# -- by name -----------------------------------------------------------------------------------------------------------

Made = tuple[nn.Module, int]  # a network and the width D of its output


def make_features(network: str, shape: tuple[int, ...], features: int, weights: str = "none") -> Made:
    """The feature extractor of this name for samples of this shape (without the batch), and the width D of its output.

    Args:
        network: "small" is `SmallCNN` for images, `MLP` for vectors; "linear" one layer, for frozen features; MCD's
            networks for digits; a ResNet or EfficientNet-Lite0 up to its average pool; or what you have put into
            `FEATURE_EXTRACTORS` yourself.
        features: D; 0 is the network's own width, as MCD's networks always have it. A ResNet or EfficientNet gets there
            by one linear layer, CGDM's bottleneck.
        weights: of these; see `encoders`.

    Raises:
        UserError: for a network that is not known, or does not suit the samples.
    """
    if network not in FEATURE_EXTRACTORS:
        choose("network", network, FEATURE_EXTRACTORS)
    return FEATURE_EXTRACTORS[network](shape, features, weights)


def _check(name: str, takes: str, fits: bool, shape: tuple[int, ...], weights: str) -> None:
    if weights != "none":
        choose(f"weights of the {name} network", weights, ["none"])
    if not fits:
        raise UserError(f"network {name} takes {takes}, these have {shape}")


def _small(shape: tuple[int, ...], features: int, weights: str) -> Made:
    _check("small", "samples of shape [n] or [channels, height, width]", len(shape) in (1, 3), shape, weights)
    features = features or 64
    return (MLP(shape[0], features) if len(shape) == 1 else SmallCNN(shape, features)), features


def _linear(shape: tuple[int, ...], features: int, weights: str) -> Made:
    _check("linear", "samples of shape [n]", len(shape) == 1, shape, weights)
    return bottleneck(shape[0], features or 64), features or 64


def _mcd(
    name: str, network: type[nn.Module], takes: tuple[int, ...], width: int,
    shape: tuple[int, ...], features: int, weights: str,
) -> Made:  # fmt: skip
    _check(name, f"samples of shape {takes}", shape == takes, shape, weights)
    return network(), width


def _backbone(name: str, shape: tuple[int, ...], features: int, weights: str) -> Made:
    from uda_core.models.encoders import Backbone  # not at the top: torchvision takes seconds to import

    _check(name, "colour images [3, height, width]", len(shape) == 3 and shape[0] == 3, shape, "none")
    backbone = Backbone(name, weights)
    width = backbone.channels[1]
    return (nn.Sequential(backbone, bottleneck(width, features)), features) if features else (backbone, width)


# name -> function of a sample's shape, the wanted width D (0: its own) and the weights
FEATURE_EXTRACTORS: dict[str, Callable[[tuple[int, ...], int, str], Made]] = {
    "small": _small,
    "linear": _linear,
    "mcd_digits": partial(_mcd, "mcd_digits", MCDDigits, (1, 28, 28), 768),
    "mcd_colour_digits": partial(_mcd, "mcd_colour_digits", MCDColourDigits, (3, 32, 32), 3072),
    **{n: partial(_backbone, n) for n in ("resnet18", "resnet50", "resnet101", "efficientnet_lite0")},
}


class LastBatch:
    """Keeps the features of the last batch, and gives them once more for the same batch and the same weights.

    The running statistics of the batch norms move as in a second forward pass. Not for networks with dropout, which
    makes every forward pass different.
    """

    def __init__(self, net: nn.Module):
        self.net, self.parameters, self.norms = net, list(net.parameters()), list(batch_norms(net))
        self.f, self.x, self.versions = torch.empty(0), tuple[Tensor, ...](), list[int]()
        self.running = statistics(self.norms)
        self.before = list[Tensor]()  # the same, before that batch

    def embed(self, x: tuple[Tensor, ...], compute: Callable[..., Tensor]) -> Tensor:
        """compute(*x), or the features that it gave for this very x, with their graph, while no weight has changed."""
        versions = list(map(attrgetter("_version"), self.parameters))
        if versions == self.versions and list(map(id, x)) == list(map(id, self.x)):
            self._replay()
            f, self.f, self.x, self.versions = self.f, torch.empty(0), (), []  # its graph serves one backward pass
            return f
        self.before = list(map(torch.clone, self.running))
        self.f, self.x, self.versions = compute(*x), x, versions
        return self.f

    def __deepcopy__(self, memo: dict) -> "LastBatch":
        """One for the copied network, without features: a tensor with a graph cannot be copied."""
        return LastBatch(copy.deepcopy(self.net, memo))

    @torch.no_grad()
    def _replay(self) -> None:
        """Update the running statistics as a second forward of the same batch would.

        With momentum m and batch statistic s: r1 = (1-m) r0 + m s, so r2 = (1-m) r1 + m s = r1 + (1-m)(r1 - r0).
        """
        before = iter(self.before)
        for norm in self.norms:
            assert norm.momentum is not None
            mean, var, batches = norm.buffers()
            batches.add_(1)
            for running in (mean, var):
                # .data: the graph of the forward has saved them, though in training mode its backward needs neither
                running.data += (1 - norm.momentum) * (running - next(before))
