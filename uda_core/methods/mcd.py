"""MCD: Maximum Classifier Discrepancy (Saito et al., CVPR 2018, arXiv 1712.02560)."""

from dataclasses import dataclass

from uda_core.data.task import Pair
from uda_core.losses import classifier_discrepancy
from uda_core.methods.classification import ClassificationRun, Config, ce
from uda_core.methods.run import Batch, Settings, setting, update


@dataclass
class MCDSettings(Settings):
    discrepancy: float = setting(1.0, 0.0, 100.0, "weight of the disagreement of the heads, in steps B and C")
    k: int = setting(4, 0, 8, "steps C for each step B", "steps")


def mcd_step(run: ClassificationRun, s: MCDSettings, batch: Batch, discrepancy=classifier_discrepancy) -> dict:
    """A: fit the source.  B: the heads disagree on the target.  C: the features win them back."""
    x_s, y_s, x_t = batch.x_s, batch.y_s, batch.x_t

    z_s, z_t = run.classify(run.embed(x_s, x_t))
    source_ce = ce(z_s, y_s)
    update(source_ce, run.features_opt, run.heads_opt)  # A

    z_s, z_t = run.classify(run.embed(x_s, x_t).detach())
    l_dis = discrepancy(*z_t)
    update(ce(z_s, y_s) - s.discrepancy * l_dis, run.heads_opt)  # B: minus, the heads move apart

    for _ in range(s.k):
        z_s, z_t = run.classify(run.embed(x_s, x_t))
        update(s.discrepancy * discrepancy(*z_t), run.features_opt)  # C: plus, the features bring them together

    return {"source_ce": source_ce, "discrepancy": l_dis}


def mcd(pair: Pair, config: Config | None = None, **settings: float) -> ClassificationRun:
    """Source and target share batches and their statistics, as in the authors' VisDA code; the digits code does not."""
    return ClassificationRun("mcd", mcd_step, pair, config, MCDSettings.of(settings))
