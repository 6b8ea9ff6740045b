"""Output-space adversarial alignment (Tsai et al., CVPR 2018, arXiv 1802.10349): the warm-up of CAG-UDA.

Single level, least-squares GAN at weight 0.01, on softmax maps at the network's stride. CAG-UDA's own warm-up code was
never released; its authors and ProDA's name this method (RogerZhangzz/CAG_UDA issue 11, microsoft/ProDA issue 27).
"""

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch

from uda_core.losses import adversarial_loss, pixel_cross_entropy
from uda_core.methods.segmentation import ConfigT, SegmentationRun, SegmentationSettings, decay, set_learning_rate
from uda_core.models.discriminator import Discriminator
from uda_core.run import Losses, Method, option
from uda_core.samples import Batch
from uda_core.training import gradients, update


@dataclass
class AdversarialSettings(SegmentationSettings):
    """Settings of the output-space adversarial method."""

    discriminator_learning_rate: float = option(1e-4, "step size of the discriminator (Adam)", 0.0, 0.1)
    adversarial: float = option(0.01, "weight of the term that makes target maps look like source maps", 0.0, 1.0)


def output_adversarial_step(run: "AdversarialRun", s: AdversarialSettings, batch: Batch) -> Losses:
    """The segmenter fits the source and fools the discriminator, which learns to separate the domains' maps."""
    if not run.has_target_statistics:
        run.separate_target_statistics()

    z_s = run.embed(batch.x_s, "source")[1]
    source_ce, p_s = pixel_cross_entropy(z_s, batch.y_s), z_s.softmax(1).detach()
    g_s = gradients(source_ce, run.segmenter_opt)  # now, so that its graph is free before the target's is built

    p_t = run.embed(batch.x_t, "target")[1].softmax(1)
    adversarial = adversarial_loss(run.discriminator(p_t), "source")
    update(s.adversarial * adversarial, run.segmenter_opt, plus=g_s)  # the discriminator stands still

    verdict_s, verdict_t = run.discriminator(p_s), run.discriminator(p_t.detach())
    discriminator = (adversarial_loss(verdict_s, "source") + adversarial_loss(verdict_t, "target")) / 2
    update(discriminator, run.discriminator_opt)  # the segmenter stands still
    return {"source_ce": source_ce, "adversarial": adversarial, "discriminator": discriminator}


SettingsT = TypeVar("SettingsT", bound=AdversarialSettings)


class AdversarialRun(SegmentationRun[ConfigT, SettingsT]):
    """A segmentation run with a discriminator of output maps."""

    NETWORK_NAMES: ClassVar[tuple[str, ...]] = ("segmenter", "discriminator")
    OPTIMIZER_NAMES: ClassVar[tuple[str, ...]] = ("segmenter_opt", "discriminator_opt")

    def _build(self) -> None:
        super()._build()
        # the authors' for real networks; a fraction of it for a laptop's, whose maps are 16 x 32
        size = {"width": 16, "depth": 3} if self.config.network == "small" else {}
        self.discriminator = Discriminator(len(self.pair.classes), **size).to(self.config.device)
        self.discriminator_opt = torch.optim.Adam(self.discriminator.parameters(), betas=(0.9, 0.99))

    def _set_learning_rate(self, s: SettingsT) -> None:
        super()._set_learning_rate(s)
        rate = s.discriminator_learning_rate * decay(self.steps, self.config.decay_steps)
        set_learning_rate(self.discriminator_opt, rate)


OutputAdversarial = Method("output_adversarial", output_adversarial_step, AdversarialSettings, AdversarialRun)
