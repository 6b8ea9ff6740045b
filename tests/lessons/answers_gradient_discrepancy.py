"""Lesson 05's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import torch
from torch.autograd import grad
from torch.nn import functional as F

from uda_core.losses import (
    entropy,
    flattened_gradient_discrepancy,
    information_maximisation,
    row_cosine,
    rowwise_gradient_discrepancy,
)


def each_its_own_call(loss_s, loss_t, parameters):
    weight = parameters[0][0]
    g_s = grad(loss_s, weight, create_graph=True)[0]
    g_t = grad(loss_t, weight, create_graph=True)[0]
    return 1 - (g_s * g_t).sum(1).div((g_s.norm(dim=1) * g_t.norm(dim=1)).clamp_min(1e-8)).mean()


def mean_of_ones_minus_cosine(loss_s, loss_t, parameters):
    (g_s,), (g_t,) = (grad(loss, parameters[0], create_graph=True, retain_graph=True) for loss in (loss_s, loss_t))
    return torch.stack([1 - F.cosine_similarity(a, b, dim=0) for a, b in zip(g_s, g_t, strict=True)]).mean()


def by_backward(loss_s, loss_t, parameters):
    """`.backward()` with its graph kept, and `.grad` cleared between the two."""
    weight = parameters[0][0]
    loss_s.backward(create_graph=True)
    g_s, weight.grad = weight.grad, None
    loss_t.backward(create_graph=True)
    return 1 - row_cosine(g_s, weight.grad)


def by_plain_backward(loss_s, loss_t, parameters):
    weight = parameters[0][0]
    loss_s.backward()
    g_s, weight.grad = weight.grad, None
    loss_t.backward()
    return 1 - row_cosine(g_s, weight.grad)


def by_backward_without_clearing(loss_s, loss_t, parameters):
    weight = parameters[0][0]
    loss_s.backward()
    g_s = weight.grad.clone()
    loss_t.backward()
    return 1 - row_cosine(g_s, weight.grad)


def by_backward_into_one_tensor(loss_s, loss_t, parameters):
    weight = parameters[0][0]
    loss_s.backward()
    g_s = weight.grad
    loss_t.backward()
    return 1 - row_cosine(g_s, weight.grad)


def log_softmax_twice(z):
    m = z.softmax(1).mean(0)
    return -(z.softmax(1) * z.log_softmax(1)).sum(1).mean() - torch.special.entr(m + 1e-6).sum()


def by_living_rows(a, b):
    """An exact 0 for a row without length."""
    norms = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(norms > 1e-8, (a * b).sum(1) / norms.clamp_min(1e-8), 0.0).mean()


def plain_cosine(a, b):
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-8)


RIGHT = {
    "row_cosine": [
        row_cosine,
        lambda a, b: ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-8)).mean(),
        lambda a, b: torch.linalg.vecdot(a, b).div(1e-8 + a.norm(dim=-1) * b.norm(dim=-1)).mean(),
        lambda a, b: torch.einsum(
            "mn,mn->m", a, b / torch.clamp(a.norm(dim=1) * b.norm(dim=1), min=1e-8)[:, None]
        ).mean(),
        lambda a, b: (
            sum((x @ y) / max(x.norm() * y.norm(), torch.tensor(1e-8)) for x, y in zip(a, b, strict=True)) / len(a)
        ),
        by_living_rows,
        lambda a, b: F.cosine_similarity(a, b, dim=1, eps=1e-5).mean(),
        lambda a, b: (a * b).sum(1).div(1e-5 + a.norm(dim=1) * b.norm(dim=1)).mean(),
    ],
    "gradient_discrepancy": [rowwise_gradient_discrepancy, each_its_own_call, mean_of_ones_minus_cosine, by_backward],
    "information_maximisation": [
        information_maximisation,
        log_softmax_twice,
        lambda z: entropy(z).mean() - torch.distributions.Categorical(probs=z.softmax(1).mean(0)).entropy(),
        lambda z: entropy(z).sum() / len(z) + torch.xlogy(z.softmax(1).mean(0), z.softmax(1).mean(0) + 1e-8).sum(),
    ],
}
WRONG = [
    ("row_cosine", lambda a, b: row_cosine(a, b) * torch.nan, "NaN or infinity"),
    ("row_cosine", lambda a, b: a * b, "expected shape [], got [4, 5]"),
    ("row_cosine", lambda a, b: row_cosine(a, b).item(), "no gradient flows through it"),
    ("row_cosine", lambda a, b: row_cosine(a, b.detach()), "no gradient reaches b"),
    ("row_cosine", lambda a, b: plain_cosine(a, b).neg().relu().mean(), "the negative cosines alone"),
    ("row_cosine", lambda a, b: plain_cosine(a, b).abs().mean(), "you drop the sign"),
    ("row_cosine", lambda a, b: row_cosine(a, b).abs(), "yours is the absolute value of the target"),
    ("row_cosine", lambda a, b: plain_cosine(a, b)[a.norm(dim=1) > 1e-6].mean(), "you leave rows without length out"),
    ("row_cosine", lambda a, b: ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).nan_to_num().mean(), "(nan_to_num)"),
    ("row_cosine", lambda a, b: 0.9 * row_cosine(a, b), "the target times 0.9"),
    ("row_cosine", lambda a, b: (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1).mean(), "rounding noise"),
    ("gradient_discrepancy", lambda s, t, p: rowwise_gradient_discrepancy(s, t, p).item(), "create_graph=True"),
    ("gradient_discrepancy", by_plain_backward, "create_graph=True"),
    ("gradient_discrepancy", by_backward_without_clearing, "*sum* of both"),
    ("gradient_discrepancy", by_backward_into_one_tensor, "with itself"),
    ("gradient_discrepancy", lambda s, t, p: rowwise_gradient_discrepancy(s, t, p) / 0, "NaN or infinity"),
    ("gradient_discrepancy", lambda s, t, p: rowwise_gradient_discrepancy(s, t, p).expand(2), "first entry of yours"),
    ("gradient_discrepancy", lambda s, t, p: 1 - rowwise_gradient_discrepancy(s, t, p), "yours is 1 minus the target"),
    ("gradient_discrepancy", lambda s, t, p: rowwise_gradient_discrepancy(s, t, p) - 1, "the target plus -1"),
    ("gradient_discrepancy", lambda s, t, p: -rowwise_gradient_discrepancy(s, t, p), "minus the target"),
    ("gradient_discrepancy", lambda s, t, p: 1 - (1 - rowwise_gradient_discrepancy(s, t, p)).abs(), "drop the sign"),
    ("gradient_discrepancy", lambda s, t, p: flattened_gradient_discrepancy(s, t, p), "the paper's form"),
    ("gradient_discrepancy", lambda s, t, p: 1 - row_cosine(grad(s, p[0])[0], grad(s, p[0])[0]), "stops with Runtime"),
    ("information_maximisation", lambda z: information_maximisation(z) + torch.nan, "NaN or infinity"),
    ("information_maximisation", lambda z: entropy(z) + 1, "expected shape [], got [6]"),
    ("information_maximisation", lambda z: information_maximisation(z).item(), "no gradient flows through it"),
    ("information_maximisation", lambda z: information_maximisation(z.softmax(1)), "for z.softmax(1) in place of z"),
    ("information_maximisation", lambda z: 3 * information_maximisation(z) - 2 * entropy(z).mean(), "counts 3 times"),
]
