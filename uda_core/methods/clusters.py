"""Clusters: source only, then each target sample takes the label of its cluster. Nothing adapts: the honest bar.

The clustering is that of CGDM's pseudo-labels, which is SHOT's (Liang et al. 2020, arXiv 2002.08546, eq. 4 to 6):
spherical k-means of the target's training features, started from what the heads predict (`cluster_labels`).
"""

from itertools import chain

from torch import Tensor

from uda_core.methods.classification import ClassificationRun, ConfigT
from uda_core.methods.source_only import SourceOnlySettings, source_only_step
from uda_core.pseudo_labels import cluster_labels, cosine_similarities, on_sphere
from uda_core.run import Method
from uda_core.samples import Samples


class ClustersRun(ClassificationRun[ConfigT]):
    """Predicts the source by its heads, the target by the clusters of its training samples."""

    _centroids: Tensor | None = None
    _made_from: list[tuple[int, int]] | None = None  # identity and version of every tensor that they depend on
    _held: list[Samples] | None = None  # those tensors, so that no other one gets the identity of one that is gone

    def features_and_logits(self, x: Samples, domain: str = "target") -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features [N, D]; of the target, in place of each head's logits, the cosines to the centroids, [N, C]."""
        f, z = self._evaluate(x)
        if domain == "target":
            z = (cosine_similarities(on_sphere(f), self.centroids()),) * len(z)
        return f, z

    def centroids(self) -> Tensor:
        """[C, D+1] of the clusters, found anew once a weight, a running statistic or a target sample has changed."""
        networks = (chain(net.parameters(), net.buffers()) for net in (self.extractor, self.heads))
        held = [*chain.from_iterable(networks), x := self.pair.target_train.x]
        made_from = [(id(tensor), getattr(tensor, "_version", 0)) for tensor in held]  # files have no version
        if self._centroids is None or made_from != self._made_from:
            f, z = self._evaluate(x)
            self._centroids = cluster_labels(f, sum(z[1:], start=z[0])).centroids
            self._made_from, self._held = made_from, held
        return self._centroids


# The weights are source only's, bit for bit; with `infomax` above 0, those of InfoMax.
Clusters = Method("clusters", source_only_step, SourceOnlySettings, ClustersRun)
