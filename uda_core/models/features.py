"""Feature extractors: what both heads, and both domains, share."""

import math

import torch
from torch import Tensor, nn


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


def make_features(shape: tuple[int, ...], features: int) -> nn.Module:
    """The extractor that suits inputs of this shape (without the batch): `SmallCNN` for images, `MLP` for vectors."""
    if len(shape) == 3:
        return SmallCNN(*shape, features)
    if len(shape) == 1:
        return MLP(shape[0], features)
    raise ValueError(f"no feature extractor for inputs of shape {shape}: expected [n] or [channels, height, width]")
