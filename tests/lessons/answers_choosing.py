"""Lesson 08's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import numpy as np
import torch
from torch.nn import functional as F

from uda_core.lab.importance import deep_embedded_validation
from uda_core.lab.validators import soft_neighbourhood_density
from uda_core.losses import entropy


def cosines(z):
    return F.cosine_similarity(z.softmax(1)[:, None], z.softmax(1)[None], dim=2)


def as_the_authors(z, temperature=0.05):
    """VisionLearningGroup/SND: -1 in place of the cosine with itself, and 1e-5 inside the logarithm."""
    f = F.normalize(F.softmax(z, dim=1))
    mat = torch.matmul(f, f.t()) / temperature
    mat.masked_fill_(torch.eye(len(mat)).bool(), -1 / temperature)
    return entropy(mat).mean()


def row_by_row(z):
    s, n = cosines(z), len(z)
    rows = [torch.cat([s[i, :i], s[i, i + 1 :]]) / 0.05 for i in range(n)]
    return sum(torch.distributions.Categorical(logits=row).entropy() for row in rows) / n


def by_a_mask(z):
    e = (cosines(z) / 0.05).exp() * (1 - torch.eye(len(z)))
    return torch.special.entr(e / e.sum(1, keepdim=True)).sum(1).mean()


def in_numpy(z):
    p = np.exp(z.numpy())
    p /= np.linalg.norm(p, axis=1, keepdims=True)  # exp(z) and softmax(z) have one direction
    s = p @ p.T / 0.05 - 1e9 * np.eye(len(p))
    q = np.exp(s - s.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    return -(q * np.log(q + 1e-12)).sum(1).mean()


def dev_as_the_authors(loss, p_t, n_s, n_t):
    """thuml/Deep-Embedded-Validation, `get_weight` and `get_dev_risk`."""
    weight = (p_t / (1 - p_t) * n_s * 1.0 / n_t).numpy()[:, None]
    weighted = weight * loss.numpy()[:, None]
    cov = np.cov(np.concatenate((weighted, weight), axis=1), rowvar=False)[0][1]
    eta = -cov / np.var(weight, ddof=1)
    return np.mean(weighted) + eta * np.mean(weight) - eta


def dev_by_regression(loss, p_t, n_s, n_t):
    """The intercept at w = 1 of the least-squares line of w l over w."""
    w = n_s * p_t / (n_t * (1 - p_t))
    slope = ((w * loss - (w * loss).mean()) * (w - w.mean())).sum() / (w - w.mean()).square().sum()
    return (w * loss).mean() + slope * (1 - w.mean())


def dev_by_odds(loss, p_t, n_s, n_t):
    w = torch.logit(p_t).exp() / (n_t / n_s)
    both = torch.stack((w, w * loss)).cov(correction=0)
    return (w * loss).mean() - both[0, 1] / (both[0, 0] + 1e-8) * (w.mean() - 1)


def eta_of(w, wl):
    return -torch.stack([wl, w]).cov()[0, 1] / w.var()


def dev_of(eta):
    def risk(loss, p_t, n_s, n_t):
        w = n_s / n_t * p_t / (1 - p_t)
        return (w * loss).mean() + eta(w, w * loss) * (w.mean() - 1)

    return risk


RIGHT = {
    "soft_neighbourhood_density": [soft_neighbourhood_density, as_the_authors, row_by_row, by_a_mask, in_numpy],
    "deep_embedded_validation": [
        deep_embedded_validation,
        dev_as_the_authors,
        dev_by_regression,
        dev_by_odds,
        dev_of(lambda w, wl: -((w * wl).mean() - w.mean() * wl.mean()) / w.var(correction=0)),
    ],
}
WRONG = [
    ("soft_neighbourhood_density", lambda z: entropy(cosines(z) / 0.05).mean(), "its own nearest neighbour"),
    ("soft_neighbourhood_density", lambda z: soft_neighbourhood_density(z, 1.0), "without the temperature"),
    ("soft_neighbourhood_density", lambda z: soft_neighbourhood_density(z, 0.5), "expected 0."),
    ("soft_neighbourhood_density", lambda z: soft_neighbourhood_density(z.log_softmax(1) * 2), "expected 0."),
    ("soft_neighbourhood_density", lambda z: entropy(z).mean(), "the entropy over classes"),
    ("soft_neighbourhood_density", lambda z: row_by_row(z) * len(z), "you add over the samples"),
    ("deep_embedded_validation", dev_of(lambda w, wl: 0 * w.mean()), "this is IWCV"),
    ("deep_embedded_validation", dev_of(lambda w, wl: -eta_of(w, wl)), "the sign of eta"),
    ("deep_embedded_validation", dev_of(lambda w, wl: eta_of(w, wl).clamp(-1, 1)), "case 3"),
    ("deep_embedded_validation", dev_of(lambda w, wl: eta_of(w, wl).clamp_max(0)), "this is IWCV"),
    ("deep_embedded_validation", lambda *given: deep_embedded_validation(*given).clamp(0, 1), "case 3"),
    ("deep_embedded_validation", lambda loss, p_t, n_s, n_t: loss.mean(), "the plain source risk"),
    ("deep_embedded_validation", lambda loss, p_t, n_s, n_t: loss, "expected shape [], got [9]"),
]
