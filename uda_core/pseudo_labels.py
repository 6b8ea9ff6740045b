"""Which target samples, or pixels, to trust, and with which label.

Letters: N target samples, D features, C classes; f [N, D] features, z [N, C] logits, c [C, D+1] centroids.
Of maps: B images of h x w pixels; z [B, C, h, w] logits, d [B, C, h, w] distances to the category anchors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.samples import IGNORE

UNLABELLED = -100  # in place of a sample's pseudo-label, where it has none: what cross-entropy skips


@dataclass(frozen=True)
class Clusters:
    """Labels by nearest centroid, with what is needed to show them."""

    y_hat: Tensor  # [N] int64, the pseudo-label of each sample
    empty: Tensor  # [C] bool, classes without a sample after the first assignment
    centroids: Tensor  # [C, D+1], to which `y_hat` is the nearest


@dataclass(frozen=True)
class Labelling:
    """Pseudo-labels of the pixels of images: [B, h, w] each, `IGNORE` where a pixel has none."""

    by_anchor: Tensor  # y_hat of active pixels
    by_confidence: Tensor
    distances: Tensor  # [B, C, h, w]

    def counts(self) -> dict[str, int]:
        """How many pixels have a label of either kind."""
        found = (int((y_hat != IGNORE).sum()) for y_hat in (self.by_anchor, self.by_confidence))
        return dict(zip(("active_pixels", "confident_pixels"), found, strict=True))


def cluster_labels(features: Tensor, logits: Tensor) -> Clusters:
    """Spherical k-means of the target features, started from what the heads believe (Du et al. 2021).

    1. f_i <- (f_i, 1) / |(f_i, 1)|
    2. c_k = sum_i p_ik f_i / (1e-8 + sum_i p_ik), with p = softmax(z): soft centroids
    3. y_hat_i = argmin_k of the cosine distance of f_i to c_k
    4. hard centroids from y_hat, then step 3 once more.

    A class that got no sample in step 3 keeps its soft centroid.  In the authors' code its hard centroid is the zero
    vector, its distance NaN, and every sample falls into that one class (lijin118/CGDM, utils.py, `obtain_label`).

    Args:
        features: [N, D].
        logits: [N, C], the sum of both heads' logits.
    Raises:
        ValueError: if the two differ in length or are empty.
        FloatingPointError: if either holds NaN or infinity, as after a run has diverged.
    """
    if len(features) != len(logits) or len(features) == 0:
        raise ValueError(f"features and logits must be of one length above 0, got {len(features)} and {len(logits)}")
    if not (features.isfinite().all() and logits.isfinite().all()):
        raise FloatingPointError("features or logits are not finite: lower learning_rate and Reset")
    f = on_sphere(features)
    p = logits.softmax(1)
    soft = centroids(f, p)
    y_hat = nearest_centroid(f, soft)
    members = F.one_hot(y_hat, logits.shape[1]).to(f.dtype)
    empty = members.sum(0) == 0
    hard = torch.where(empty[:, None], soft, centroids(f, members))
    return Clusters(nearest_centroid(f, hard), empty, hard)


def on_sphere(f: Tensor) -> Tensor:
    """(f, 1) / |(f, 1)|: features [N, D] as points [N, D+1] of the unit sphere."""
    return F.normalize(torch.cat([f, f.new_ones(len(f), 1)], dim=1), dim=1)


def centroids(f: Tensor, membership: Tensor) -> Tensor:
    """c_k = sum_i m_ik f_i / (1e-8 + sum_i m_ik), features [N, D], membership [N, C]: [C, D], 0 if empty."""
    return membership.T @ f / (1e-8 + membership.sum(0)[:, None])


def nearest_centroid(f: Tensor, c: Tensor) -> Tensor:
    """Index of the centroid with the smallest cosine distance, [N]. The distance to a zero vector is 1."""
    return cosine_similarities(f, c).argmax(1)


def cosine_similarities(f: Tensor, c: Tensor) -> Tensor:
    """Of points f [N, D+1] of the unit sphere and centroids c [C, D+1]: [N, C], 0 for a centroid that is zero."""
    return f @ F.normalize(c, dim=1).T


def anchor_labels(d: Tensor, margin: float) -> Tensor:
    """Active pixels get the class of their nearest anchor, the others `IGNORE`: [B, h, w] int64 (Zhang et al. 2019).

    Active: d(2) - d(1) >= margin, where d(1) <= d(2) are the distances to the two nearest anchors. (The poster has >.)
    """
    nearest, y_hat = d.min(1)
    second = d.scatter(1, y_hat[:, None], torch.inf).amin(1)
    return torch.where(second - nearest >= margin, y_hat, IGNORE)


def confidence_labels(z: Tensor, threshold: float) -> Tensor:
    """Pixels whose largest probability is above the threshold get that class, the others `IGNORE`: [B, h, w] int64."""
    p, y_hat = z.softmax(1).max(1)
    return torch.where(p > threshold, y_hat, IGNORE)
