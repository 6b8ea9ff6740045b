"""Runs that classify: features, two heads, and the words in which the classification methods are written.

Letters: B samples per domain in a batch, D features, C classes; x inputs, f [., D] features, z [., C] logits of a head.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_core import distributed
from uda_core.errors import UserError
from uda_core.losses import information_maximisation
from uda_core.models.batch_norm import DOMAINS
from uda_core.models.features import make_features
from uda_core.models.heads import Head
from uda_core.pseudo_labels import UNLABELLED, cluster_labels
from uda_core.run import Run, RunConfig, Settings, evaluating, option
from uda_core.samples import Batch, Samples, chunks, read


@dataclass(frozen=True)
class Config(RunConfig):
    """What is fixed until Reset: network, batch, optimiser, device, precision, seed."""

    network: str = option("small", "that makes the features: small, linear (for frozen ones), mcd_digits, resnet50 ...")
    features: int = option(64, "width D of the feature vector; 0: the network's own", 0, 100_000)
    hidden: tuple[int, ...] = option((64,), "widths of the heads' hidden layers, such as 64,64", 1, 100_000)
    dropout: float = option(0.5, "in the heads", 0.0, 0.99)
    batches: str = option("joint", "whether the domains share batches and their statistics", choices=("joint", "apart"))
    optimizer: str = option("adam", "sgd: momentum 0.9 for the heads, none for the features", choices=("adam", "sgd"))
    weight_decay: float = option(0.0, "of every parameter", 0.0, 1.0)


ConfigT = TypeVar("ConfigT", bound=Config)


class ClassificationRun(Run[ConfigT, Settings]):
    """A run with one feature extractor and two heads. A domain changes nothing here: both share all statistics."""

    CONFIG: ClassVar[type[Config]] = Config
    NETWORK_NAMES: ClassVar[tuple[str, ...]] = ("extractor", "heads")
    OPTIMIZER_NAMES: ClassVar[tuple[str, ...]] = ("features_opt", "heads_opt")

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

    # -- the words of the methods --------------------------------------------------------------------------------------

    def embed(self, *x: Tensor) -> Tensor:
        """Training-mode features [sum of B, D]. In one joint batch the domains share its statistics.

        Of several devices each computes those of its own batch, and gets the features of all.
        """
        with self._autocast, self._noise_of_device() if self._ranks > 1 else nullcontext():
            if self.config.batches == "joint":
                f = self.extractor(torch.cat(x)).float()
            else:
                f = torch.cat([self.extractor(batch).float() for batch in x])
        return distributed.gather_features(f, len(x)) if self._ranks > 1 else f

    def classify(self, f: Tensor, domains: int = 2) -> list[tuple[Tensor, Tensor]]:
        """Training-mode logits of features, per domain those of both heads: [(z1_s, z2_s), (z1_t, z2_t)]."""
        first, second = self.heads
        if self.config.batches == "joint":
            return list(zip(first(f).chunk(domains), second(f).chunk(domains), strict=True))
        return [(first(part), second(part)) for part in f.chunk(domains)]

    def logits_of(self, domain: str, x_s: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """Training-mode logits of both heads for one domain, each [B, C]: (z1, z2).

        A joint batch takes the other domain along, for it shares the statistics; batches apart leave it out.
        """
        i = DOMAINS.index(domain)
        if self.config.batches == "joint":
            return self.classify(self.embed(x_s, x_t))[i]
        return self.classify(self.embed((x_s, x_t)[i]), domains=1)[0]

    def pseudo_labels_of(self, i_t: Tensor, after: int, every: int) -> Tensor:
        """Pseudo-labels [B] of the target's training samples i_t; `UNLABELLED` while there are none.

        They are made anew (`refresh_pseudo_labels`) every so many steps, for the first time after `after` steps, but
        never from untrained heads.
        """
        if self.steps and (self.steps - after) % every == 0:
            self.refresh_pseudo_labels()
        if self.pseudo_labels is None:
            return torch.full(i_t.shape, UNLABELLED, device=self.config.device)
        return self.pseudo_labels[i_t]

    def refresh_pseudo_labels(self) -> None:
        """Cluster the target's training features, in order and in evaluation mode; keep labels by sample index.

        Of several processes each computes the features of its share, and all cluster the whole.

        Raises:
            FloatingPointError: if features or logits are no longer finite.
        """
        x = self.pair.target_train.x
        f, z = self._evaluate(x, distributed.share(len(x)))
        clusters = cluster_labels(distributed.gather(f, len(x)), distributed.gather(z[0] + z[1], len(x)))
        self.pseudo_labels = clusters.y_hat
        self.counts["empty_clusters"] = int(clusters.empty.sum())

    def _next_batch(self) -> Batch:
        """Samples of this device, labels and places of all devices, as the features will be."""
        batch = super()._next_batch()
        if self._ranks == 1:
            return batch
        y_s, i_t = (distributed.gather(own, self._ranks * len(own)) for own in (batch.y_s, batch.i_t))
        return replace(batch, y_s=y_s, i_t=i_t)

    # -- applying the networks, without changing anything --------------------------------------------------------------

    def features(self, x: Samples, domain: str = "target") -> Tensor:
        """Samples x, tensor or files -> features [N, D], as used at test time."""
        return self._evaluate(x)[0]

    def predict(self, x: Samples, domain: str = "target") -> tuple[Tensor, ...]:
        """Samples x -> the heads' logits, each [N, C]. The predicted class is the argmax of their sum."""
        return self.features_and_logits(x, domain)[1]

    def features_and_logits(self, x: Samples, domain: str = "target") -> tuple[Tensor, tuple[Tensor, ...]]:
        """`features` and `predict` in one pass through the network."""
        return self._evaluate(x)

    @torch.no_grad()
    def _evaluate(self, x: Samples, of: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        with evaluating(self.extractor, self.heads), self._autocast:
            parts = read(x, chunks(x, of=of))
            f = torch.cat([self.extractor(part.to(self.config.device)).float() for part in parts])
        with evaluating(self.extractor, self.heads):
            return f, tuple(head(f) for head in self.heads)


def ce(z: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    """Cross-entropy of both heads, added."""
    return F.cross_entropy(z[0], y) + F.cross_entropy(z[1], y)


def im(z: tuple[Tensor, Tensor]) -> Tensor:
    """Information maximisation (InfoMax) of both heads, added."""
    return information_maximisation(z[0]) + information_maximisation(z[1])
