"""AdaBN: batch-norm statistics of the target instead of the source's (Li et al. 2017, arXiv 1603.04779)."""

import copy

import torch

from uda_core.methods.classification import ClassificationRun
from uda_core.methods.segmentation import SegmentationRun
from uda_core.models.batch_norm import reestimate_
from uda_core.run import Run
from uda_core.samples import Samples, chunks, read


def adabn(run: Run, x: Samples | None = None) -> Run:
    """A copy of the run with the batch-norm statistics of x (default: the target's training set); no weight moves.

    Up to 2,000 small samples at once; more, or large ones, in shuffled batches whose statistics are averaged.
    It is there to be evaluated: its optimisers are still those of `run`, so do not train it.
    """
    adapted = copy.copy(run)
    for name in run.NETWORK_NAMES:
        setattr(adapted, name, copy.deepcopy(getattr(run, name)))
    x = run.pair.target_train.x if x is None else x
    if isinstance(adapted, SegmentationRun):
        adapted.separate_target_statistics(x)
    elif isinstance(adapted, ClassificationRun):
        order = torch.randperm(
            len(x), generator=torch.Generator().manual_seed(0)
        )  # files lie in order of their classes
        parts = order.tensor_split(max(1, len(x) // len(next(chunks(x)))))  # of one size, or nearly
        reestimate_(adapted.extractor, (part.to(run.config.device) for part in read(x, parts)))
        f = adapted.features(x)
        for head in adapted.heads:
            reestimate_(head, f)
    return adapted
