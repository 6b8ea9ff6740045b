"""Source only: what a network learns when nobody adapts it. Every other method starts from here."""

import copy
from dataclasses import dataclass

import torch

from uda_core.data.batches import read
from uda_core.data.task import Pair, Samples, chunks
from uda_core.losses import information_maximisation, pixel_cross_entropy
from uda_core.methods.classification import ClassificationRun, ce, sum_over_heads
from uda_core.methods.run import Batch, Run, RunConfig, Settings, setting, update
from uda_core.methods.segmentation import SegmentationRun, SegmentationSettings
from uda_core.models.batch_norm import reestimate_, reestimate_batches_


@dataclass
class SourceOnlySettings(Settings):
    entropy: float = setting(0.0, 0.0, 1.0, "weight of the information-maximisation term on the target")


def source_only_step(run: ClassificationRun, s: SourceOnlySettings, batch: Batch) -> dict:
    """Fit the source. With `entropy` above 0, also be sure and balanced on the target."""
    domains = [batch.x_s, batch.x_t] if s.entropy else [batch.x_s]
    z = run.classify(run.embed(*domains), len(domains))
    losses = {"source_ce": ce(z[0], batch.y_s)}
    if s.entropy:
        losses["entropy"] = sum_over_heads(information_maximisation, z[1])
    update(losses["source_ce"] + s.entropy * losses.get("entropy", 0), run.features_opt, run.heads_opt)
    return losses


def source_pixels_step(run: SegmentationRun, s: SegmentationSettings, batch: Batch) -> dict:
    """Fit the labels of the source's pixels."""
    losses = {"source_ce": pixel_cross_entropy(run.embed(batch.x_s, "source")[1], batch.y_s)}
    update(losses["source_ce"], run.student_opt)
    return losses


def source_only(pair: Pair, config: RunConfig | None = None, **settings: float) -> Run:
    """A run that classifies or segments, as the pair's labels ask.

    It sees the target only through the entropy term of the classification, and not at all while its weight is 0.
    """
    if pair.dense:
        return SegmentationRun("source_only", source_pixels_step, pair, config, SegmentationSettings.of(settings))
    return ClassificationRun("source_only", source_only_step, pair, config, SourceOnlySettings.of(settings))


def with_target_statistics(run: Run, x: Samples | None = None) -> Run:
    """A copy of the run with the batch-norm statistics of x (default: the target's training set); no weight moves.

    Up to 2,000 small samples at once; more, or large ones, in shuffled batches whose statistics are averaged.
    It is there to be looked at: its optimisers are still those of `run`, so do not train it.
    """
    adapted = copy.copy(run)
    x = run.pair.target_train.x if x is None else x
    if isinstance(run, SegmentationRun):
        adapted.student, adapted._preview = copy.deepcopy(run.student), None
        adapted.meet_target(x)
        return adapted
    adapted.extractor, adapted.heads = copy.deepcopy(run.extractor), copy.deepcopy(run.heads)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))  # files lie in order of their classes
    parts = order.tensor_split(max(1, len(x) // len(next(chunks(x)))))  # of one size, or nearly
    reestimate_batches_(adapted.extractor, (part.to(run.config.device) for part in read(x, parts)))
    f = adapted.features(x)
    for head in adapted.heads:
        reestimate_(head, f)
    return adapted
