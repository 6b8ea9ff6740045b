"""Exercises of lesson 05. Letters: B samples, C classes, a, b [m, n] two gradients."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import grad
from torch.nn import functional as F

from uda_core.losses import (
    cosine,
    row_cosine,
    rowwise_gradient_discrepancy,
)
from uda_lessons.exercises.exercise import Exercise, Mistake


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _two_gradients(seed: int = 0) -> list[tuple]:
    """Ordinary rows; then a row without any gradient; then one of rounding noise, 1e-7 long, the others opposed."""
    cases = []
    for rows, length, shared in ((4, 1.0, 0.5), (5, 0.0, 0.5), (4, 1e-7, -0.5)):
        a, b = _random(rows, 5, seed=seed), _random(rows, 5, seed=seed + 1)
        a[2], b[2] = _random(rows, 5)[2], _random(rows, 5, seed=1)[2]  # whose length decides which floors are alike
        lengths = torch.ones(rows, 1, dtype=torch.float64)
        lengths[2] = length
        cases.append((lengths * a, lengths * (b + shared * a)))
    return [(a.requires_grad_(), b.requires_grad_()) for a, b in cases[:2]] + cases[2:]


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


ROW_COSINE = Exercise(
    name="row_cosine",
    reference=row_cosine,
    cases=_two_gradients,
    mistakes=(
        Mistake(
            lambda a, b: cosine((a * b).sum(), a.square().sum(), b.square().sum()),
            "you flatten the matrices: one cosine is the paper's form. Take one per row, then the mean.",
        ),
        Mistake(
            lambda a, b: row_cosine(a.T, b.T),
            "you compare columns: each row belongs to one output unit, so sum over the last dimension.",
        ),
        Mistake(
            lambda a, b: cosine(_inner(a, b), _inner(a, a), _inner(b, b)),
            "one number per row: average them over the rows.",
        ),
        Mistake(lambda a, b: len(a) * row_cosine(a, b), "you add over the rows: take the mean, from -1 to 1."),
        Mistake(lambda a, b: 1 - row_cosine(a, b), "this is 1 - cos already: the next exercise takes that step."),
        Mistake(
            lambda a, b: _inner(a, b).mean(),
            "these are inner products: divide each by the lengths of both rows, or large gradients decide everything.",
        ),
        Mistake(
            lambda a, b: (_inner(a, b) / (_inner(a, a) * _inner(b, b)).clamp_min(1e-16)).mean(),
            "you divide by squared lengths: a square root is missing.",
        ),
        Mistake(
            lambda a, b: F.cosine_similarity(a, b, dim=-1).mean(),
            "in the third case a row is rounding noise, 1e-7 long, and you scale it up to full size: "
            "F.cosine_similarity has its floor under each length. Put one of 1e-8 under their product.",
        ),
        Mistake(
            lambda a, b: (_inner(a, b) / (a.norm(dim=-1) * b.norm(dim=-1))).mean(),
            "NaN: in the second case a row is zero in both, and 0/0 is not a number. Let the product of the lengths be "
            "at least 1e-8.",
        ),
        Mistake(
            lambda a, b: (_inner(a, b) / (_inner(a, a).sqrt() * _inner(b, b).sqrt()).clamp_min(1e-8)).mean(),
            "the value is right, but the gradient is NaN: a row of zeros meets 0/0, or a root with an infinite slope, "
            "and to mend the result afterwards (nan_to_num) does not mend the gradient. Put the floor under "
            "a.norm(dim=-1) * b.norm(dim=-1), then divide.",
        ),
        Mistake(
            lambda a, b: torch.cat(
                [row_cosine(x, y).view(1) for x, y in zip(a, b, strict=True) if x.norm() > 1e-6]
            ).mean(),
            "you leave rows without length out of the mean: they count too, as cosine 0, so that the others weigh no "
            "more for it. Divide by the number of all rows.",
        ),
        Mistake(
            lambda a, b: cosine(_inner(a, b), _inner(a, a), _inner(b, b)).abs().mean(),
            "you drop the sign of the cosines: gradients that pull in opposite directions then look alike.",
        ),
        Mistake(
            lambda a, b: cosine(_inner(a, b), _inner(a, a), _inner(b, b)).relu().mean(),
            "you set negative cosines to 0: gradients that pull in opposite directions must lower the mean.",
        ),
        Mistake(
            lambda a, b: cosine(_inner(a, b), _inner(a, a), _inner(b, b)).neg().relu().mean(),
            "you keep the negative cosines alone, with a plus: take the mean of all, as they are.",
        ),
    ),
    hints=(
        "For each row: inner product divided by the product of both lengths. Then the mean over the rows.",
        "(a * b).sum(-1) are the inner products, a.norm(dim=-1) the lengths of the rows.",
        "Divide by (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-8), then .mean().",
    ),
    tolerance=1e-4,  # 1e-5 or an exact 0 in place of the floor 1e-8
    right="each output unit has one vote, however short its gradient, and a unit without gradient counts 0.",
)


def _two_domains(seed: int = 0) -> list[tuple]:
    """Features of two domains, their labels and one weight matrix; then gradients that mostly pull apart."""
    cases = []
    for samples, features, classes, shift in ((9, 5, 4, 1), (6, 4, 3, 2)):
        y = torch.arange(samples)
        f_s, f_t = _random(samples, features, seed=seed), _random(samples, features, seed=seed + 1)
        weight = _random(classes, features, seed=seed + 2)
        cases.append(
            (
                f_s.requires_grad_(),
                y % classes,
                f_t.requires_grad_(),
                (y // 2 + shift) % classes,
                weight.requires_grad_(),
            )
        )
    return cases


def _of_linear_head(
    discrepancy: Callable, f_s: Tensor, y_s: Tensor, f_t: Tensor, y_hat: Tensor, weight: Tensor
) -> Tensor:
    """The losses of a head with one matrix, z = f W^T, handed to `discrepancy`."""
    loss_s, loss_t = F.cross_entropy(f_s @ weight.T, y_s), F.cross_entropy(f_t @ weight.T, y_hat)
    return discrepancy(loss_s, loss_t, [[weight]])


def _between(compare: Callable, graph_s: bool = True, graph_t: bool = True) -> Callable:
    """`compare` both gradients of the one matrix."""

    def discrepancy(loss_s: Tensor, loss_t: Tensor, parameters: list) -> Tensor:
        weight = parameters[0][0]
        return compare(grad(loss_s, weight, create_graph=graph_s)[0], grad(loss_t, weight, create_graph=graph_t)[0])

    return discrepancy


def _discrepancy(g_s: Tensor, g_t: Tensor) -> Tensor:
    return 1 - row_cosine(g_s, g_t)


def _flat_cosine(g_s: Tensor, g_t: Tensor) -> Tensor:
    return row_cosine(g_s.flatten(), g_t.flatten())


GRADIENT_DISCREPANCY = Exercise(
    name="gradient_discrepancy",
    reference=rowwise_gradient_discrepancy,
    cases=_two_domains,
    outcome=_of_linear_head,
    mistakes=(
        Mistake(
            _between(_discrepancy, False, False),
            "the value is right, but both gradients are plain numbers: L_gd could not move one feature. "
            "Ask `grad` for create_graph=True.",
        ),
        Mistake(
            _between(_discrepancy, graph_s=False),
            "the value is right, but g_s has no graph: only the target's features would move. create_graph=True there "
            "too.",
        ),
        Mistake(
            _between(_discrepancy, graph_t=False),
            "the value is right, but g_t has no graph: only the source's features would move. create_graph=True there "
            "too.",
        ),
        Mistake(
            _between(lambda g_s, g_t: 1 - _flat_cosine(g_s, g_t)),
            "one cosine of the flattened matrix: this is the paper's form. The authors' code takes one per row.",
        ),
        Mistake(
            _between(lambda g_s, g_t: 1 - row_cosine(g_s.T, g_t.T)),
            "you compare columns: each row of the weight belongs to one output unit.",
        ),
        Mistake(
            _between(lambda g_s, g_t: 1 - _inner(g_s, g_t).mean()),
            "these are inner products: divide them by the lengths of both gradients, or let losses.row_cosine do it.",
        ),
        Mistake(
            _between(lambda g_s, g_t: 1 - row_cosine(g_s, g_t).abs()),
            "you drop the sign of the cosine: gradients that pull in opposite directions are the farthest apart.",
        ),
        Mistake(
            _between(lambda g_s, g_t: (g_s - g_t).square().mean()),
            "this compares lengths too, and two different losses need not pull equally hard: compare directions.",
        ),
        Mistake(
            _between(lambda g_s, g_t: _discrepancy(g_s, g_s + g_t), False, False),
            "after the second backward() weight.grad holds the *sum* of both gradients: use torch.autograd.grad "
            "instead.",
        ),
        Mistake(
            _between(lambda g_s, g_t: _discrepancy(g_s, g_s)),
            "you compare a gradient with itself: weight.grad is one tensor, and .backward() writes both into it. Use "
            "torch.autograd.grad, once for each loss.",
        ),
    ),
    hints=(
        "Two gradients of one matrix, one for each loss: torch.autograd.grad(loss, weight) returns a tuple of one.",
        "The result needs a gradient of its own with respect to the features: create_graph=True keeps it.",
        "g_s = torch.autograd.grad(loss_s, weight, create_graph=True)[0], g_t alike, then 1 - row_cosine(g_s, g_t).",
    ),
    right="a gradient of a gradient: the features can now move so that both domains pull the head the same way.",
)


EXERCISES = (ROW_COSINE, GRADIENT_DISCREPANCY)
