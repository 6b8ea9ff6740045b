"""Segmenters: from an image to one feature vector and one logit per class for every 4x4 pixels.

Letters: B images of H x W pixels, D features, C classes; x [B,3,H,W] RGB in [0,1], f [B,D,H/4,W/4] features after
the last ReLU, z [B,C,H/4,W/4] logits. Sizes that 4 does not divide are rounded up.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from uda_core.errors import choose


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear to the height and width of `like`, corners on corners as everywhere in CAG-UDA."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


class SmallSegmenter(nn.Module):
    """Seven convolutions down to stride 8, the last two dilated by 2 and 4, and one back at stride 4: for a laptop."""

    def __init__(self, classes: int, features: int = 32):
        super().__init__()
        self.features = features
        self.low = nn.Sequential(
            Conv2dNormActivation(3, 16, stride=2), Conv2dNormActivation(16, 32, stride=2), Conv2dNormActivation(32, 32)
        )
        self.high = nn.Sequential(
            Conv2dNormActivation(32, 64, stride=2),
            Conv2dNormActivation(64, 64),
            Conv2dNormActivation(64, 64, dilation=2),
            Conv2dNormActivation(64, 64, dilation=4),
        )
        self.decoder = Conv2dNormActivation(32 + 64, features)
        self.classifier = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(x)  # [B,32,H/4,W/4]
        f = self.decoder(torch.cat([low, resize(self.high(low), low)], 1))
        return f, self.classifier(f)


NETWORKS = {"small": SmallSegmenter}


def make_segmenter(network: str, classes: int, features: int | None = None, weights: str = "none") -> nn.Module:
    """The segmenter of this name. It has `.classifier`, the 1x1 convolution from f to z, and `.features`, D."""
    choose("network", network, NETWORKS)
    return NETWORKS[network](classes, **({} if features is None else {"features": features}))
