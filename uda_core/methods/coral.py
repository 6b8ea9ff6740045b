"""Deep CORAL: Deep Correlation Alignment (Sun and Saenko, ECCV workshops 2016, arXiv 1607.01719).

The paper has the term on the last layer of the classifier (fc8), with the weight that makes both losses about equal at
the end of training; here it is on the features, before the heads, and its weight was chosen on fonts-distorted.

Letters: x_s, y_s, x_t a batch of labelled source and unlabelled target samples, f_s and f_t their features [B, D].
"""

from dataclasses import dataclass

from uda_core.losses import coral
from uda_core.methods.classification import ClassificationRun, ce
from uda_core.run import Losses, Method, Settings, option
from uda_core.samples import Batch
from uda_core.training import update


@dataclass
class CORALSettings(Settings):
    """Settings of Deep CORAL."""

    coral: float = option(10.0, "weight of the distance between the domains' covariances", 0.0, 1e6)


def coral_step(run: ClassificationRun, s: CORALSettings, batch: Batch) -> Losses:
    """Fit the source, with features that vary alike in both domains (eq. 6); both heads learn the source's labels."""
    f = run.embed(batch.x_s, batch.x_t)
    z_s, _ = run.classify(f)
    losses = {"source_ce": ce(z_s, batch.y_s), "coral": coral(*f.chunk(2))}
    update(losses["source_ce"] + s.coral * losses["coral"], run.features_opt, run.heads_opt)
    return losses


CORAL = Method("coral", coral_step, CORALSettings, ClassificationRun)
