"""Exercises of lesson 02. Letters: B samples of a domain, D features, f [B, D], f_s and f_t; C_s, C_t covariances."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from uda_core.data.moons import moons
from uda_core.losses import coral, domain_cross_entropy
from uda_core.methods.classification import Config, ce
from uda_core.methods.dann import DANN, DANNSettings, dann_step, reversal
from uda_core.run import Run, Settings
from uda_core.samples import Batch
from uda_core.training import update
from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.moves import refuse_leftovers


def _two_domains(seed: int = 0) -> list[tuple]:
    """Features whose means and covariances differ; then such that only the means differ; then batches of two sizes."""
    generator = torch.Generator().manual_seed(seed)
    f_s, f_t = (torch.randn(7, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    pairs = (1 + f_s, 3 * f_t - 2), (f_s, f_s + 3), (f_s, f_t[:5])
    return [tuple(f.clone().requires_grad_() for f in pair) for pair in pairs]


def _distance(c_s: Tensor, c_t: Tensor) -> Tensor:
    """1/(4 D^2) |C_s - C_t|_F^2."""
    return (c_s - c_t).square().sum() / (4 * c_s.shape[-1] ** 2)


def _second_moment(f: Tensor, mean: Tensor | float = 0.0) -> Tensor:
    return (f - mean).T @ (f - mean) / (len(f) - 1)


def _centred_together(f_s: Tensor, f_t: Tensor) -> Tensor:
    mean = torch.cat([f_s, f_t]).mean(0)
    return _distance(_second_moment(f_s, mean), _second_moment(f_t, mean))


CORAL_LOSS = Exercise(
    name="coral",
    reference=coral,
    cases=_two_domains,
    mistakes=(
        Mistake(
            lambda f_s, f_t: _distance(_second_moment(f_s), _second_moment(f_t)),
            "not centred: a covariance is taken about the domain's own mean; subtract f.mean(0) first.",
        ),
        Mistake(
            lambda f_s, f_t: _distance(f_s.T @ f_s / len(f_s), f_t.T @ f_t / len(f_t)),
            "two things: subtract each domain's mean first, and divide by B - 1.",
        ),
        Mistake(
            _centred_together,
            "you centre both domains about one common mean: each about its own.",
        ),
        Mistake(
            lambda f_s, f_t: _distance(torch.cov(f_s.T, correction=0), torch.cov(f_t.T, correction=0)),
            "you divide by B: with the mean taken from the same samples, a covariance divides by B - 1.",
        ),
        Mistake(
            lambda f_s, f_t: _distance(*((len(f) - 1) * torch.cov(f.T) for f in (f_s, f_t))),
            "these are sums over the samples: divide by B - 1, or a larger batch would have a larger covariance.",
        ),
        Mistake(
            lambda f_s, f_t: 4 * f_s.shape[1] ** 2 * coral(f_s, f_t),
            "the factor 1/(4 D^2) is missing: with it, a weight means about the same for any number of features.",
        ),
        Mistake(lambda f_s, f_t: 4 * coral(f_s, f_t), "the 4 of 1/(4 D^2) is missing: a mean divides by D^2 alone."),
        Mistake(
            lambda f_s, f_t: f_s.shape[1] * coral(f_s, f_t),
            "you divide by 4 D: a covariance has D times D entries, so that it is 4 D^2.",
        ),
        Mistake(
            lambda f_s, f_t: (torch.cov(f_s.T) - torch.cov(f_t.T)).square().sum() / (4 * len(f_s) ** 2),
            "D is the number of features, f.shape[1]; you divide by the number of samples.",
        ),
        Mistake(
            lambda f_s, f_t: _distance(torch.corrcoef(f_s.T), torch.corrcoef(f_t.T)),
            "these are correlations: CORAL compares covariances, the spread of each feature included.",
        ),
        Mistake(
            lambda f_s, f_t: _distance(torch.cov(f_s), torch.cov(f_t)),
            "torch.cov takes variables as rows: your samples are its rows. Hand it f.T, and get [D, D].",
        ),
        Mistake(
            lambda f_s, f_t: (torch.cov(f_s.T) - torch.cov(f_t.T)).norm() / (4 * f_s.shape[1] ** 2),
            "the norm is to be squared: without a square root, a sum of squares.",
        ),
        Mistake(
            lambda f_s, f_t: (torch.cov(f_s.T) - torch.cov(f_t.T)).abs().sum() / (4 * f_s.shape[1] ** 2),
            "absolute values: the Frobenius norm squared adds up squares.",
        ),
        Mistake(
            lambda f_s, f_t: (f_s.var(0) - f_t.var(0)).square().sum() / (4 * f_s.shape[1] ** 2),
            "these are the variances, the diagonal alone: which features vary *together* stands off it.",
        ),
        Mistake(
            lambda f_s, f_t: (f_s.mean(0) - f_t.mean(0)).square().sum() / (4 * f_s.shape[1] ** 2),
            "you compare the means: CORAL compares second moments, and leaves the means where they are.",
        ),
        Mistake(lambda f_s, f_t: -coral(f_s, f_t), "the sign: a distance is never negative."),
        Mistake(
            lambda f_s, f_t: coral(f_s.detach(), f_t),
            "the value is right, but no gradient reaches the source's features: they are detached.",
        ),
        Mistake(
            lambda f_s, f_t: coral(f_s, f_t.detach()),
            "the value is right, but no gradient reaches the target's features: they are detached.",
        ),
    ),
    hints=(
        "Three steps: the covariance [D, D] of each domain, their difference, the sum of its squares.",
        "C = (f - f.mean(0)).T @ (f - f.mean(0)) / (B - 1), which is torch.cov(f.T).",
        "(C_s - C_t).square().sum() / (4 * D**2), with D = f_s.shape[1].",
    ),
    right="0 where the features vary alike, wherever their means lie: your second test case has means 3 apart.",
)


def _moons_run(seed: int = 0) -> list[tuple]:
    """A run on moons a quarter through its ramp, with gradients left from before, the settings and one batch.

    With momentum two steps of an optimiser are not one.
    """
    pair = moons(samples=64, seed=seed).pair
    run = DANN(pair, Config(features=8, hidden=(8,), dropout=0.0, seed=seed), domain=2.0, ramp=40)
    for network, optimizer in zip(run.NETWORK_NAMES, run.OPTIMIZER_NAMES, strict=True):
        weights = [*getattr(run, network).parameters()]
        setattr(run, optimizer, torch.optim.SGD(weights, lr=0.5, momentum=0.9))
        for p in weights:
            p.grad = torch.ones_like(p)
    run.steps = 10
    i = torch.arange(32)
    source, target = pair.source_train, pair.target_train
    return [(run, run.settings, Batch(source.x[i], source.y[i], target.x[i], i))]


def _weights_after(step: Callable, run: Run, s: Settings, batch: Batch) -> Tensor:
    """All weights, features first, after one call of `step`, which may leave nothing else behind."""
    before = copy.copy(s)
    step(run, s, batch)
    refuse_leftovers(run, s, before)
    return torch.cat([p.detach().flatten() for name in run.NETWORK_NAMES for p in getattr(run, name).parameters()])


FEATURES, DISCRIMINATOR = ("features_opt", "heads_opt"), ("discriminator_opt",)


def _step(
    sign: float = -1.0,
    moves: tuple[str, ...] = FEATURES,
    fit: float = 1.0,
    weight: Callable = lambda s, p: s.domain * reversal(p),
    sign_d: float = 1.0,
    moves_d: tuple[str, ...] = DISCRIMINATOR,
    weight_d: Callable = lambda s, p: 1.0,
    swap: tuple[bool, bool] = (False, False),
    order: str = "",
) -> Callable:
    """DANN's step with something changed: of each update its sign, who moves, its weight; which domain is which."""

    def step(run: Run, s: DANNSettings, batch: Batch) -> None:
        p = run.steps / s.ramp
        f = run.embed(batch.x_s, batch.x_t)

        def domain(f: Tensor, swapped: bool) -> Tensor:
            return domain_cross_entropy(*run.discriminator(f).chunk(2)[:: -1 if swapped else 1])

        def against() -> None:
            source_ce = ce(run.classify(f)[0], batch.y_s)
            loss = fit * source_ce + sign * weight(s, p) * domain(f, swap[0])
            update(loss, *(getattr(run, name) for name in moves))

        def discriminate() -> None:
            seen = run.embed(batch.x_s, batch.x_t) if order == "features moved" else f
            update(sign_d * weight_d(s, p) * domain(seen.detach(), swap[1]), *(getattr(run, n) for n in moves_d))

        parts = [against] * bool(moves) + [discriminate] * bool(moves_d)
        for part in parts[:: -1 if order == "discriminator first" else 1]:
            part()

    return step


ALL = FEATURES + DISCRIMINATOR
DANN_STEP = Exercise(
    name="dann_step",
    reference=dann_step,
    cases=_moons_run,
    outcome=_weights_after,
    mistakes=(
        Mistake(_step(moves=(), moves_d=()), "nothing has moved: neither update is written yet."),
        Mistake(
            _step(moves_d=()), "the first update is right; the discriminator never learns: a second one is missing."
        ),
        Mistake(_step(moves=()), "the discriminator is right; features and heads have not moved."),
        Mistake(
            _step(sign=1.0),
            "the sign of the features' update: plus helps the discriminator. The features climb its loss: minus.",
        ),
        Mistake(
            _step(sign_d=-1.0),
            "the sign of the discriminator's update: minus teaches it to be wrong. It descends its own loss: plus.",
        ),
        Mistake(
            _step(sign=1.0, moves_d=()),
            "as it came: the features help a discriminator that does not learn. A sign is wrong, an update missing.",
        ),
        Mistake(_step(sign=1.0, sign_d=-1.0), "both signs are swapped: features minus, discriminator plus."),
        Mistake(
            _step(moves=ALL, moves_d=()),
            "one update moves all three, the discriminator too, up its own loss: it needs one of its own, with a plus.",
        ),
        Mistake(
            _step(sign=1.0, moves=ALL, moves_d=()),
            "nobody reverses anything: features and discriminator both descend the domain loss, as one team.",
        ),
        Mistake(
            _step(moves=ALL),
            "the first update also moves the discriminator, up its own loss: leave its optimiser out there.",
        ),
        Mistake(_step(moves=("features_opt",)), "the heads never learn the source's labels: run.heads_opt too."),
        Mistake(_step(moves=("heads_opt",)), "the features have not moved: hand the first update run.features_opt."),
        Mistake(
            _step(fit=0.0),
            "the source's cross-entropy is missing: features that only confuse may forget the classes.",
        ),
        Mistake(_step(weight=lambda s, p: 0.0), "the features learn the source alone: they play no game yet."),
        Mistake(_step(weight=lambda s, p: 1.0), "the factor `strength` is missing before the domain loss."),
        Mistake(
            _step(weight=lambda s, p: s.domain),
            "the ramp is missing: the reversal grows from 0 to 1, as `strength` does.",
        ),
        Mistake(_step(weight=lambda s, p: reversal(p)), "the weight s.domain is missing: the slider would do nothing."),
        Mistake(
            _step(weight_d=lambda s, p: s.domain * reversal(p)),
            "`strength` also slows the discriminator: it learns at full weight from the first step on.",
        ),
        Mistake(
            _step(swap=(True, True)),
            'the domains are swapped: the discriminator\'s logits say "target", so the source comes first.',
        ),
        Mistake(_step(swap=(True, False)), "the domains are swapped in the features' update: the source comes first."),
        Mistake(
            _step(swap=(False, True)),
            "the domains are swapped in the discriminator's update: the source comes first.",
        ),
        Mistake(
            _step(order="features moved"),
            "who moves is right, but the discriminator sees features computed after they moved: detach the first f.",
        ),
        Mistake(
            _step(order="discriminator first"),
            "who moves is right, but the discriminator moves first, and the features meet another one than it was.",
        ),
    ),
    hints=(
        "Two updates. In one the discriminator is a judge that holds still; in the other it learns, and f holds still.",
        "Features and heads: the source's cross-entropy minus strength * l_d. Discriminator: plus l_d of f.detach().",
        "update(ce(z_s, batch.y_s) - strength * l_d, run.features_opt, run.heads_opt); then l_d of f.detach() once "
        "more, and update(l_d, run.discriminator_opt).",
    ),
    right="the features climb the loss that the discriminator descends; the heads never hear of it.",
    tolerance=1e-5,  # the networks count in float32
)

EXERCISES = (CORAL_LOSS, DANN_STEP)
