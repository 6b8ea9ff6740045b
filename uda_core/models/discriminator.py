"""The discriminator of output maps: which domain does a map of class probabilities come from?"""

import itertools

from torch import Tensor, nn

from uda_core.errors import UserError


class Discriminator(nn.Module):
    """PatchGAN on softmax maps (Tsai et al. 2018).

    `depth` convolutions k4 s2 p1 of width, 2 width, 4 width ... and at last 1 channel, with leaky ReLU 0.2 between; no
    norm, no sigmoid. Defaults are the authors': 64-128-256-512-1.
    """

    def __init__(self, classes: int, width: int = 64, depth: int = 5):
        super().__init__()
        widths = [classes, *(width * 2**i for i in range(depth - 1)), 1]
        layers = list[nn.Module]()
        for n, m in itertools.pairwise(widths):
            layers += [nn.Conv2d(n, m, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])
        self.least = 2**depth

    def forward(self, p: Tensor) -> Tensor:
        """p [B, C, h, w] -> logits [B, 1, h / 2^depth, w / 2^depth].

        Raises:
            UserError: if a map has fewer than 2^depth pixels in one direction.
        """
        h, w = p.shape[-2:]
        if min(h, w) < self.least:
            raise UserError(
                f"maps of {h}x{w} are too small for the discriminator, it needs {self.least}: enlarge images"
            )
        return self.layers(p)
