"""Assignment 1, two samples and a kernel: model solutions, mistakes and hidden cases. Not for students.

Letters: N source and M target samples, D features; x [N, D], y [M, D]; kernels k_ss [N, N], k_tt [M, M], k_st [N, M].
"""

import torch
from torch import Tensor

from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.outcomes import of_symmetric


def median_bandwidth(x: Tensor, y: Tensor) -> Tensor:
    """The median of the squared distances between any two different samples of both sets together."""
    both = torch.cat([x, y])
    return torch.pdist(both).square().median()


def multi_kernel(x: Tensor, y: Tensor, bandwidth: Tensor) -> Tensor:
    """[N, M]: the mean over s = 1/4, 1/2, 1, 2, 4 of exp(-|x_i - y_j|^2 / (s bandwidth))."""
    d2 = (x[:, None] - y[None]).square().sum(2)
    return torch.stack([(-d2 / (s * bandwidth)).exp() for s in (0.25, 0.5, 1, 2, 4)]).mean(0)


def mmd2(k_ss: Tensor, k_tt: Tensor, k_st: Tensor) -> Tensor:
    """The unbiased estimate of MMD^2: the means within each sample leave out a point with itself."""
    n, m = k_st.shape
    within_s = (k_ss.sum() - k_ss.diagonal().sum()) / (n * (n - 1))
    within_t = (k_tt.sum() - k_tt.diagonal().sum()) / (m * (m - 1))
    return within_s + within_t - 2 * k_st.mean()


def weighted_mmd2(k_ss: Tensor, k_tt: Tensor, k_st: Tensor, w: Tensor) -> Tensor:
    """The same with a weight w_i for each source sample, in pairs w_i w_j; the weights of all pairs add up to 1."""
    pairs = w[:, None] * w
    pairs = pairs - torch.diag(pairs.diagonal())
    m = len(k_tt)
    within_t = (k_tt.sum() - k_tt.diagonal().sum()) / (m * (m - 1))
    return (pairs * k_ss).sum() / pairs.sum() + within_t - 2 * (w @ k_st).sum() / (w.sum() * m)


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _two_sets(seed: int = 0) -> list[tuple]:
    """Two sets of unequal size; then two that lie far apart."""
    return [(_draw(seed, 6, 3), 1 + _draw(seed + 1, 5, 3)), (_draw(seed + 2, 4, 2), 9 + _draw(seed + 3, 5, 2))]


def _with_bandwidth(seed: int = 0) -> list[tuple]:
    """Two sets of unequal size; then two with another bandwidth."""
    made = []
    for (x, y), bandwidth in zip(_two_sets(seed), (3.0, 20.0), strict=True):
        made.append((x.requires_grad_(), y.requires_grad_(), torch.tensor(bandwidth, dtype=torch.float64)))
    return made


def _kernels(seed: int = 0) -> list[tuple]:
    """Kernels of two sets of unequal size; then of two that lie far apart; then of a set and itself: below 0."""
    found, sets = [], _two_sets(seed)
    for x, y in [*sets, sets[0][:1] * 2]:
        b = median_bandwidth(x, y)
        found.append(tuple(multi_kernel(*p, b).requires_grad_() for p in ((x, x), (y, y), (x, y))))
    return found


def _weighted(seed: int = 0) -> list[tuple]:
    """Uneven weights, which do not add up to 1; then one sample without any weight."""
    made = []
    for i, k in enumerate(_kernels(seed)[:2]):
        w = 0.5 + _draw(seed + 9, len(k[0])).abs()
        if i:
            w[0] = 0
        made.append((*k, w))
    return made


def _of_all_pairs(x: Tensor, y: Tensor) -> Tensor:
    both = torch.cat([x, y])
    return (both[:, None] - both).square().sum(2).median()


def _one_kernel(x: Tensor, y: Tensor, b: Tensor, scales=(0.25, 0.5, 1, 2, 4), power=2.0, factor=1.0) -> Tensor:
    d = (x[:, None] - y).square().sum(2).clamp_min(1e-12).pow(power / 2)
    return torch.stack([(-factor * d / (s * b)).exp() for s in scales]).mean(0)


def _unbiased(k: Tensor) -> Tensor:
    return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))


MEDIAN_BANDWIDTH = Exercise(
    name="median_bandwidth",
    reference=median_bandwidth,
    cases=_two_sets,
    mistakes=(
        Mistake(_of_all_pairs, "the pairs of a sample with itself are in: N + M zeros, which pull the median down."),
        Mistake(
            lambda x, y: torch.pdist(torch.cat([x, y])).median(),
            "this is the median distance: the kernel divides a *squared* distance, so square first.",
        ),
        Mistake(
            lambda x, y: torch.cdist(x, y).square().median(),
            "these are the pairs across the domains alone: the heuristic takes both sets together, as one.",
        ),
        Mistake(lambda x, y: torch.pdist(x).square().median(), "you look at the source alone: pool both sets."),
        Mistake(
            lambda x, y: torch.pdist(torch.cat([x, y])).square().mean(),
            "this is the mean: a few far pairs would set the bandwidth. Take the median.",
        ),
    ),
    hints=("Pool, then take all pairs.", "torch.pdist gives each pair of different rows once."),
    right="one number that knows the data's own scale, outliers or not.",
    also=(
        (
            lambda x, y: torch.pdist(torch.cat([x, y])).square().quantile(0.5),
            "with the mean of both middle values, where the number of pairs is even.",
        ),
    ),
)
MULTI_KERNEL = Exercise(
    name="multi_kernel",
    reference=multi_kernel,
    cases=_with_bandwidth,
    mistakes=(
        Mistake(
            lambda x, y, b: _one_kernel(x, y, b, (1,)),
            "one kernel: the mean of five, of bandwidths from a quarter to four times the given one, is asked for.",
        ),
        Mistake(
            lambda x, y, b: 5 * multi_kernel(x, y, b),
            "this is the sum of five kernels: take their mean, so that a point is 1 like itself.",
        ),
        Mistake(
            lambda x, y, b: _one_kernel(x, y, b, factor=0.5),
            "a factor 2 stands below: here the bandwidth divides the squared distance alone.",
        ),
        Mistake(
            lambda x, y, b: _one_kernel(x, y, b, power=1.0),
            "exp of minus the distance: a Gaussian takes the *squared* distance.",
        ),
        Mistake(
            lambda x, y, b: _one_kernel(x, y, b * b),
            "you square the bandwidth: it is a squared distance already.",
        ),
        Mistake(
            lambda x, y, b: multi_kernel(x.detach(), y, b),
            "the value is right, but no gradient reaches x: what is to move the features has to be differentiable.",
        ),
    ),
    hints=("d2 [N, M] by broadcasting x[:, None] - y[None].", "Stack five kernels, and take the mean over them."),
    right="near pairs feel the narrow kernels, far pairs the wide ones: no pair is without a gradient.",
)
MMD2 = Exercise(
    name="mmd2",
    reference=mmd2,
    cases=_kernels,
    outcome=of_symmetric,
    mistakes=(
        Mistake(
            lambda k_ss, k_tt, k_st: k_ss.mean() + k_tt.mean() - 2 * k_st.mean(),
            "the biased estimate: each point is compared with itself, which is always 1. Leave the diagonals out.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st: (
                (k_ss.sum() - k_ss.trace()) / len(k_ss) ** 2
                + (k_tt.sum() - k_tt.trace()) / len(k_tt) ** 2
                - 2 * k_st.mean()
            ),
            "the diagonals are out, but you still divide by N^2: N (N - 1) pairs are left.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st: _unbiased(k_ss) + _unbiased(k_tt) - k_st.mean(),
            "the term across counts twice: |a - b|^2 = |a|^2 + |b|^2 - 2 <a, b>.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st: _unbiased(k_ss) + _unbiased(k_tt) + 2 * k_st.mean(),
            "the sign of the term across: similar across the domains means a *small* distance.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st: mmd2(k_ss, k_tt, k_st).clamp_min(0),
            "you clamp at 0: an unbiased estimate has to be able to fall below, where yours has no gradient.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st: mmd2(k_ss, k_tt, k_st).clamp_min(1e-12).sqrt(),
            "this is MMD: its square is asked for, which is the one with an unbiased estimate.",
        ),
    ),
    hints=("Three means; two of them without the diagonal.", "(k.sum() - k.trace()) / (n * (n - 1))."),
    right="0 in the mean for two samples of one distribution, so that it may fall below 0.",
)
WEIGHTED_MMD2 = Exercise(
    name="weighted_mmd2",
    reference=weighted_mmd2,
    cases=_weighted,
    outcome=of_symmetric,
    mistakes=(
        Mistake(
            lambda k_ss, k_tt, k_st, w: mmd2(k_ss, k_tt, k_st),
            "the weights do nothing yet.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st, w: (
                weighted_mmd2(k_ss, k_tt, k_st, torch.ones_like(w))
                + 2 * k_st.mean()
                - 2 * (w @ k_st).sum() / (w.sum() * len(k_tt))
            ),
            "only the term across is weighted: the pairs within the source are, too, by w_i w_j.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st, w: (
                weighted_mmd2(k_ss, k_tt, k_st, w) + 2 * (w @ k_st).sum() / (w.sum() * len(k_tt)) - 2 * k_st.mean()
            ),
            "the term across is not weighted: there a pair has the weight w_i.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st, w: (
                (w @ k_ss @ w) / w.sum() ** 2 + _unbiased(k_tt) - 2 * (w @ k_st).sum() / (w.sum() * len(k_tt))
            ),
            "the source's diagonal is in: leave w_i^2 k_ii out, above and below.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st, w: (
                (w @ k_ss @ w - (w * w) @ k_ss.diagonal()) / (len(w) * (len(w) - 1))
                + _unbiased(k_tt)
                - 2 * (w @ k_st).sum() / k_st.numel()
            ),
            "you divide by the number of pairs: weights need not have the mean 1, so divide by the pairs' weights.",
        ),
        Mistake(
            lambda k_ss, k_tt, k_st, w: weighted_mmd2(k_ss, k_tt, k_st, w.square()),
            "each weight comes in squared: a pair has w_i w_j, a point w_i.",
        ),
    ),
    hints=("pairs = w[:, None] * w, with zeros on the diagonal.", "(pairs * k_ss).sum() / pairs.sum()."),
    right="with w = p_t(class) / p_s(class), the reweighted source has the target's counts, and nobody need cross.",
)
EXERCISES = (MEDIAN_BANDWIDTH, MULTI_KERNEL, MMD2, WEIGHTED_MMD2)
