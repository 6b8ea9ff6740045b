"""MCD: Maximum Classifier Discrepancy (Saito et al., CVPR 2018, arXiv 1712.02560).

Letters: x_s, y_s, x_t a batch of labelled source and unlabelled target samples, z_s and z_t logits of both heads.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from uda_core.losses import classifier_discrepancy
from uda_core.methods.classification import ClassificationRun, ce
from uda_core.run import Losses, Method, Settings, option
from uda_core.samples import Batch
from uda_core.training import update


@dataclass
class MCDSettings(Settings):
    """Settings of MCD, and of what grew from it."""

    discrepancy: float = option(1.0, "weight of the disagreement of the heads, in steps B and C", 0.0, 100.0)
    k: int = option(4, "steps C for each step B", 0, 8, "steps")


def mcd_step(
    run: ClassificationRun, s: MCDSettings, batch: Batch, discrepancy: Callable[..., Tensor] = classifier_discrepancy
) -> Losses:
    """A: fit the source.  B: the heads disagree on the target.  C: the features win them back."""
    x_s, y_s, x_t = batch.x_s, batch.y_s, batch.x_t

    z_s = run.logits_of("source", x_s, x_t)
    source_ce = ce(z_s, y_s)
    update(source_ce, run.features_opt, run.heads_opt)  # A

    z_s, z_t = run.classify(run.embed(x_s, x_t).detach())
    l_dis = discrepancy(*z_t)
    update(ce(z_s, y_s) - s.discrepancy * l_dis, run.heads_opt)  # B: minus, the heads move apart

    for _ in range(s.k):
        z_t = run.logits_of("target", x_s, x_t)
        update(s.discrepancy * discrepancy(*z_t), run.features_opt)  # C: plus, the features bring them together

    return {"source_ce": source_ce, "discrepancy": l_dis}


# Source and target share batches and their statistics, as in the authors' VisDA code. With `batches="apart"` A passes
# the source alone, B one after the other, C the target alone, as in their digits code (classification/solver.py).
MCD = Method("mcd", mcd_step, MCDSettings, ClassificationRun)
