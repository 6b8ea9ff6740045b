"""Logistic regression on frozen features, as scikit-learn fits it to the source: the bar that costs a second.

    min over W, b:   C sum_i CE(W x_i + b, y_i) + |W|^2 / 2

The whole fit is one step, by scikit-learn's solver in place of `training.update`. It is source only; with `clusters`,
the target's samples take the labels of their clusters (the method `clusters`), started from the regression's
probabilities.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_core.errors import UserError
from uda_core.methods.clusters import ClustersRun
from uda_core.run import Losses, Method, RunConfig, Settings, option
from uda_core.samples import Batch, Samples

ABSENT = -1e4  # bias of a class that the source has no sample of: its probability is 0, and every number finite


@dataclass(frozen=True)
class LogisticRegressionConfig(RunConfig):
    """What is fixed until a run's reset. Nothing is random: every seed gives the same weights."""

    batch_size: int = option(2, "of no effect: the fit sees the whole source at once", 2, 1_000_000)
    C: float = option(1.0, "weight of the cross-entropy against the penalty |W|^2 / 2, as in scikit-learn", 1e-9, 1e9)
    clusters: bool = option(False, "whether the target's samples take the labels of their clusters")


def logistic_regression_step(run: "LogisticRegressionRun", s: Settings, batch: Batch) -> Losses:
    """Fit the source, all of it at once; a second step finds the same weights."""
    return {"source_ce": run.fit_source()}


class LogisticRegressionRun(ClustersRun):
    """A run whose features are the samples themselves, under one head, which is linear."""

    CONFIG: ClassVar[type[RunConfig]] = LogisticRegressionConfig  # type: ignore[assignment]
    OPTIMIZER_NAMES = ()
    config: LogisticRegressionConfig

    def _build(self) -> None:
        x, classes = self.pair.source_train.x, len(self.pair.classes)
        if not isinstance(x, Tensor) or x.ndim != 2:
            mend = "make features of the images with `uda features`, and train on the task features"
            raise UserError(f"{self.method} takes vectors, but {self.pair.name} has images; {mend}")
        self.extractor = nn.Identity()
        self.heads = nn.ModuleList([nn.Linear(x.shape[1], classes)]).to(self.config.device)

    def features_and_logits(self, x: Samples, domain: str = "target") -> tuple[Tensor, tuple[Tensor, ...]]:
        """The samples, and the regression's logits; with `clusters`, the target's cosines to the centroids."""
        return super().features_and_logits(x, domain if self.config.clusters else "source")

    @torch.no_grad()
    def fit_source(self) -> Tensor:
        """Give the head the weights that scikit-learn finds; the mean cross-entropy on the source."""
        from sklearn.linear_model import LogisticRegression  # not at the top: it takes a second to import

        x, y = cast(Tensor, self.pair.source_train.x), cast(Tensor, self.pair.source_train.y)
        fitted = LogisticRegression(C=self.config.C, max_iter=10_000).fit(x.double().numpy(), y.numpy())
        head = cast(nn.Linear, self.heads[0])
        head.weight.zero_()
        head.bias.fill_(ABSENT)
        head.bias[fitted.classes_] = 0.0
        rows = fitted.classes_[-len(fitted.coef_) :]  # of two classes, it has weights of the second alone
        head.weight[rows] = torch.from_numpy(fitted.coef_).to(head.weight)
        head.bias[rows] = torch.from_numpy(fitted.intercept_).to(head.bias)
        return F.cross_entropy(head(x.to(self.config.device)), y.to(self.config.device))


LogisticRegression = Method("logistic_regression", logistic_regression_step, Settings, LogisticRegressionRun)
