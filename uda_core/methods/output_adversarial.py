"""Output-space adversarial alignment (Tsai et al., CVPR 2018, arXiv 1802.10349): the warm-up of CAG-UDA."""

from dataclasses import dataclass

from uda_core.data.task import Pair
from uda_core.losses import adversarial_loss, pixel_cross_entropy
from uda_core.methods.run import Batch, setting, update
from uda_core.methods.segmentation import SegmentationConfig, SegmentationRun, SegmentationSettings


@dataclass
class OutputAdversarialSettings(SegmentationSettings):
    adversarial: float = setting(0.01, 0.0, 1.0, "weight of the term that makes target maps look like source maps")


def output_adversarial_step(run: SegmentationRun, s: OutputAdversarialSettings, batch: Batch) -> dict:
    """The segmenter fits the source and fools the discriminator; the discriminator tells the domains' maps apart."""
    if not run.knows_target:
        run.meet_target()
    losses, p = {}, {}

    def segmenter():
        z = run.embed(batch.x_s, "source")[1]
        losses["source_ce"], p["source"] = pixel_cross_entropy(z, batch.y_s), z.softmax(1).detach()
        yield losses["source_ce"]
        p_t = run.embed(batch.x_t, "target")[1].softmax(1)
        losses["adversarial"], p["target"] = adversarial_loss(run.discriminator(p_t), "source"), p_t.detach()
        yield s.adversarial * losses["adversarial"]

    update(segmenter(), run.student_opt)  # the discriminator stands still

    verdicts = {domain: run.discriminator(maps) for domain, maps in p.items()}
    losses["discriminator"] = sum(adversarial_loss(verdict, domain) for domain, verdict in verdicts.items()) / 2
    update(losses["discriminator"], run.discriminator_opt)  # the segmenter stands still
    return losses


def output_adversarial(pair: Pair, config: SegmentationConfig | None = None, **settings: float) -> SegmentationRun:
    """Single level, least-squares GAN at weight 0.01, on softmax maps at the network's stride.

    CAG-UDA's own warm-up code was never released; its authors and ProDA's name this method (RogerZhangzz/CAG_UDA issue
    11, microsoft/ProDA issue 27).
    """
    values = OutputAdversarialSettings.of(settings)
    return SegmentationRun("output_adversarial", output_adversarial_step, pair, config, values)
