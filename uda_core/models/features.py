"""Feature extractors: what both heads, and both domains, share."""

import math

import torch
from torch import Tensor, nn

from uda_core.errors import UserError, choose


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


RESNETS = {"resnet18": 512, "resnet50": 2048, "resnet101": 2048}  # and how wide they are
NETWORKS = ("small", "linear", "mcd_digits", "mcd_colour_digits", *RESNETS)
OWN_SHAPES = {"mcd_digits": (1, 28, 28), "mcd_colour_digits": (3, 32, 32)}


def make_features(network: str, shape: tuple[int, ...], features: int, weights: str = "none") -> tuple[nn.Module, int]:
    """The feature extractor of this name for samples of this shape (without the batch), and the width D of its output.

    Args:
        network: "small" is `SmallCNN` for images, `MLP` for vectors; "linear" one layer, for frozen features; MCD's
            networks for digits; a ResNet up to its average pool.
        features: D; 0 is the network's own width, as MCD's networks always have it. A ResNet gets there by one
            linear layer, CGDM's bottleneck.
        weights: of a ResNet; see `encoders`.

    Raises:
        UserError: for a network that is not known, or does not suit the samples.
    """
    if network in RESNETS:
        from uda_core.models.encoders import Backbone  # not at the top: torchvision takes seconds to import

        backbone, width = Backbone(network, weights), RESNETS[network]
        return (nn.Sequential(backbone, bottleneck(width, features)), features) if features else (backbone, width)
    choose(f"weights of the network {network}", weights, ["none"])
    if choose("network", network, NETWORKS) in OWN_SHAPES:
        if shape != OWN_SHAPES[network]:
            raise UserError(f"network {network} takes samples of shape {OWN_SHAPES[network]}, these have {shape}")
        return (MCDDigits(), 768) if network == "mcd_digits" else (MCDColourDigits(), 3072)
    features = features or 64
    if network == "linear" and len(shape) == 1:
        return bottleneck(*shape, features), features
    if network == "small" and len(shape) == 3:
        return SmallCNN(*shape, features), features
    if network == "small" and len(shape) == 1:
        return MLP(shape[0], features), features
    raise UserError(f"network {network} does not take samples of shape {shape}")


def bottleneck(inputs: int, features: int) -> nn.Linear:
    """One linear layer with neither batch norm nor ReLU behind it: W ~ N(0, 0.005), b = 0.1.

    Source: lijin118/CGDM, models/basenet.py.
    """
    layer = nn.Linear(inputs, features)
    nn.init.normal_(layer.weight, std=0.005)
    nn.init.constant_(layer.bias, 0.1)
    return layer
