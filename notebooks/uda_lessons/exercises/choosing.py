"""Exercises of lesson 08. Letters: N target samples, C classes, z [N, C] logits, p = softmax(z); M source samples."""

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.lab.importance import deep_embedded_validation, importance_weighted_risk, importance_weights
from uda_core.lab.validators import mean_entropy, soft_neighbourhood_density
from uda_core.losses import entropy
from uda_lessons.exercises.exercise import Exercise, Mistake

TEMPERATURE = 0.05


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _predictions(seed: int = 0) -> list[tuple]:
    """Ordinary logits; then three dense groups and a sample that nobody is near to."""
    groups = 3 * F.one_hot(torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3])).double()
    return [(2 * _random(7, 3, seed=seed),), (groups + 0.3 * _random(10, 4, seed=seed + 1),)]


def _similarity(z: Tensor) -> Tensor:
    p = F.normalize(z.softmax(1))
    return p @ p.T / TEMPERATURE


def _others(similarity: Tensor, of_itself: float = -torch.inf) -> Tensor:
    return similarity.clone().fill_diagonal_(of_itself)


def _density(similarity: Tensor) -> Tensor:
    return entropy(_others(similarity)).mean()


def _removed_afterwards(z: Tensor) -> Tensor:
    q = _others(_similarity(z).softmax(1), 0.0)
    return -(q * (q + 1e-5).log()).sum(1).mean()


def _exact_log(z: Tensor) -> Tensor:
    q = _others(_similarity(z)).softmax(1)
    return -(q * q.log()).sum(1).mean()


def _inner(f: Tensor) -> Tensor:
    return f @ f.T / TEMPERATURE


SND = Exercise(
    name="soft_neighbourhood_density",
    reference=soft_neighbourhood_density,
    cases=_predictions,
    mistakes=(
        Mistake(
            lambda z: entropy(_similarity(z)).mean(),
            "a sample is its own nearest neighbour here: leave j = i out, by -inf on the diagonal before the softmax.",
        ),
        Mistake(
            lambda z: entropy(_others(_similarity(z), 0.0)).mean(),
            "0 on the diagonal is no exclusion, for exp(0) = 1: it takes -inf before the softmax.",
        ),
        Mistake(
            _removed_afterwards,
            "you take the diagonal out after the softmax: what is left of each row no longer adds up to 1.",
        ),
        Mistake(
            lambda z: _density(_similarity(z) * TEMPERATURE),
            "without the temperature all cosines from 0 to 1 look alike to a softmax: divide them by 0.05.",
        ),
        Mistake(
            lambda z: _density(_similarity(z) * TEMPERATURE**2),
            "you multiply by the temperature: divide by it, which makes the softmax sharper.",
        ),
        Mistake(
            lambda z: _density(_inner(z.softmax(1))),
            "these are inner products: scale each p_i to length 1 first, or unsure samples are near to nobody.",
        ),
        Mistake(
            lambda z: _density(_inner(F.normalize(z))),
            "these are cosines of logits: take the softmax over the classes first, then scale to length 1.",
        ),
        Mistake(lambda z: _density(_inner(z)), "these are inner products of logits: softmax first, then length 1."),
        Mistake(
            lambda z: _density(_inner(F.normalize(z.softmax(1), dim=0))),
            "you scale the columns to length 1: it is each sample's row.",
        ),
        Mistake(
            lambda z: _density(_inner(F.normalize(z.softmax(0)))),
            "this softmax runs over the samples: the probabilities of one sample add up to 1, so dim=1.",
        ),
        Mistake(
            lambda z: _density(-torch.cdist(F.normalize(z.softmax(1)), F.normalize(z.softmax(1))) / TEMPERATURE),
            "these are distances: the paper takes inner products of vectors of length 1, cosines.",
        ),
        Mistake(lambda z: -_density(_similarity(z)), "the sign: an entropy is not negative."),
        Mistake(
            lambda z: len(z) * _density(_similarity(z)), "you add over the samples: a mean does not depend on how many."
        ),
        Mistake(
            lambda z: _density(_similarity(z)) / len(z),
            "you divide by N twice: sum over j, which makes an entropy, then the mean over i.",
        ),
        Mistake(lambda z: entropy(_others(_similarity(z))), "one entropy a sample: take their mean."),
        Mistake(
            _exact_log,
            "NaN: on the diagonal q = 0, and 0 * log(0) is not a number. Add 1e-5 inside the logarithm, or call "
            "`losses.entropy` on the similarities.",
        ),
        Mistake(
            lambda z: torch.tensor(mean_entropy(z)),
            "this is the entropy over classes: SND's runs over neighbours, the N - 1 other samples.",
        ),
    ),
    hints=(
        "p = softmax(z), each row scaled to length 1; then p @ p.T are all cosines. Divide by 0.05.",
        "-inf on the diagonal leaves a sample out of its own neighbourhood: .fill_diagonal_(-torch.inf).",
        "`losses.entropy` takes logits, and a row of similarities is one: entropy(similarities).mean().",
    ),
    right="from 0 to log(N - 1): high where predictions lie in dense groups, and highest where all are one group.",
    tolerance=3e-4,  # with or without 1e-5 inside the logarithm, and with -inf or the authors' -1 on the diagonal
)


def _validation(seed: int = 0) -> list[tuple]:
    """0-1 losses of nine source samples, with p_t, n_s and n_t; then of twelve; then rising with w; then falling.

    Where they rise, eta is below -1 and the risk below 0; where they fall, eta is above 0.
    """
    wrong = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 0]).double()
    w = torch.tensor([1.5, 1.6, 2.0, 2.5, 3.0, 4.0], dtype=torch.float64)
    odds = 2 * w  # at n_s = 10, n_t = 20
    noise = 0.05 * _random(6, seed=seed + 3).abs()
    return [
        (wrong, _random(9, seed=seed).sigmoid(), 9, 24),
        (_random(12, seed=seed + 1).abs(), _random(12, seed=seed + 2).sigmoid(), 30, 20),
        (2 - 3 / w + noise, odds / (1 + odds), 10, 20),
        (4 / w**2 + noise, odds / (1 + odds), 10, 20),
    ]


def _corrected(weighted: Tensor, w: Tensor, eta: Tensor) -> Tensor:
    return weighted.mean() + eta * w.mean() - eta


def _cov(a: Tensor, b: Tensor, correction: int = 1) -> Tensor:
    return ((a - a.mean()) * (b - b.mean())).sum() / (len(a) - correction)


def _with_eta(eta):
    """The risk with another factor, made from w l and w."""

    def risk(loss: Tensor, p_t: Tensor, n_s: int, n_t: int) -> Tensor:
        w = importance_weights(p_t, n_s, n_t)
        return _corrected(w * loss, w, eta(w * loss, w, loss))

    return risk


def _with_weights(weights):
    """The risk with other weights, made from p_t, n_s and n_t."""

    def risk(loss: Tensor, p_t: Tensor, n_s: int, n_t: int) -> Tensor:
        w = weights(p_t, n_s, n_t)
        return _corrected(w * loss, w, -_cov(w * loss, w) / w.var())

    return risk


def _without_last(loss: Tensor, p_t: Tensor, n_s: int, n_t: int) -> Tensor:
    w = importance_weights(p_t, n_s, n_t)
    return (w * loss).mean() - _cov(w * loss, w) / w.var() * w.mean()


DEV = Exercise(
    name="deep_embedded_validation",
    reference=deep_embedded_validation,
    cases=_validation,
    mistakes=(
        Mistake(
            importance_weighted_risk,
            "this is IWCV, the first term alone: the control variate, the terms with eta, is missing.",
        ),
        Mistake(
            _with_weights(lambda p_t, n_s, n_t: n_s / n_t * (1 - p_t) / p_t),
            "the weights are inverted: a source sample weighs much if it looks like the *target*, p_t / (1 - p_t).",
        ),
        Mistake(
            _with_weights(lambda p_t, n_s, n_t: p_t / (1 - p_t)),
            "n_s / n_t is missing: a classifier that saw more of the target says target more often.",
        ),
        Mistake(
            _with_weights(lambda p_t, n_s, n_t: n_t / n_s * p_t / (1 - p_t)),
            "the ratio is upside down: n_s / n_t, for the prior odds n_t / n_s have to be divided out.",
        ),
        Mistake(
            _with_weights(lambda p_t, n_s, n_t: n_t / n_s * (1 - p_t) / p_t),
            "the weights are upside down, all of them: n_s / n_t * p_t / (1 - p_t).",
        ),
        Mistake(
            _with_weights(lambda p_t, n_s, n_t: p_t),
            "p_t is a probability: the weight is the ratio of the densities, n_s / n_t * p_t / (1 - p_t).",
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: _cov(wl, w) / w.var()),
            "the sign of eta: where w is above 1 on average, w l is too large, and eta takes it down: -Cov / Var.",
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -_cov(wl, w) / w.std()), "you divide by the standard deviation: it is Var(w)."
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -_cov(wl, w) / (wl.std() * w.std())),
            "this eta is a correlation: divide the covariance by Var(w) alone.",
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -_cov(wl, w) / wl.var()), "you divide by the variance of w l: it is Var(w)."
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -_cov(loss, w) / w.var()),
            "this is the covariance of l and w: the mean to be corrected is that of w l.",
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -_cov(wl, w, 0) / w.var()),
            "one is divided by M, the other by M - 1 (torch's .var() and np.cov, but not np.var): use one of both.",
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -_cov(wl, w) / w.var(correction=0)),
            "one is divided by M - 1, the other by M (np.cov and np.var do that): use one of both.",
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -(wl * w).mean() / w.square().mean()),
            "these are means of products: take the means off first, Cov and Var.",
        ),
        Mistake(
            _with_eta(lambda wl, w, loss: -_cov(wl, w)), "eta is the covariance divided by Var(w), which is missing."
        ),
        Mistake(_without_last, "the last term is missing: eta * (mean(w) - 1), for the mean of w should be 1, not 0."),
        Mistake(
            lambda loss, p_t, n_s, n_t: (p_t / (1 - p_t) * loss).sum() / (p_t / (1 - p_t)).sum(),
            "this divides by the sum of the weights, another correction: DEV's is additive, eta * (mean(w) - 1).",
        ),
        Mistake(
            lambda loss, p_t, n_s, n_t: loss.mean(), "this is the plain source risk: no sample has its weight yet."
        ),
        Mistake(
            lambda loss, p_t, n_s, n_t: len(loss) * deep_embedded_validation(loss, p_t, n_s, n_t),
            "you add over the samples: take means.",
        ),
    ),
    hints=(
        "First the weights: w = n_s / n_t * p_t / (1 - p_t). Then w * loss, whose mean is IWCV's risk.",
        "torch.stack([w * loss, w]).cov() is [2, 2]: Cov(w l, w) stands at [0, 1], Var(w) at [1, 1].",
        "eta = -cov[0, 1] / cov[1, 1], then (w * loss).mean() + eta * w.mean() - eta.",
    ),
    right="like IWCV, but usually steadier: what mean(w) is off by takes part of the error of mean(w l) along.",
    tolerance=1e-5,
)

EXERCISES = (SND, DEV)
