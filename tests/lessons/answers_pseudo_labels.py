"""Lesson 04's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import torch
from torch.nn import functional as F

from uda_core.pseudo_labels import centroids, nearest_centroid

RIGHT = {
    "centroids": [
        centroids,
        lambda f, m: (m / (m.sum(0, keepdim=True) + 1e-8)).T @ f,
        lambda f, m: torch.einsum("nc,nd->cd", m, f) / m.sum(0).clamp_min(1e-8).unsqueeze(1),
        lambda f, m: m.T @ f / (1e-5 + m.sum(0)[:, None]),
        lambda f, m: (m.T @ f / m.sum(0)[:, None]).nan_to_num(),
        lambda f, m: centroids(f, m).detach(),
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
    ("centroids", lambda f, m: centroids(f, m).tolist(), "returns a list; expected a tensor of shape [4, 3]"),
    ("centroids", lambda f, m: m.T @ f / m.sum(0).clamp_min(1)[:, None], "clamp_min(1) suits counts"),
    ("centroids", lambda f, m: centroids(f, m).T, "yours is the target transposed"),
    ("centroids", lambda f, m: centroids(f, m.square()), "for m.square() in place of m"),
    ("centroids", lambda f, m: m.T @ f / (1 + m.sum(0)[:, None]), "each row points the right way"),
    ("centroids", lambda f, m: m.T @ f / m.sum(1), "stops with RuntimeError"),
    ("nearest_centroid", lambda f, c: F.one_hot(nearest_centroid(f, c)), "the argmax over dimension 1 of yours"),
    ("nearest_centroid", lambda f, c: nearest_centroid(f, c).float(), "a label is a whole number"),
    ("nearest_centroid", lambda f, c: (1 - f @ c.T / c.norm(dim=1)).nan_to_num().argmin(1), "a distance set to 0"),
    ("nearest_centroid", lambda f, c: torch.cdist(f, F.normalize(c, dim=1)).argmin(1), "lies at distance 1"),
    ("nearest_centroid", lambda f, c: nearest_centroid(f, c) * torch.nan, "NaN or infinity"),
    ("nearest_centroid", lambda f, c: nearest_centroid(f, c) + 1, "yours is the target plus 1"),
    ("nearest_centroid", lambda f, c: 1 - f @ c.T / c.norm(dim=1), "return the index of the smallest"),
    ("nearest_centroid", lambda f, c: (1 - f @ c.T / c.norm(dim=1)).argmin(1), "falls into that class"),
]
