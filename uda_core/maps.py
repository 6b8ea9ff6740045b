"""How maps change their size: logits and features are blended, labels never are.

Letters: B maps of H x W or h x w pixels, C channels.
"""

from torch import Tensor
from torch.nn import functional as F


def resize(z: Tensor, like: Tensor) -> Tensor:
    """z [B,C,h,w] at the height and width of `like`: bilinear, corners on corners, as everywhere in CAG-UDA's code."""
    size = like.shape[-2:]
    return z if z.shape[-2:] == size else F.interpolate(z, size, mode="bilinear", align_corners=True)


def at_stride(y: Tensor, like: Tensor) -> Tensor:
    """Labels y [B,H,W] at the height and width of `like`, int64: each pixel takes the nearest label."""
    return F.interpolate(y[:, None].float(), like.shape[-2:], mode="nearest")[:, 0].long()
