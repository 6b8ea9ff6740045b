"""Source only: what a network learns without adaptation. Every other method starts from here."""

from dataclasses import dataclass

from uda_core.losses import pixel_cross_entropy
from uda_core.methods.classification import ClassificationRun, ce, im
from uda_core.methods.segmentation import SegmentationRun, SegmentationSettings
from uda_core.run import Losses, Method, Settings, option
from uda_core.samples import Batch
from uda_core.training import update


@dataclass
class SourceOnlySettings(Settings):
    """Settings of source only; with `infomax` above 0 it is InfoMax alone."""

    infomax: float = option(0.0, "weight of the InfoMax term on the target", 0.0, 1.0)


def source_only_step(run: ClassificationRun, s: SourceOnlySettings, batch: Batch) -> Losses:
    """Fit the source. With `infomax` above 0, also be sure and balanced on the target."""
    if not s.infomax:
        return source_step(run, batch)
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    losses = {"source_ce": ce(z_s, batch.y_s), "infomax": im(z_t)}
    update(losses["source_ce"] + s.infomax * losses["infomax"], run.features_opt, run.heads_opt)
    return losses


def source_step(run: ClassificationRun, batch: Batch) -> Losses:
    """Fit the source; the target plays no part."""
    [z_s] = run.classify(run.embed(batch.x_s), domains=1)
    source_ce = ce(z_s, batch.y_s)
    update(source_ce, run.features_opt, run.heads_opt)
    return {"source_ce": source_ce}


def source_pixels_step(run: SegmentationRun, s: SegmentationSettings, batch: Batch) -> Losses:
    """Fit the labels of the source's pixels."""
    source_ce = pixel_cross_entropy(run.embed(batch.x_s, "source")[1], batch.y_s)
    update(source_ce, run.segmenter_opt)
    return {"source_ce": source_ce}


SourceOnlyPixels = Method("source_only", source_pixels_step, SegmentationSettings, SegmentationRun)
SourceOnly = Method("source_only", source_only_step, SourceOnlySettings, ClassificationRun, of_pixels=SourceOnlyPixels)
