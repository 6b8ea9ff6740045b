"""Exercises of lesson 09. Letters: C classes; counts [C, C] of held-out source samples, rows: true class, columns:
predicted class; read_as [C], how many target samples are predicted as each class; w [C] = p_t(y) / p_s(y)."""

import torch
from torch import Tensor

from uda_core.lab.diagnosis import bbse
from uda_lessons.exercises.exercise import Exercise, Mistake


def _counts() -> list[tuple]:
    """An uneven source and a classifier that errs unevenly; four classes; a target with less than none of class 0."""
    three = torch.tensor([[80.0, 15.0, 5.0], [4.0, 30.0, 6.0], [2.0, 8.0, 50.0]]).double()
    four = torch.tensor([[40, 6, 2, 2], [3, 70, 4, 3], [1, 5, 25, 9], [0, 2, 6, 22.0]]).double()
    return [
        (three, torch.tensor([110.0, 90.0, 200.0]).double()),
        (four, torch.tensor([30.0, 61.0, 17.0, 92.0]).double()),
        (three, torch.tensor([3.0, 90.0, 107.0]).double()),
    ]


def _solved(matrix: Tensor, read_as: Tensor) -> Tensor:
    return torch.linalg.solve(matrix, read_as / read_as.sum()).clamp_min(0)


def _joint(counts: Tensor) -> Tensor:
    return counts.T / counts.sum()


def _given_class(counts: Tensor) -> Tensor:
    """[C, C] p_s(y_hat = i | y = j)."""
    return counts.T / counts.sum(1)


BBSE = Exercise(
    name="bbse",
    reference=bbse,
    cases=_counts,
    mistakes=(
        Mistake(
            lambda counts, read_as: _solved(counts / counts.sum(), read_as),
            "transposed: rows of `counts` are true classes, but a row of M is a *predicted* one, so that M w adds up "
            "over the true classes. Take counts.T.",
        ),
        Mistake(
            lambda counts, read_as: _solved(_given_class(counts), read_as),
            "these are the target's shares, p_t(y) = w p_s(y): rows normalised, p(y_hat | y), give them, not w. M is "
            "the joint table: divide all counts by their sum.",
        ),
        Mistake(
            lambda counts, read_as: _solved((counts / counts.sum(1, keepdim=True)), read_as),
            "you divide each row by its sum, and forget to transpose: M is the joint table, counts.T / counts.sum().",
        ),
        Mistake(
            lambda counts, read_as: _solved((counts / counts.sum(0)).T, read_as),
            "you divide by how often each class is *predicted*, p(y | y_hat): M is the joint table, divided by the sum "
            "of all counts.",
        ),
        Mistake(
            lambda counts, read_as: torch.linalg.solve(_joint(counts), read_as).clamp_min(0),
            "read_as holds counts: divide it by its sum, or w grows with the size of the target.",
        ),
        Mistake(
            lambda counts, read_as: torch.linalg.solve(counts.T, read_as).clamp_min(0),
            "neither counts nor read_as is divided by its sum: w is then off by the ratio of both numbers of samples.",
        ),
        Mistake(
            lambda counts, read_as: _solved(counts.T, read_as),
            "counts are not shares yet: divide them by the sum of all of them.",
        ),
        Mistake(
            lambda counts, read_as: torch.linalg.solve(_joint(counts), read_as / read_as.sum()),
            "in the third case a weight is negative, which no share can be: it is noise around 0. Clip at 0.",
        ),
        Mistake(
            lambda counts, read_as: torch.linalg.solve(_joint(counts), read_as / read_as.sum()).abs(),
            "in the third case a weight is negative. It is noise around 0, not a class that is frequent the other way "
            "round: clip at 0, do not take the absolute value.",
        ),
        Mistake(
            lambda counts, read_as: (read_as / read_as.sum()) / (counts.sum(0) / counts.sum()),
            "you compare how often each class is *predicted* in both domains: that believes the classifier's mistakes. "
            "M w = m has to be solved.",
        ),
        Mistake(
            lambda counts, read_as: (read_as / read_as.sum()) / (counts.sum(1) / counts.sum()),
            "you take the predicted shares for the true ones: that believes the classifier's mistakes. M w = m has to "
            "be solved.",
        ),
        Mistake(
            lambda counts, read_as: _joint(counts) @ (read_as / read_as.sum()),
            "you multiply by M: w is what M has to be multiplied *with* to give m. Solve for it.",
        ),
        Mistake(
            lambda counts, read_as: bbse(counts, read_as) / bbse(counts, read_as).sum(),
            "w is a ratio for each class, not a share: it need not add up to 1. Leave it as it is solved.",
        ),
        Mistake(
            lambda counts, read_as: 1 / bbse(counts, read_as),
            "upside down: w is the target's share over the source's.",
        ),
    ),
    hints=(
        "Two tables of shares: M = counts.T / counts.sum(), [C, C], and m = read_as / read_as.sum(), [C].",
        "M w = m says: what the target is read as is what the source is read as, class by class, w times as often. "
        "torch.linalg.solve(M, m) solves it.",
        "torch.linalg.solve(M, m).clamp_min(0): a negative weight is noise around 0.",
    ),
    right="it uses the classifier's mistakes, known from the source, and no target label. That those mistakes are the "
    "same in the target is the assumption; nothing in the numbers checks it.",
)

EXERCISES = (BBSE,)
