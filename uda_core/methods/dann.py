"""DANN: Domain-Adversarial Neural Network (Ganin et al., JMLR 2016, arXiv 1505.07818).

Letters: x_s, y_s, x_t a batch of labelled source and unlabelled target samples, f their features [2B, D].
"""

import itertools
import math
from dataclasses import dataclass
from typing import cast

from torch import nn

from uda_core.losses import domain_cross_entropy
from uda_core.methods.classification import ClassificationRun, Config, ce
from uda_core.models.heads import Head
from uda_core.run import Losses, Method, Settings, option
from uda_core.samples import Batch
from uda_core.training import update


@dataclass
class DANNSettings(Settings):
    """Settings of DANN."""

    domain: float = option(1.0, "weight of the domain loss, for the features", 0.0, 100.0)
    ramp: int = option(400, "steps over which the reversal grows from 0 to 1; the run's length", 1, 10**9, "steps")


def reversal(p: float) -> float:
    """lambda = 2 / (1 + exp(-10 p)) - 1 at the fraction p of the training, from 0 to 1 (section 5.2.2)."""
    return 2 / (1 + math.exp(-10 * min(p, 1))) - 1


def dann_step(run: "DANNRun", s: DANNSettings, batch: Batch) -> Losses:
    """Features and heads fit the source, the features against the discriminator; it learns to separate the domains.

    A second pass through the discriminator, over the features as they were before they moved, gives its own gradient:
    the step is that of one backward pass through a gradient reversal layer.
    """
    f = run.embed(batch.x_s, batch.x_t)
    z_s, _ = run.classify(f)  # both heads learn the source's labels
    source_ce, l_d = ce(z_s, batch.y_s), domain_cross_entropy(*run.discriminator(f).chunk(2))
    strength = s.domain * reversal(run.steps / s.ramp)
    update(source_ce - strength * l_d, run.features_opt, run.heads_opt)  # minus: the features ascend the domain loss

    l_d = domain_cross_entropy(*run.discriminator(f.detach()).chunk(2))
    update(l_d, run.discriminator_opt)  # plus: the discriminator descends it
    return {"source_ce": source_ce, "domain": l_d}


class DANNRun(ClassificationRun[Config]):
    """A classification run whose discriminator gives logits of "target": linear layers, ReLU between.

    Hidden widths as in the paper: 1024-1024, but 100 where it has MNIST, for speed; here `small` and `mcd_digits`.
    """

    NETWORK_NAMES = ("extractor", "heads", "discriminator")
    OPTIMIZER_NAMES = ("features_opt", "heads_opt", "discriminator_opt")

    def _build(self) -> None:
        super()._build()
        hidden = [100] if self.config.network in ("small", "mcd_digits") else [1024, 1024]
        widths = [cast(Head, self.heads[0]).linears[0].in_features, *hidden]
        blocks = [layer for n, m in itertools.pairwise(widths) for layer in (nn.Linear(n, m), nn.ReLU())]
        self.discriminator = nn.Sequential(*blocks, nn.Linear(hidden[-1], 1)).to(self.config.device)
        self.discriminator_opt = self._optimizer(self.discriminator, momentum=0.9)


DANN = Method("dann", dann_step, DANNSettings, DANNRun)
