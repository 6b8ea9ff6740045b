"""Numbers that need no target label: what can be measured of an adaptation without cheating.

Letters: N samples, D features, C classes; f [N, D] features, z [N, C] logits of one head. Suffix _s: source,
_t: target. Nothing here draws from the global random state, leaves a gradient behind, or moves batch-norm statistics.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_core.losses import cosine, entropy, information_maximisation, weighted_cross_entropy
from uda_core.methods.classification import ClassificationRun
from uda_core.methods.clusters import ClustersRun
from uda_core.run import evaluating

OF_LOGITS = ("target entropy", "target InfoMax")
NORM_FLOOR = 1e-4  # a gradient shorter than this has no direction worth showing
RULES = {  # that choose between runs: name -> the number of `of_predictions` whose lowest value is chosen
    "commonest": "commonest predicted class",
    "infomax": "target InfoMax",
    "entropy": "target entropy",
}
# The best mean of its picks from all 120 triples of ten CGDM runs on fonts-distorted, but by a fifth of a point: 88.9,
# by infomax 88.7, by entropy 88.4, without a choice 88.0. It and infomax prefer balanced predictions: they say nothing
# of a target that is not balanced.
RULE = "commonest"


def head_agreement(*z: Tensor) -> float:
    """Share of samples to which all heads give the same class, from 0 to 1. They can agree and be wrong."""
    y = torch.stack([head.argmax(1) for head in z])
    return (y == y[0]).all(0).float().mean().item()


def mean_entropy(*z: Tensor) -> float:
    """Mean over samples and heads of H(p), in nats: from 0 (sure) to log C (clueless)."""
    return float(torch.stack([entropy(head).mean() for head in z]).mean())


def mean_infomax(*z: Tensor) -> float:
    """Mean over heads of L_im on all samples at once: from -log C (sure of each, all classes alike) to 0."""
    return float(torch.stack([information_maximisation(head) for head in z]).mean())


def batch_nuclear_norm(z: Tensor) -> Tensor:
    """||P||_* / sqrt(NC), with P = softmax(z) [N, C]: from 1/C (clueless) to 1 (sure of each, all classes alike).

    The nuclear norm is the sum of the singular values (Cui et al. 2020, eq. 8, who divide it by N: for a fixed set the
    same order); 1 / sqrt(C) for a head that is sure that everything is of one class.
    """
    p = z.softmax(1)
    return torch.linalg.matrix_norm(p, "nuc") / p.numel() ** 0.5


def soft_neighbourhood_density(z: Tensor, temperature: float = 0.05) -> Tensor:
    """Mean_i H(q_i) with q_ij = softmax over j != i of cos(p_i, p_j) / temperature, p = softmax(z) [N, C], in nats.

    From 0 (each has one near neighbour) to log(N - 1) (all predictions are alike): higher is meant to be better, for
    the samples lie in dense groups (Saito et al. 2021, eq. 1-3). Their code gives i itself a cosine of -1, not none.
    """
    p = F.normalize(z.softmax(1))
    return entropy((p @ p.T / temperature).fill_diagonal_(-torch.inf)).mean()


def of_predictions(*z: Tensor) -> dict[str, float]:
    """What the logits of all heads on all samples of an unlabelled set say; shares are of its samples."""
    read_as = torch.stack(z).sum(0).argmax(1).bincount(minlength=z[0].shape[1])
    return {
        "head agreement": head_agreement(*z),
        "target entropy": mean_entropy(*z),
        "target InfoMax": mean_infomax(*z),
        "rarest predicted class": read_as.min().item() / len(z[0]),
        "commonest predicted class": read_as.max().item() / len(z[0]),
    }


def of_target(run: ClassificationRun, *z: Tensor) -> dict[str, float]:
    """`of_predictions` of what a run predicts for target samples.

    Without entropy and InfoMax where it predicts by clusters: their cosines are no logits.
    """
    by_clusters = isinstance(run, ClustersRun) and getattr(run.config, "clusters", True)
    return {name: value for name, value in of_predictions(*z).items() if not by_clusters or name not in OF_LOGITS}


def class_gradient_cosines(run: ClassificationRun, samples: int = 256, floor: float = NORM_FLOOR) -> Tensor:
    """Do source and target pull a head the same way, class by class?  [heads, C], from -1 to 1, NaN where unknown.

    For each class and head: the cosine between the gradient of the cross-entropy on source samples of that class and
    that of the weighted cross-entropy on target samples with that pseudo-label (the predicted class while there are
    none yet), with respect to all of the head's parameters. Evaluation mode, the first `samples` of a fixed shuffle of
    each training set. NaN where a class has no sample or a gradient's norm is below `floor`.
    """
    source, target = run.pair.source_train, run.pair.target_train
    i_s, i_t = fixed_subset(len(source), samples), fixed_subset(len(target), samples)
    f_s, f_t = run.features(source.x[i_s]), run.features(target.x[i_t])
    y_s = source.y[i_s].to(f_s.device)
    if run.pseudo_labels is None:
        first, *others = run.predict(target.x[i_t])
        y_hat = sum(others, start=first).argmax(1)
    else:
        y_hat = run.pseudo_labels.to(f_t.device)[i_t.to(f_t.device)]
    cosines = torch.full((len(run.heads), len(run.pair.classes)), torch.nan)
    with torch.enable_grad(), evaluating(run.heads):
        for h, head in enumerate(run.heads):
            z_s, z_t = head(f_s), head(f_t)
            for c in range(len(run.pair.classes)):
                in_s, in_t = y_s == c, y_hat == c
                if in_s.any() and in_t.any():
                    g_s = _gradient(F.cross_entropy(z_s[in_s], y_s[in_s]), head)
                    g_t = _gradient(weighted_cross_entropy(z_t[in_t], y_hat[in_t]), head)
                    if min(g_s.norm(), g_t.norm()) >= floor:
                        cosines[h, c] = cosine(g_s @ g_t, g_s @ g_s, g_t @ g_t)
    return cosines


def _gradient(loss: Tensor, head: nn.Module) -> Tensor:
    """The gradient of `loss` for all parameters of a head, as one vector; no `.grad` is touched."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(head.parameters()), retain_graph=True)])


def fixed_subset(n: int, size: int) -> Tensor:
    """At most `size` of n indices, the same at every call, without touching the global random state."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:size]
