"""Runs that segment: one segmenter, and the words in which the segmentation methods are written.

Letters: B images per domain in a batch, D features, C classes; x [B,3,H,W] images, y [B,H,W] labels, f [B,D,h,w]
features, z [B,C,h,w] logits.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from uda_core.errors import UserError
from uda_core.maps import resize
from uda_core.models.batch_norm import copy_statistics_, per_domain_, reestimate_, use_domain
from uda_core.run import Run, RunConfig, Settings, evaluating, option
from uda_core.samples import Samples, read

TOGETHER = 16  # images that the network is applied to at a time outside training


@dataclass(frozen=True)
class SegmentationConfig(RunConfig):
    """What is fixed until Reset: network, batch, optimiser, batch-norm statistics, device, precision, seed."""

    batch_size: int = option(8, "images per domain and step", 2, 1_000_000)
    network: str = option("small", "small, efficientnet_lite0, deeplab_v2_resnet50, deeplab_v3plus_resnet101 ...")
    features: int = option(0, "width D of the feature vector; 0: the network's own", 0, 100_000)
    batch_norm: str = option(
        "per-domain", "statistics: per domain is ours, shared the authors'", choices=("per-domain", "shared")
    )
    jitter: str = option(
        "target", "photometric, on the images of these domains; ours", choices=("none", "target", "source", "both")
    )
    optimizer: str = option("adamw", "sgd: momentum 0.9, weight decay 2e-4, as CAG-UDA's", choices=("adamw", "sgd"))
    decay_steps: int = option(0, "learning rates fall as (1 - step / decay_steps)^0.9; 0: they stay", 0, 10**9, "steps")


@dataclass
class SegmentationSettings(Settings):
    """Settings of every method that segments."""

    learning_rate: float = option(3e-3, "step size on the source, and of the warm-up", 0.0, 0.1)


ConfigT = TypeVar("ConfigT", bound=SegmentationConfig)
SettingsT = TypeVar("SettingsT", bound=SegmentationSettings)


class SegmentationRun(Run[ConfigT, SettingsT]):
    """A run with one segmenter."""

    CONFIG: ClassVar[type[SegmentationConfig]] = SegmentationConfig
    NETWORK_NAMES: ClassVar[tuple[str, ...]] = ("segmenter",)
    OPTIMIZER_NAMES: ClassVar[tuple[str, ...]] = ("segmenter_opt",)
    STATE_NAMES: ClassVar[tuple[str, ...]] = ("has_target_statistics",)

    def _build(self) -> None:
        if not self.pair.dense:
            raise UserError(f"{self.method} labels pixels, but {self.pair.name} has one label for each image")
        from uda_core.models.segmenters import make_segmenter  # not at the top: torchvision takes seconds to import

        config, classes = self.config, len(self.pair.classes)
        self.segmenter = make_segmenter(config.network, classes, config.features, config.weights)
        if config.batch_norm == "per-domain":
            per_domain_(self.segmenter)
        self.segmenter.to(config.device)
        self.segmenter_opt = self._new_optimizer()
        self.has_target_statistics = False

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """A fresh optimiser for the segmenter, without momentum from before."""
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(self.segmenter.parameters(), momentum=0.9, weight_decay=2e-4)
        return torch.optim.AdamW(self.segmenter.parameters(), fused=True)

    def _set_learning_rate(self, s: SettingsT) -> None:
        set_learning_rate(self.segmenter_opt, s.learning_rate * decay(self.steps, self.config.decay_steps))

    # -- the words of the methods --------------------------------------------------------------------------------------

    def embed(self, x: Tensor, domain: str) -> tuple[Tensor, Tensor]:
        """Training-mode features and logits of a batch of one domain; photometric jitter where the config has it."""
        self.segmenter.train()
        use_domain(self.segmenter, domain)
        with self._noise_of_device() if self._ranks > 1 else nullcontext():
            if self.config.jitter in (domain, "both"):
                x = photometric_jitter(x)
            with self._autocast:
                f, z = self.segmenter(x)
        return f.float(), z.float()

    def separate_target_statistics(self, x: Samples | None = None) -> None:
        """From here on the target has batch-norm statistics of its own: those of images x, or at first the source's."""
        self.has_target_statistics = True
        if self.config.batch_norm == "per-domain":
            copy_statistics_(self.segmenter, "source", "target")
        if x is not None:
            use_domain(self.segmenter, "target")
            size = TOGETHER if isinstance(x, Tensor) else self.config.batch_size
            parts = torch.arange(len(x)).tensor_split(max(1, len(x) // size))  # of one size, or nearly
            reestimate_(self.segmenter, (part.to(self.config.device) for part in read(x, parts)))

    # -- applying the networks, without changing anything --------------------------------------------------------------

    def features(self, x: Tensor, domain: str = "target") -> Tensor:  # type: ignore[override]
        """[N,3,H,W] -> features [N,D,h,w], as used at test time."""
        return self.features_and_logits(x, domain)[0]

    def predict(self, x: Tensor, domain: str = "target") -> tuple[Tensor]:  # type: ignore[override]
        """[N,3,H,W] -> logits ([N,C,H,W],), at the size of the images."""
        return (resize(self.features_and_logits(x, domain)[1], x),)

    @torch.no_grad()
    def features_and_logits(
        self, x: Tensor, domain: str = "target", net: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features [N,D,h,w] and logits [N,C,h,w], both at their stride, in one pass: of the segmenter, or of `net`."""
        parts = [
            self._evaluate(net or self.segmenter, part.to(self.config.device), domain) for part in x.split(TOGETHER)
        ]
        f, z = zip(*parts, strict=True)
        return torch.cat(f), torch.cat(z)

    def _evaluate(self, net: nn.Module, x: Tensor, domain: str) -> tuple[Tensor, Tensor]:
        use_domain(net, domain if self.has_target_statistics else "source")
        with evaluating(net), self._autocast:
            f, z = net(x)
        return f.float(), z.float()


def decay(step: int, length: int) -> float:
    """(1 - step / length)^0.9, the factor of the learning rate after so many steps; 1 where length is 0."""
    return max(0.0, 1 - step / length) ** 0.9 if length else 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter of the optimiser this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def photometric_jitter(x: Tensor) -> Tensor:
    """Another brightness, contrast, saturation and hue for each image [B,3,H,W]. Ours, not the authors'."""
    from torchvision.transforms import v2  # not at the top: it takes seconds to import

    jitter = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    return torch.stack([jitter(image) for image in x])
