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


def _two_heads(seed: int = 0) -> list[tuple]:
    """Logits of two heads; then a batch of one."""
    generator = torch.Generator().manual_seed(seed)
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


def _moons_run(seed: int = 0) -> list[tuple]:
    """A run on moons with plain gradient descent, its settings and a batch; then other settings."""
    pair, i = moons(samples=64, seed=seed).pair, torch.arange(32)
    batch = Batch(pair.source_train.x[i], pair.source_train.y[i], pair.target_train.x[i], i)
    cases = []
    for discrepancy, k in ((2.0, 2), (0.5, 3)):
        run = MCD(pair, Config(features=8, hidden=(8,), dropout=0.0, seed=seed), discrepancy=discrepancy, k=k)
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


def _losses(run: Run, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    right = {"source cross-entropy": ce(z_s, batch.y_s), "target discrepancy": classifier_discrepancy(*z_t)}
    return right, {"source discrepancy": classifier_discrepancy(*z_s)}


def _on_one_graph(run: Run, s: MCDSettings, batch: Batch) -> None:
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    update(ce(z_s, batch.y_s), run.features_opt, run.heads_opt)
    update(ce(z_s, batch.y_s) - s.discrepancy * classifier_discrepancy(*z_t), run.heads_opt)


MCD_STEP = Exercise(
    name="mcd_step",
    reference=mcd_step,
    cases=_moons_run,
    outcome=_weights_after,
    mistakes=(
        Mistake(
            _on_one_graph,
            "the second `update` needs a graph that the first one has used up, and that describes weights which have "
            "moved since: each update wants a forward pass of its own, classify(embed(...)).",
        ),
    ),
    explain=first_other_move(
        mcd_step,
        _losses,
        stages=("A", "A", "B", "C"),
        why={
            "B, features_opt": ": the features would help the heads disagree. Hand `update` run.heads_opt alone",
            "B, target discrepancy": ": minus s.discrepancy, as two lazy heads that agree find nothing",
            "B, source cross-entropy": ": the heads may differ on the target only while they stay right on the source",
            "B, source discrepancy": ": it is the target, z_t, that matters",
            "C, heads_opt": ": heads that move come to agree by themselves, and the features need not change",
            "C, target discrepancy": ": plus s.discrepancy; minus drives the features to where the heads differ",
            "C, source cross-entropy": ": in MCD, C moves the features by the discrepancy alone",
            "C, source discrepancy": ": it is the target, z_t, that matters",
        },
        left="each move is right, but something is left changed that the next step feels: a mode, a learning rate.",
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
