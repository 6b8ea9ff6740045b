"""Exercises of lesson 04. Letters: N samples, C classes; f [N, D] unit features, m [N, C] membership."""

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.pseudo_labels import centroids, nearest_centroid
from uda_lessons.exercises.exercise import Exercise, Mistake


def _features(samples: int, seed: int) -> Tensor:
    f = torch.randn(samples, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(f + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), dim=1)


def _members(seed: int = 0) -> list[tuple]:
    """Soft membership, of which one class has less than 1 in all; then a hard one in which class 2 has nobody."""
    generator, soft = torch.Generator().manual_seed(seed + 1), torch.zeros(7, 4)
    while not 0.2 < soft[:, 3].sum() < 0.9:
        soft = (2 * torch.randn(7, 4, generator=generator, dtype=torch.float64) - torch.tensor([0, 0, 0, 3])).softmax(1)
    hard = F.one_hot(torch.tensor([0, 1, 1, 3, 0, 3, 1, 4]), 5).double()
    uneven = torch.linspace(0.5, 2, 8).double()[:, None]  # lengths: a mean must not depend on them being 1
    return [
        (_features(len(m), seed) * uneven[: len(m)], m) for m in (soft, hard)
    ]  # without a gradient: labels are made without one


CENTROIDS = Exercise(
    name="centroids",
    reference=centroids,
    cases=_members,
    mistakes=(
        Mistake(
            lambda f, m: m.T @ f,
            "this is a weighted sum: divide each class by its total membership, m.sum(0).",
        ),
        Mistake(
            lambda f, m: m.T @ f / len(f),
            "you divide by N: a class with few samples gets a short centroid. Divide by its own total, m.sum(0).",
        ),
        Mistake(
            lambda f, m: centroids(f, F.one_hot(m.argmax(1), m.shape[1]).to(f.dtype)),
            "you count each sample for its likeliest class alone: these are hard centroids. Weigh by all of m.",
        ),
        Mistake(
            lambda f, m: m.T @ f / m.sum(0).clamp_min(1)[:, None],
            "clamp_min(1) suits counts: a soft class may have less than 1 in all, and its centroid comes out short.",
        ),
        Mistake(
            lambda f, m: f.mean(0).expand(m.shape[1], -1),
            "each class gets the mean of all samples: weigh them by their membership, m[:, k].",
        ),
        Mistake(
            lambda f, m: m.T @ f / m.sum(0)[:, None],
            "NaN: in the second case class 2 has no members, and 0/0 is not a number. Add 1e-8 to the total.",
        ),
    ),
    hints=(
        "Every class averages all N features, each weighted by how much it belongs to that class.",
        "The weighted sums of all classes at once are one matrix product: [C, N] times [N, D].",
        "m.T @ f, divided by (1e-8 + m.sum(0)[:, None]).",
    ),
    tolerance=1e-4,  # 1e-5 in place of 1e-8
    right="C means of N features in one product, and zeros where a class has nobody.",
)


def _samples_and_centroids(seed: int = 0) -> list[tuple]:
    """Centroids of unequal lengths; then one of them the zero vector."""
    c = torch.tensor([[0.9, 0.1, 0.2], [0.0, 0.3, 0.1], [-0.2, -0.2, 0.5], [0.3, 0.2, 2.0]], dtype=torch.float64)
    empty = c.clone()
    empty[1] = 0
    while ((f := _features(12, seed)) @ F.normalize(c[[0, 2, 3]]).T).amax(
        1
    ).min() < 0.05:  # whom the zero vector attracts
        seed += 1000
    return [(f, c), (f.clone(), empty)]


NEAREST_CENTROID = Exercise(
    name="nearest_centroid",
    reference=nearest_centroid,
    cases=_samples_and_centroids,
    mistakes=(
        Mistake(
            lambda f, c: (f @ F.normalize(c, dim=1).T).argmin(1),
            "argmin of a similarity is the *farthest* centroid: argmax of the cosine, or argmin of 1 - cosine.",
        ),
        Mistake(
            lambda f, c: (f @ c.T).argmax(1),
            "the centroids have unequal lengths, and the long one wins: scale them to length 1 first.",
        ),
        Mistake(
            lambda f, c: torch.cdist(f, c).argmin(1),
            "this is the Euclidean distance, which counts the centroids' lengths: compare directions.",
        ),
        Mistake(
            lambda f, c: (f @ F.normalize(c, dim=0).T).argmax(1),
            "you scale the columns: each centroid is a row, so normalise over dimension 1.",
        ),
        Mistake(
            lambda f, c: (f @ F.normalize(c, dim=1).T).argmax(0),
            "one sample per class: the argmax belongs over the classes, dimension 1, one label per sample.",
        ),
        Mistake(
            lambda f, c: (f @ F.normalize(c, dim=1).T).max(1).values,
            "you return how similar the nearest centroid is: return which one it is.",
        ),
        Mistake(
            lambda f, c: 1 - (f @ F.normalize(c, dim=1).T),
            "these are all distances: return the index of the smallest one for each sample.",
        ),
        Mistake(
            lambda f, c: (f @ c.T / c.norm(dim=1)).argmax(1),
            "in the second case class 1 has no members, its centroid is the zero vector, its cosine 0/0 = NaN, and "
            "every sample falls into that class, as in the authors' code: NaN counts as the largest cosine, and as a "
            "distance set to 0 as the smallest. F.normalize keeps a zero vector zero, at distance 1.",
        ),
        Mistake(
            lambda f, c: (f @ F.normalize(c, dim=1).T).abs().argmax(1),
            "you drop the sign of the cosine: a centroid in the opposite direction is the farthest, not the nearest.",
        ),
        Mistake(
            lambda f, c: torch.cdist(f, F.normalize(c, dim=1)).argmin(1),
            "in the second case a centroid is zero, and lies at distance 1 from every sample, nearer than one at 80 "
            "degrees: compare cosines, of which its own is 0.",
        ),
    ),
    hints=(
        "f has rows of length 1, so the cosine to a centroid of length 1 is one inner product.",
        "F.normalize(c, dim=1) scales the rows, and leaves a zero row zero.",
        "(f @ F.normalize(c, dim=1).T) holds all cosines, [N, C]: take its argmax over the classes.",
    ),
    right="a long centroid has no advantage, and an empty class attracts nobody.",
)

EXERCISES = (CENTROIDS, NEAREST_CENTROID)
