"""Exercises of lesson 01. Letters: B samples, C classes, z [B, C] logits, p = softmax(z)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_core.losses import entropy
from uda_core.models.batch_norm import batch_norms, reestimate_
from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.pictures import bars


def _logits() -> list[tuple]:
    """Ordinary logits; then such that some probabilities are 0 even in float64."""
    z = 4 * torch.rand(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sure = torch.tensor([[0.0, 900.0, 0.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    return [(z.requires_grad_(),), (sure.requires_grad_(),)]


def _entropy_of(p: Tensor) -> Tensor:
    return -(p * (p + 1e-5).log())


ENTROPY = Exercise(
    name="entropy",
    reference=entropy,
    cases=_logits,
    mistakes=(
        Mistake(lambda z: -entropy(z), "the sign: log p is negative, so that the minus makes H positive."),
        Mistake(lambda z: _entropy_of(z).sum(1), "z holds logits, not probabilities: put a softmax first."),
        Mistake(
            lambda z: _entropy_of(z.softmax(0)).sum(1),
            "the softmax runs over the samples: each row must add up to 1, so it belongs over dimension 1.",
        ),
        Mistake(
            lambda z: _entropy_of(z.softmax(1)).mean(1),
            "you average over the classes: H is the sum, C times as large.",
        ),
        Mistake(
            lambda z: _entropy_of(z.softmax(1)).sum(0),
            "you add over the samples: one number per sample means a sum over dimension 1, the classes.",
        ),
        Mistake(lambda z: entropy(z).mean(), "one number for the whole batch: keep one per sample, shape [B]."),
        Mistake(lambda z: entropy(z).sum(), "you add up everything: keep one number per sample, shape [B]."),
        Mistake(
            lambda z: -(z.softmax(1) * z.softmax(1).log2()).sum(1),
            "these are bits: nats want the natural logarithm.",
        ),
        Mistake(
            lambda z: F.cross_entropy(z, z.argmax(1), reduction="none"),
            "this is -log of the largest probability alone: H adds -p log p over all classes.",
        ),
        Mistake(
            lambda z: -(z.softmax(1) * z.softmax(1).log()).sum(1),
            "NaN: a very sure head gives p = 0, and 0 * log(0) is not a number. Add 1e-5 inside the logarithm.",
        ),
        Mistake(lambda z: entropy(z.detach()), "the value is right, but z is detached: nothing can learn from it."),
    ),
    hints=(
        "Turn the logits into probabilities: each row of p adds up to 1.",
        "H_i is a sum over the classes k of -p_ik log p_ik; one number per row remains.",
        "p = z.softmax(1), then -(p * (p + 1e-5).log()), then a sum over dimension 1.",
    ),
    right="0 nats for a sure head, log C for a clueless one, and a gradient that a loss can use.",
    tolerance=1e-3,  # with or without the 1e-5 inside the logarithm
    picture=bars("Which samples come out too sure, and which too unsure?"),
)


def _trained_net() -> list[tuple]:
    """A net in evaluation mode with somebody else's statistics, two batch norms and dropout; a set x [4800, 3]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2), nn.BatchNorm1d(2)
        ).double()
        for norm in batch_norms(net):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        return [(net.eval(), 2 + torch.randn(4800, 3, dtype=torch.float64))]


def _net_after(reestimate: Callable, net: nn.Module, x: Tensor) -> Tensor:
    """All statistics and weights, and whether a layer is still in training mode."""
    reestimate(net, x)
    statistics = [t for norm in batch_norms(net) for t in (norm.running_mean, norm.running_var)]
    state = [t.detach().flatten() for t in (*statistics, *net.parameters())]
    return torch.cat([*state, torch.tensor([float(any(m.training for m in net.modules()))])])


def _one_pass(net: nn.Module, x: Tensor, momentum: float | None, dropout: bool = False, end: bool = True) -> None:
    net.train(dropout)
    for norm in batch_norms(net):
        norm.train()
        norm.momentum = momentum
    net(x)
    net.train(not end)


def _forget(net: nn.Module, x: Tensor) -> None:
    for norm in batch_norms(net):
        norm.reset_running_stats()


def _all_layers_at_once(net: nn.Module, x: Tensor) -> None:
    """Every layer's statistics taken while the layers before it still normalise by the old ones."""
    seen = {}
    hooks = [n.register_forward_pre_hook(lambda n, args: seen.update({n: args[0].detach()})) for n in batch_norms(net)]
    net(x)
    for hook in hooks:
        hook.remove()
    for norm, h in seen.items():
        norm.running_mean.copy_(h.mean(0))
        norm.running_var.copy_(h.var(0))


REESTIMATE = Exercise(
    name="reestimate",
    reference=reestimate_,
    cases=_trained_net,
    outcome=_net_after,
    tolerance=1e-3,  # variances divided by N or by N - 1
    mistakes=(
        Mistake(
            lambda net, x: None,
            "no statistic has changed: in evaluation mode a batch norm only uses them. Put the batch norms, and them "
            "alone, in training mode for one pass.",
        ),
        Mistake(
            lambda net, x: _one_pass(net, x, 0.1),
            "the statistics went a tenth of the way: that is momentum 0.1. With 1 the new ones replace the old.",
        ),
        Mistake(
            lambda net, x: _one_pass(net, x, 1.0, dropout=True),
            "dropout was on while you measured: net.train() wakes it too. Put only the batch norms in training mode.",
        ),
        Mistake(
            lambda net, x: _one_pass(net, x, 0.1, dropout=True),
            "two things: net.train() also wakes dropout, and momentum 0.1 takes over a tenth of the new statistics.",
        ),
        Mistake(_forget, "you forget the source's statistics (0 and 1 remain), but learn no others from x."),
        Mistake(
            _all_layers_at_once,
            "the later layers' statistics are those behind the *old* first layers: normalise each layer by its new "
            "statistics before you measure the next one.",
        ),
        Mistake(
            lambda net, x: _one_pass(net, x, 1.0, end=False),
            "the statistics are right, but the net stays in training mode: the next prediction would move them again.",
        ),
    ),
    hints=(
        "In training mode a batch norm updates running <- (1 - momentum) * running + momentum * batch.",
        "With which momentum is nothing left of the old value after one pass over all of x?",
        "net.eval(); for each norm of batch_norms(net): norm.momentum = 1.0 and norm.train(); then net(x), net.eval().",
    ),
    right="every layer now has the target's mean and variance, no weight has moved, and dropout stayed off.",
)

EXERCISES = (ENTROPY, REESTIMATE)
