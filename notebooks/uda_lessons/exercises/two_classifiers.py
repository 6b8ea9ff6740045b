"""Exercises of lesson 03. Letters: B samples, C classes, z1, z2 [B, C] the heads' logits, p = softmax(z)."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.data.moons import moons
from uda_core.losses import classifier_discrepancy
from uda_core.methods.classification import Config, ce
from uda_core.methods.mcd import MCD, MCDSettings, mcd_step
from uda_core.run import Run, Settings
from uda_core.samples import Batch
from uda_core.training import update
from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.moves import first_other_move, refuse_leftovers


def _two_heads() -> list[tuple]:
    """Logits of two heads; then a batch of one."""
    generator = torch.Generator().manual_seed(0)
    shapes = (6, 4), (1, 3)
    return [
        tuple((2 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_() for _ in range(2))
        for shape in shapes
    ]


def _gap(z1: Tensor, z2: Tensor, dim: int = 1) -> Tensor:
    return z1.softmax(dim) - z2.softmax(dim)


CLASSIFIER_DISCREPANCY = Exercise(
    name="classifier_discrepancy",
    reference=classifier_discrepancy,
    cases=_two_heads,
    mistakes=(
        Mistake(
            lambda z1, z2: _gap(z1, z2).mean(),
            "the differences cancel: both rows add up to 1, so take the absolute values before the mean.",
        ),
        Mistake(lambda z1, z2: -classifier_discrepancy(z1, z2), "the sign: a disagreement is never negative."),
        Mistake(lambda z1, z2: (z1 - z2).abs().mean(), "logits have no common scale: softmax first."),
        Mistake(
            lambda z1, z2: (z1.log_softmax(1) - z2.log_softmax(1)).abs().mean(),
            "you compare log-probabilities: the discrepancy is between the probabilities themselves.",
        ),
        Mistake(
            lambda z1, z2: _gap(z1, z2, 0).abs().mean(),
            "the softmax runs over the samples: it belongs over the classes, dimension 1.",
        ),
        Mistake(
            lambda z1, z2: _gap(z1, z2).abs().sum(1).mean(),
            "you add over the classes: the authors average over samples *and* classes, so yours is C times as large.",
        ),
        Mistake(
            lambda z1, z2: _gap(z1, z2).abs().sum(),
            "you add everything up: with a sum, the loss weight would depend on the batch size. Take the mean.",
        ),
        Mistake(
            lambda z1, z2: _gap(z1, z2).abs().mean(1),
            "one number per sample: average over the batch too.",
        ),
        Mistake(
            lambda z1, z2: _gap(z1, z2).square().mean(),
            "squares: MCD takes absolute values (its authors report that squares did not work).",
        ),
        Mistake(
            lambda z1, z2: (z1.softmax(1).mean(0) - z2.softmax(1).mean(0)).abs().mean(),
            "you average over the batch before you compare: heads that disagree on every sample could still score 0.",
        ),
        Mistake(
            lambda z1, z2: (z1.argmax(1) != z2.argmax(1)).double().mean(),
            "you count samples with different classes: a count has no gradient. Compare the probabilities.",
        ),
        Mistake(
            lambda z1, z2: (z1.sigmoid() - z2.sigmoid()).abs().mean(),
            "a sigmoid looks at each class alone: the heads choose among C classes, so softmax over dimension 1.",
        ),
        Mistake(
            lambda z1, z2: _gap(z1, z2).norm(dim=1).mean(),
            "this is the Euclidean length of each difference: MCD adds the absolute values (the L1 norm).",
        ),
        Mistake(
            lambda z1, z2: F.kl_div(z1.log_softmax(1), z2.softmax(1), reduction="batchmean"),
            "this is a KL divergence, which is not symmetric: MCD takes the absolute difference of the probabilities.",
        ),
    ),
    hints=(
        "Two steps: logits to probabilities, then a mean of absolute differences.",
        "p1 = z1.softmax(1), and p2 alike; both are [B, C], so subtract them element by element.",
        ".abs().mean() takes the mean over samples and classes at once.",
    ),
    right="0 where the heads say the same, at most 2/C, and a gradient for both heads.",
)


def _moons_run() -> list[tuple]:
    """A run on moons with plain gradient descent, its settings and a batch; then other settings."""
    pair, i = moons(samples=64).pair, torch.arange(32)
    batch = Batch(pair.source_train.x[i], pair.source_train.y[i], pair.target_train.x[i], i)
    cases = []
    for discrepancy, k in ((2.0, 2), (0.5, 3)):
        run = MCD(pair, Config(features=8, hidden=(8,), dropout=0.0), discrepancy=discrepancy, k=k)
        run.features_opt = torch.optim.SGD(run.extractor.parameters(), lr=0.5)
        run.heads_opt = torch.optim.SGD(run.heads.parameters(), lr=0.5)
        cases.append((run, run.settings, batch))
    return cases


def _weights_after(step: Callable, run: Run, s: Settings, batch: Batch) -> Tensor:
    """All weights, features first, after one call of `step`, and after one more by the package."""
    before = copy.copy(s)
    step(run, s, batch)
    refuse_leftovers(run, s, before)
    once = [p.detach().clone() for module in (run.extractor, run.heads) for p in module.parameters()]
    mcd_step(run, s, batch)
    twice = [p.detach() for module in (run.extractor, run.heads) for p in module.parameters()]
    return torch.cat([p.flatten() for p in (*once, *twice)])


def _losses(run: Run, batch: Batch) -> dict[str, Tensor]:
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    return {
        "source cross-entropy": ce(z_s, batch.y_s),
        "target discrepancy": classifier_discrepancy(*z_t),
        "source discrepancy": classifier_discrepancy(*z_s),
    }


def _step(
    b: float | None = -1.0,
    fit: float = 1.0,
    b_moves: tuple[str, ...] = ("heads_opt",),
    c: float = 1.0,
    c_fit: float = 0.0,
    c_moves: tuple[str, ...] = ("features_opt",),
    k: int | None = None,
    domain: int = 1,
    weigh: bool = True,
) -> Callable:
    """MCD's step with something changed: signs b and c of the discrepancy, who moves, on which domain, how often."""

    def step(run: Run, s: MCDSettings, batch: Batch) -> None:
        weight = s.discrepancy if weigh else 1.0

        def loss(of_ce: float, sign: float) -> Tensor:
            z = run.classify(run.embed(batch.x_s, batch.x_t))
            return of_ce * ce(z[0], batch.y_s) + sign * weight * classifier_discrepancy(*z[domain])

        update(loss(1.0, 0.0), run.features_opt, run.heads_opt)  # A
        if b is not None:
            update(loss(fit, b), *(getattr(run, name) for name in b_moves))
        for _ in range(s.k if k is None else k):
            update(loss(c_fit, c), *(getattr(run, name) for name in c_moves))

    return step


def _on_one_graph(run: Run, s: MCDSettings, batch: Batch) -> None:
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    update(ce(z_s, batch.y_s), run.features_opt, run.heads_opt)
    update(ce(z_s, batch.y_s) - s.discrepancy * classifier_discrepancy(*z_t), run.heads_opt)


BOTH = "features_opt", "heads_opt"
MCD_STEP = Exercise(
    name="mcd_step",
    reference=mcd_step,
    cases=_moons_run,
    outcome=_weights_after,
    explain=first_other_move(mcd_step, _losses),
    mistakes=(
        Mistake(_step(b=None, k=0), "only step A has moved anything: B and C are still to be written."),
        Mistake(_step(k=0), "step B is right; step C is still missing, or moves nothing (are the features detached?)."),
        Mistake(_step(b=None), "step C is right; step B is still missing: nobody moves the heads apart."),
        Mistake(
            _step(b=1.0),
            "the sign in B: plus pulls the heads together, and two lazy heads that agree find nothing. Minus there.",
        ),
        Mistake(_step(c=-1.0), "the sign in C: minus drives the features to where the heads differ. Plus there."),
        Mistake(_step(b=1.0, c=-1.0), "both signs are swapped: B wants minus (apart), C wants plus (together)."),
        Mistake(
            _step(b_moves=BOTH),
            "B also moves the features, which would help the heads disagree: hand `update` the heads' optimiser alone.",
        ),
        Mistake(
            _step(c_moves=BOTH),
            "C also moves the heads: they come to agree by themselves, and the features need not change.",
        ),
        Mistake(_step(c_moves=("heads_opt",)), "C moves the heads and not the features: hand it run.features_opt."),
        Mistake(
            _step(b_moves=("features_opt",), c_moves=("heads_opt",)),
            "the optimisers are swapped: B moves the heads, C the features.",
        ),
        Mistake(
            _step(fit=0.0),
            "B lacks the source's cross-entropy: the heads may differ on the target only while they stay right on "
            "the source.",
        ),
        Mistake(
            _step(c_fit=1.0),
            "C has the source's cross-entropy in it: in MCD, C moves the features by the discrepancy alone.",
        ),
        Mistake(_step(domain=0), "you measure the disagreement on the source: it is the target, z_t, that matters."),
        Mistake(_step(weigh=False), "the weight s.discrepancy is missing: the slider would do nothing."),
        Mistake(
            _on_one_graph,
            "the second `update` needs a graph that the first one has used up, and that describes weights which have "
            "moved since: each update wants a forward pass of its own, classify(embed(...)).",
        ),
        Mistake(_step(k=1), "C runs once: s.k times, each with a fresh forward pass."),
    ),
    hints=(
        "In B the heads move and the features hold still; in C it is the other way round.",
        "B: stay right on the source (plus cross-entropy) and differ on the target (minus discrepancy).",
        "B: update(ce(z_s, y_s) - s.discrepancy * l_dis, run.heads_opt).  C: plus, and run.features_opt.",
    ),
    right="A moves everything, B the heads alone with a minus, C the features alone with a plus.",
    tolerance=1e-5,  # the networks count in float32
)

EXERCISES = (CLASSIFIER_DISCREPANCY, MCD_STEP)
