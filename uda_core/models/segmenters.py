"""Segmenters: from an image to one feature vector and one logit per class for every 4x4 pixels.

Letters: B images of H x W pixels, D features, C classes; x [B,3,H,W] RGB in [0,1], f [B,D,H/4,W/4] features after
the last ReLU, z [B,C,H/4,W/4] logits. Sizes that 4 does not divide are rounded up. DeepLab v2 has stride 8 instead.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP, ASPPConv
from torchvision.ops import Conv2dNormActivation

from uda_core.errors import choose
from uda_core.maps import resize
from uda_core.models.encoders import EfficientNetLite0, Encoder, ResNet


class SmallSegmenter(nn.Module):
    """Seven convolutions down to stride 8, the last two dilated by 2 and 4, and one back at stride 4: for a laptop."""

    def __init__(self, classes: int, features: int = 32):
        super().__init__()
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
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> (f, z)."""
        low = self.low(x.contiguous(memory_format=torch.channels_last))  # [B,32,H/4,W/4]
        f = self.decoder(torch.cat([low, resize(self.high(low), low)], 1))
        return f, self.classifier(f)


class DeepLabV3Plus(nn.Module):
    """An encoder at stride 16, ASPP, and a decoder at stride 4 that sees the encoder's early features too.

    Chen et al. 2018, as CAG-UDA has it; the anchors live in f, right before the classifier. Atrous `rates` and widths
    default to its values. In training ASPP's image pooling needs at least two images a batch.
    """

    def __init__(
        self, encoder: Encoder, classes: int, features: int = 256, rates: Sequence[int] = (6, 12, 18), skip: int = 48
    ):
        super().__init__()
        self.encoder = encoder
        low, high = encoder.channels
        self.skip = Conv2dNormActivation(low, skip, 1)
        self.aspp = ASPP(high, rates, features)  # ends with dropout 0.5
        self.decoder = nn.Sequential(
            Conv2dNormActivation(skip + features, features), nn.Dropout(0.5),
            Conv2dNormActivation(features, features), nn.Dropout(0.1),
        )  # fmt: skip
        self.classifier = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> (f, z)."""
        low, high = self.encoder(x)
        low = self.skip(low)
        f = self.decoder(torch.cat([low, resize(self.aspp(high), low)], 1))
        return f, self.classifier(f)


class DeepLabV2(nn.Module):
    """An encoder at stride 8, four dilated convolutions side by side, and one that joins them: f and z at stride 8.

    Not plain DeepLab v2 (Chen et al. 2017), which adds up four dilated classifiers and so has no features before the
    classifier; here the four branches are concatenated and brought to `features` channels, where anchors can live.
    """

    def __init__(self, encoder: Encoder, classes: int, features: int = 256, rates: Sequence[int] = (6, 12, 18, 24)):
        super().__init__()
        self.encoder = encoder
        self.aspp = nn.ModuleList(ASPPConv(encoder.channels[1], features, rate) for rate in rates)
        self.decoder = nn.Sequential(Conv2dNormActivation(len(rates) * features, features), nn.Dropout(0.1))
        self.classifier = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> (f, z)."""
        high = self.encoder(x)[1]
        f = self.decoder(torch.cat([branch(high) for branch in self.aspp], 1))
        return f, self.classifier(f)


def _small(weights: str, **sizes: int) -> nn.Module:
    choose("weights of the small network", weights, ["none"])
    return SmallSegmenter(**sizes)


def _lite0(weights: str, features: int = 64, **sizes: int) -> nn.Module:
    return DeepLabV3Plus(EfficientNetLite0(weights), features=features, rates=(2, 4, 6), skip=24, **sizes)


SEGMENTERS: dict[str, Callable[..., nn.Module]] = {
    "small": _small,
    "efficientnet_lite0": _lite0,
    "deeplab_v2_resnet50": lambda weights, **sizes: DeepLabV2(ResNet("resnet50", 8, weights), **sizes),
    "deeplab_v2_resnet101": lambda weights, **sizes: DeepLabV2(ResNet("resnet101", 8, weights), **sizes),
    "deeplab_v3plus_resnet50": lambda weights, **sizes: DeepLabV3Plus(ResNet("resnet50", 16, weights), **sizes),
    "deeplab_v3plus_resnet101": lambda weights, **sizes: DeepLabV3Plus(ResNet("resnet101", 16, weights), **sizes),
}


def make_segmenter(network: str, classes: int, features: int = 0, weights: str = "none") -> nn.Module:
    """The segmenter of this name; its `.classifier` is the 1x1 convolution from f to z.

    Args:
        features: D; 0 is the network's own: 32 (small), 64 (EfficientNet-Lite0) or 256.
        weights: of the encoder: "none", a file with a state dict, or a name: one of torchvision's weights, such as
            "ResNet101_Weights.IMAGENET1K_V2" (downloaded once), or "imagenet" for EfficientNet-Lite0 (installed).

    Raises:
        UserError: for an unknown name, or weights that do not fit.
    """
    choose("network", network, SEGMENTERS)
    sizes = {"classes": classes, "features": features} if features else {"classes": classes}
    return SEGMENTERS[network](weights, **sizes)
