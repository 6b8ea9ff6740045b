"""Lesson 04's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import torch
from torch.nn import functional as F

from uda_core.pseudo_labels import centroids, nearest_centroid

RIGHT = {
    "centroids": [
        centroids,
        lambda f, m: (m / (m.sum(0, keepdim=True) + 1e-8)).T @ f,
        lambda f, m: torch.einsum("nc,nd->cd", m, f) / m.sum(0).clamp_min(1e-8).unsqueeze(1),
        lambda f, m: torch.stack([(m[:, k, None] * f).sum(0) / (1e-8 + m[:, k].sum()) for k in range(m.shape[1])]),
    ],
    "nearest_centroid": [
        nearest_centroid,
        lambda f, c: (1 - f @ F.normalize(c, dim=1).T).argmin(1),
        lambda f, c: F.cosine_similarity(f[:, None], c[None], dim=2).argmax(1),
        lambda f, c: torch.cdist(f, F.normalize(c, dim=1)).masked_fill(c.norm(dim=1) == 0, 9).argmin(1),
        lambda f, c: torch.tensor(
            [max(range(len(c)), key=lambda k: float(x @ c[k] / (c[k].norm() + 1e-12))) for x in f]
        ),
    ],
}
WRONG = [
    ("centroids", lambda f, m: centroids(f, m)[:2], "expected shape [4, 3], got [2, 3]"),
    ("centroids", lambda f, m: centroids(f, m) * torch.nan, "NaN or infinity"),
    ("centroids", lambda f, m: centroids(f, m).tolist(), "f is detached"),
    ("centroids", lambda f, m: torch.from_numpy(centroids(f, m).detach().numpy()), "f is detached"),
    ("centroids", lambda f, m: 2 * centroids(f, m) - centroids(f, m).detach(), "its gradient is not"),
    ("centroids", lambda f, m: m.T @ f / m.sum(1), "stops with RuntimeError"),
    ("nearest_centroid", lambda f, c: F.one_hot(nearest_centroid(f, c)), "expected shape [12], got [12, 4]"),
    ("nearest_centroid", lambda f, c: nearest_centroid(f, c) * torch.nan, "NaN or infinity"),
    ("nearest_centroid", lambda f, c: nearest_centroid(f, c) + 1, "100% of the numbers are not"),
    ("nearest_centroid", lambda f, c: 1 - f @ c.T / c.norm(dim=1), "return the index of the smallest"),
    ("nearest_centroid", lambda f, c: (1 - f @ c.T / c.norm(dim=1)).argmin(1), "falls into that class"),
]
