"""Lesson 09's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import numpy as np
import torch
from torch.nn import functional as F

from uda_core.lab.diagnosis import bbse


def in_numpy(counts, read_as):
    counts, read_as = counts.numpy(), read_as.numpy()
    return np.clip(np.linalg.solve(counts.T / counts.sum(), read_as / read_as.sum()), 0, None)


def from_the_conditional_table(counts, read_as):
    """The target's shares first, then divided by the source's."""
    p_s = counts.sum(1) / counts.sum()
    shares = torch.linalg.solve((counts / counts.sum(1, keepdim=True)).T, read_as / read_as.sum())
    return (shares / p_s).clamp(min=0)


def by_samples(counts, read_as):
    """With counts on both sides, scaled at the end."""
    return F.relu(torch.linalg.solve(counts.T, read_as)) * counts.sum() / read_as.sum()


RIGHT = {
    "bbse": [
        bbse,
        lambda counts, read_as: torch.relu(torch.linalg.inv(counts.T / counts.sum()) @ (read_as / read_as.sum())),
        lambda counts, read_as: torch.linalg.pinv(counts.T / counts.sum()).mv(read_as / read_as.sum()).clamp(0),
        lambda counts, read_as: torch.linalg.lstsq(
            counts.T / counts.sum(), (read_as / read_as.sum())[:, None]
        ).solution[:, 0].maximum(torch.zeros(())),
        in_numpy,
        from_the_conditional_table,
        by_samples,
    ],
}  # fmt: skip
WRONG = [
    ("bbse", lambda counts, read_as: by_samples(counts.T, read_as), "transposed"),
    ("bbse", lambda counts, read_as: 0.9 * bbse(counts, read_as), "yours is the target times 0.9"),
    ("bbse", lambda counts, read_as: bbse(counts, read_as)[:2], "yours is the target without its last entry"),
    ("bbse", lambda counts, read_as: bbse(counts, read_as) / 0, "NaN or infinity"),
    ("bbse", lambda counts, read_as: torch.ones(len(read_as)), "yours is 1 everywhere"),
    ("bbse", lambda counts, read_as: torch.linalg.solve(counts, read_as.sum()), "stops with RuntimeError"),
    ("bbse", lambda counts, read_as: bbse(counts, read_as) * counts.sum(1) / counts.sum(), "p_t(y)"),
]  # fmt: skip
