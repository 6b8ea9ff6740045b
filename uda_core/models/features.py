"""Feature extractors: what both heads, and both domains, share."""

import math
from collections.abc import Callable
from operator import attrgetter

import torch
from torch import Tensor, nn

from uda_core.errors import UserError, choose
from uda_core.models.batch_norm import batch_norms


class SmallCNN(nn.Module):
    """Two conv-BN-ReLU blocks that halve the image, then a linear layer: [B, channels, H, W] -> features [B, D].

    Channels last: a quarter faster on a CPU, the same numbers but for rounding.
    """

    def __init__(self, channels: int, height: int, width: int, features: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * math.ceil(height / 4) * math.ceil(width / 4), features),
        ).to(memory_format=torch.channels_last)  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.contiguous(memory_format=torch.channels_last))


class MLP(nn.Module):
    """Two linear-ReLU layers for points in the plane: [B, n] -> [B, D]."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, features), nn.ReLU(), nn.Linear(features, features), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class MCDDigits(nn.Sequential):
    """MCD's network for MNIST and USPS: grey [B,1,28,28] -> features [B,768].

    Source: mil-tokyo/MCD_DA, classification/model/usps.py; its heads are 100 and 100 wide.
    """

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 32, 5), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 5), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class MCDColourDigits(nn.Sequential):
    """MCD's network for SVHN: [B,3,32,32] -> features [B,3072], behind a dropout of a half.

    Source: mil-tokyo/MCD_DA, classification/model/svhn2mnist.py; its heads are 2048 wide.
    """

    def __init__(self):
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 5, padding=2), nn.BatchNorm2d(outputs), nn.ReLU()]

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, stride=2, padding=1)

        super().__init__(
            *block(3, 64), pool(), *block(64, 64), pool(), *block(64, 128),
            nn.Flatten(), nn.Linear(8192, 3072), nn.BatchNorm1d(3072), nn.ReLU(), nn.Dropout(),
        )  # fmt: skip


def make_features(network: str, shape: tuple[int, ...], features: int, weights: str = "none") -> tuple[nn.Module, int]:
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


def bottleneck(inputs: int, features: int) -> nn.Linear:
    """One linear layer with neither batch norm nor ReLU behind it: W ~ N(0, 0.005), b = 0.1.

    Source: lijin118/CGDM, models/basenet.py.
    """
    layer = nn.Linear(inputs, features)
    nn.init.normal_(layer.weight, std=0.005)
    nn.init.constant_(layer.bias, 0.1)
    return layer


def _without_weights(what: str, weights: str) -> None:
    if weights != "none":
        choose(what, weights, ["none"])


def _small(shape: tuple[int, ...], features: int, weights: str) -> tuple[nn.Module, int]:
    _without_weights("weights of the small network", weights)
    if len(shape) not in (1, 3):
        raise UserError(f"network small takes samples of shape [n] or [channels, height, width], these have {shape}")
    features = features or 64
    return (MLP(*shape, features) if len(shape) == 1 else SmallCNN(*shape, features)), features


def _linear(shape: tuple[int, ...], features: int, weights: str) -> tuple[nn.Module, int]:
    _without_weights("weights of the linear network", weights)
    if len(shape) != 1:
        raise UserError(f"network linear takes samples of shape [n], these have {shape}")
    return bottleneck(*shape, features or 64), features or 64


def _mcd(name: str, network: type[nn.Module], takes: tuple[int, ...], width: int):
    def make(shape: tuple[int, ...], features: int, weights: str) -> tuple[nn.Module, int]:
        _without_weights(f"weights of the network {name}", weights)
        if shape != takes:
            raise UserError(f"network {name} takes samples of shape {takes}, these have {shape}")
        return network(), width

    return make


def _backbone(name: str, width: int):
    def make(shape: tuple[int, ...], features: int, weights: str) -> tuple[nn.Module, int]:
        from uda_core.models.encoders import Backbone, Lite0Backbone  # not at the top: torchvision takes seconds

        if len(shape) != 3 or shape[0] != 3:
            raise UserError(f"network {name} takes colour images [3, height, width], these samples have shape {shape}")
        backbone = Lite0Backbone(weights) if name == "efficientnet_lite0" else Backbone(name, weights)
        return (nn.Sequential(backbone, bottleneck(width, features)), features) if features else (backbone, width)

    return make


# name -> function of a sample's shape, the wanted width D (0: its own) and the weights, that gives network and width
FEATURE_EXTRACTORS = {
    "small": _small,
    "linear": _linear,
    "mcd_digits": _mcd("mcd_digits", MCDDigits, (1, 28, 28), 768),
    "mcd_colour_digits": _mcd("mcd_colour_digits", MCDColourDigits, (3, 32, 32), 3072),
    "resnet18": _backbone("resnet18", 512),
    "resnet50": _backbone("resnet50", 2048),
    "resnet101": _backbone("resnet101", 2048),
    "efficientnet_lite0": _backbone("efficientnet_lite0", 1280),
}


class LastBatch:
    """Keeps the features of the last batch, so that the same batch through the same weights is not computed again.

    What else a second forward pass would do is done: the running statistics of the batch norms move once more. Not for
    networks with dropout, whose every forward pass is another one.
    """

    def __init__(self, net: nn.Module):
        self.parameters, self.norms = list(net.parameters()), list(batch_norms(net))
        self.f, self.x, self.versions = torch.empty(0), tuple[Tensor, ...](), list[int]()
        self.statistics = list[Tensor]()  # of the norms, before that batch

    def embed(self, x: tuple[Tensor, ...], compute: Callable[..., Tensor]) -> Tensor:
        """compute(*x), or the features that it gave for this very x, with their graph, while no weight has changed."""
        versions = list(map(attrgetter("_version"), self.parameters))
        if versions == self.versions and list(map(id, x)) == list(map(id, self.x)):
            self._replay()
            return self.f
        self.statistics = [s.clone() for norm in self.norms for s in (norm.running_mean, norm.running_var)]
        self.f, self.x, self.versions = compute(*x), x, versions
        return self.f

    @torch.no_grad()
    def _replay(self) -> None:
        """Update the running statistics as a second forward of the same batch would.

        With momentum m and batch statistic s: r1 = (1-m) r0 + m s, so r2 = (1-m) r1 + m s = r1 + (1-m)(r1 - r0).
        """
        before = iter(self.statistics)
        for norm in self.norms:
            norm.num_batches_tracked += 1
            for running in (norm.running_mean, norm.running_var):
                # .data: the graph of the forward has saved them, though in training mode its backward needs neither
                running.data += (1 - norm.momentum) * (running - next(before))
