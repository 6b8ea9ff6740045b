"""Runs that classify: features, two heads, and the words in which the classification methods are written.

Letters: B samples per domain in a batch, D features, C classes; x inputs, f [., D] features, z [., C] logits of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_core import distributed
from uda_core.data.batches import read
from uda_core.data.task import Samples, chunks
from uda_core.errors import UserError, choose
from uda_core.methods.run import Run, RunConfig, evaluating
from uda_core.models import Head, make_features
from uda_core.pseudo_labels import cluster_labels

VARIANTS = ("code", "paper")
OPTIMIZERS = ("adam", "sgd")
BATCHES = ("joint", "apart")


@dataclass(frozen=True)
class Config(RunConfig):
    """What is fixed until Reset: network, batch, device, precision, seed, variant."""

    variant: str = "code"  # "code": the authors' repository, mended; "paper": the formulas of the paper
    network: str = "small"  # of the features; see `models.make_features`
    features: int = 64  # D, width of the feature vector; 0: the network's own
    hidden: tuple[int, ...] = (64,)  # widths of the heads' hidden layers
    dropout: float = 0.5  # in the heads
    batches: str = "joint"  # or "apart": no common batch, and no common batch-norm statistics, of the two domains
    optimizer: str = "adam"  # or "sgd", as in the authors' code: momentum 0.9 for the heads, none for the features
    weight_decay: float = 0.0  # of every parameter
    fast: bool = False  # closed-form gradient discrepancy, and step B's forward reused in step C

    def __post_init__(self):
        super().__post_init__()
        choose("variant", self.variant, VARIANTS)
        choose("optimizer", self.optimizer, OPTIMIZERS)
        choose("batches", self.batches, BATCHES)
        if self.fast and self.batches == "apart":
            raise UserError("fast covers joint batches only, whose domains share their statistics; set fast=false")
        if self.features < 0 or any(width < 1 for width in self.hidden):
            raise UserError(
                f"hidden widths must be positive, features too (or 0: the network's own), "
                f"got {self.hidden} and {self.features}"
            )
        if not 0 <= self.weight_decay <= 1:
            raise UserError(f"weight_decay must be from 0 to 1, got {self.weight_decay}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class ClassificationRun(Run):
    """A run with one feature extractor and two heads. A domain changes nothing here: both share all statistics."""

    CONFIG = Config
    NETWORKS: ClassVar = ("extractor", "heads")
    OPTIMIZERS: ClassVar = ("features_opt", "heads_opt")

    def _build(self) -> None:
        if self.pair.dense:
            raise UserError(f"{self.method} classifies whole images, but {self.pair.name} has a label for each pixel")
        config, self.pseudo_labels = self.config, None
        shape, classes = tuple(self.pair.source_train.x[torch.tensor([0])].shape[1:]), len(self.pair.classes)
        extractor, width = make_features(config.network, shape, config.features, config.weights)
        self.extractor = extractor.to(config.device)
        heads = (Head(width, classes, config.hidden, config.dropout) for _ in range(2))
        self.heads = nn.ModuleList(heads).to(config.device)
        self.features_opt = self._optimizer(self.extractor, momentum=0.0)
        self.heads_opt = self._optimizer(self.heads, momentum=0.9)

    def _optimizer(self, module: nn.Module, momentum: float) -> torch.optim.Optimizer:
        decay = self.config.weight_decay
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(module.parameters(), momentum=momentum, weight_decay=decay, fused=True)
        return torch.optim.Adam(module.parameters(), weight_decay=decay, fused=True)

    def embed(self, *x: Tensor) -> Tensor:
        """Training-mode features [sum of B, D]. In one joint batch the domains share its statistics."""
        batches = [torch.cat(x)] if self.config.batches == "joint" else x
        with self._autocast():
            return torch.cat([self.extractor(batch).float() for batch in batches])

    def classify(self, f: Tensor, domains: int = 2) -> list[list[Tensor]]:
        """Training-mode logits of features, per domain a list over the heads: [[z1_s, z2_s], [z1_t, z2_t]]."""
        if self.config.batches == "joint":
            per_head = [head(f).chunk(domains) for head in self.heads]
        else:
            per_head = [[head(part) for part in f.chunk(domains)] for head in self.heads]
        return [list(domain) for domain in zip(*per_head, strict=True)]

    def refresh_pseudo_labels(self) -> None:
        """Cluster the target's training features, in order and in evaluation mode; keep labels by sample index.

        Of several processes each computes the features of its share, and all cluster the whole.
        """
        x = self.pair.target_train.x
        f, z = self._evaluate(x, distributed.share(len(x)))
        clusters = cluster_labels(distributed.gather(f, len(x)), distributed.gather(sum(z), len(x)))
        self.pseudo_labels = clusters.y_hat
        self.counts["empty_clusters"] = int(clusters.empty.sum())

    def features(self, x: Samples, domain: str = "target") -> Tensor:
        """Samples x, tensor or files -> features [N, D], as used at test time."""
        return self._evaluate(x)[0]

    def predict(self, x: Samples, domain: str = "target") -> tuple[Tensor, Tensor]:
        """Samples x -> the two heads' logits, each [N, C]. The predicted class is the argmax of their sum."""
        return self._evaluate(x)[1]

    @torch.no_grad()
    def _evaluate(self, x: Samples, of: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        with evaluating(self.extractor, self.heads), self._autocast():
            parts = read(x, chunks(x, of=of))
            f = torch.cat([self.extractor(part.to(self.config.device)).float() for part in parts])
        with evaluating(self.extractor, self.heads):
            return f, tuple(head(f) for head in self.heads)


def sum_over_heads(loss: Callable[..., Tensor], z: list[Tensor], *args) -> Tensor:
    """loss(z1, ...) + loss(z2, ...)."""
    return sum(loss(head, *args) for head in z)


def ce(z: list[Tensor], y: Tensor) -> Tensor:
    """Cross-entropy of both heads, added."""
    return sum_over_heads(F.cross_entropy, z, y)
