"""Exercises of lesson 09. Letters: C classes; counts [C, C] of held-out source samples, rows: true class, columns:
predicted class; read_as [C], how many target samples are predicted as each class; w [C] = p_t(y) / p_s(y); z [B, C]
logits, p = softmax(z)."""

from collections.abc import Callable
from math import log

import torch
from torch import Tensor
from torch.autograd import grad
from torch.nn import functional as F

from uda_core.lab.diagnosis import bbse
from uda_core.losses import entropy, information_maximisation
from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.relations import miscounted, shares


def _counts(seed: int = 0) -> list[tuple]:
    """An uneven source and a classifier that errs unevenly; then four classes; then less than none of class 0."""
    three = torch.tensor([[80.0, 15.0, 5.0], [4.0, 30.0, 6.0], [2.0, 8.0, 50.0]]).double()
    four = torch.tensor([[40, 6, 2, 2], [3, 70, 4, 3], [1, 5, 25, 9], [0, 2, 6, 22.0]]).double()
    read_as = [[110.0, 90.0, 200.0], [30.0, 61.0, 17.0, 92.0], [3.0, 90.0, 107.0]]
    generator = torch.Generator().manual_seed(seed)
    more = [torch.randint(5, (len(r),), generator=generator) * (seed > 0) for r in read_as]
    return [(c, torch.tensor(r).double() + m) for c, r, m in zip((three, four, three), read_as, more, strict=True)]


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


def _logits(seed: int = 0) -> list[tuple]:
    """Ordinary logits; then a sure head that never uses class 2."""
    z = 2 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sure = 900 * F.one_hot(torch.tensor([0, 1, 3, 0, 1, 3]), 4).double()
    return [(z.requires_grad_(),), (sure.requires_grad_(),)]


def _negative_entropy(m: Tensor) -> Tensor:
    return (m * (m + 1e-5).log()).sum()


def _mean_p(z: Tensor) -> Tensor:
    return z.softmax(1).mean(0)


def _two_parts(answer: Callable, z: Tensor) -> str | None:
    """How often each part of the term counts, where an answer is a sum of both."""
    parts, yours = {"mean entropy": entropy(z).mean(), "sum of m log m": _negative_entropy(_mean_p(z))}, answer(z)
    gradients = {name: grad(part, z, retain_graph=True)[0].flatten() for name, part in parts.items()}
    found = shares(grad(yours, z)[0].flatten(), gradients, parts)
    if not found or abs(yours - sum(found[name] * part for name, part in parts.items())) > 0.02:
        return None
    other = miscounted(found, dict.fromkeys(parts, 1.0))
    return f"{other[1]}." if other else None


INFORMATION_MAXIMISATION = Exercise(
    name="information_maximisation",
    reference=information_maximisation,
    cases=_logits,
    mistakes=(
        Mistake(
            lambda z: entropy(z).mean(),
            "this makes the head sure, and the surest head gives everything one class: the balance of the classes is "
            "missing.",
        ),
        Mistake(
            lambda z: _negative_entropy(_mean_p(z)),
            "this balances the classes alone, and a head that is clueless about every sample is balanced too: add the "
            "mean entropy of the samples.",
        ),
        Mistake(
            lambda z: entropy(z).mean() - _negative_entropy(_mean_p(z)),
            "the sign of the second part: this makes *both* entropies small, and all samples fall into one class.",
        ),
        Mistake(
            lambda z: -entropy(z).mean() - _negative_entropy(_mean_p(z)),
            "both signs are swapped: minimising this makes the head clueless about samples and blind to classes.",
        ),
        Mistake(
            lambda z: -entropy(z).mean() + _negative_entropy(_mean_p(z)),
            "the sign of the first part: this would make the head clueless about every sample.",
        ),
        Mistake(
            lambda z: entropy(z).sum() + _negative_entropy(_mean_p(z)),
            "you add the entropies of the samples: take their mean, or the balance drowns in a large batch.",
        ),
        Mistake(
            lambda z: entropy(z).mean() + _negative_entropy(z.mean(0).softmax(0)),
            "you average logits: m is the mean of the *probabilities*, softmax first.",
        ),
        Mistake(
            lambda z: entropy(z).mean() + _negative_entropy(_mean_p(z)) / z.shape[1],
            "you average m log m over the classes: an entropy is a sum over them.",
        ),
        Mistake(
            lambda z: entropy(z).mean() + (_mean_p(z) * _mean_p(z).log()).sum(),
            "NaN: in the second case one class is never used, m = 0, and 0 * log(0) is not a number. Add 1e-5 to m.",
        ),
        Mistake(
            lambda z: entropy(z).mean() + _negative_entropy(_mean_p(z).detach()),
            "the value is right, but m is detached: nothing would balance the classes.",
        ),
        Mistake(
            lambda z: entropy(z).mean() - entropy(_mean_p(z)[None]).mean(),
            "losses.entropy takes logits, and m holds probabilities: write the sum of m log m out.",
        ),
        Mistake(
            lambda z: entropy(z).mean() + (_mean_p(z) + 1e-5).log().sum(),
            "the m before the log is missing: the second part is the sum of m log m.",
        ),
    ),
    hints=(
        "First part: mean over the samples of each one's entropy. It is small when the head is sure.",
        "Second part: m = z.softmax(1).mean(0) is how much each class is used; sum m log m is smallest for uniform m.",
        "m = z.softmax(1).mean(0) + 1e-5, then entropy(z).mean() + (m * m.log()).sum().",
    ),
    right="-log C at best, for a head that is sure of each sample and uses all classes equally often, true or not.",
    tolerance=1e-3,  # with or without the 1e-5 inside the logarithms
    explain=_two_parts,
    also=(
        (
            lambda z: information_maximisation(z) + log(z.shape[1]),
            "yours is log C larger, the second part being the KL divergence of m from uniform: another number, 0 at "
            "best, with the same gradient, so nothing trains otherwise.",
        ),
    ),
)

EXERCISES = (BBSE, INFORMATION_MAXIMISATION)
