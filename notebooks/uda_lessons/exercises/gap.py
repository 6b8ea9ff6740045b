"""Exercises of lesson 01. Letters: B samples, C classes, z [B, C] logits, p = softmax(z)."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_core.losses import entropy
from uda_core.models.batch_norm import batch_norms, reestimate_, statistics
from uda_lessons.exercises.exercise import Exercise, Mistake, NotYetError
from uda_lessons.exercises.pictures import bars
from uda_lessons.exercises.relations import close


def _logits(seed: int = 0) -> list[tuple]:
    """Ordinary logits; then such that some probabilities are 0 even in float64, in a sure row and in a torn one."""
    z = 4 * torch.rand(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sure = torch.tensor([[0.0, 900.0, 0.0], [1.0, 2.0, 3.0], [900.0, 0.0, 900.0]], dtype=torch.float64)
    return [(z,), (sure,)]  # without a gradient: here nobody needs one


def _entropy_of(p: Tensor) -> Tensor:
    return -(p * (p + 1e-5).log())


ENTROPY = Exercise(
    name="entropy",
    reference=entropy,
    cases=_logits,
    mistakes=(
        Mistake(lambda z: _entropy_of(z).sum(1), "z holds logits, not probabilities: put a softmax first."),
        Mistake(
            lambda z: _entropy_of(z.softmax(0)).sum(1),
            "the softmax runs over the samples: each row must add up to 1, so it belongs over dimension 1.",
        ),
        Mistake(
            lambda z: _entropy_of(z.softmax(1)).sum(0),
            "you add over the samples: one number per sample means a sum over dimension 1, the classes.",
        ),
        Mistake(
            lambda z: F.cross_entropy(z, z.argmax(1), reduction="none"),
            "this is -log of the largest probability alone: H adds -p log p over all classes.",
        ),
        Mistake(
            lambda z: -(z.softmax(1) * z.softmax(1).log()).sum(1),
            "NaN: a very sure head gives p = 0, and 0 * log(0) is not a number. Add 1e-5 inside the logarithm.",
        ),
        Mistake(
            lambda z: _entropy_of(z.sigmoid()).sum(1),
            "a sigmoid looks at each class alone: the classes share one probability of 1, so softmax.",
        ),
        Mistake(
            lambda z: -(z.softmax(1) + 1e-5).log().sum(1),
            "the p before the log is missing: H adds p * -log p, so that an unlikely class hardly counts.",
        ),
        Mistake(lambda z: -z.log_softmax(1).mean(1), "this is -log p averaged over the classes: weigh each by its p."),
        Mistake(lambda z: 1 - z.softmax(1).amax(1), "1 - max p is a doubt too, but no entropy: add -p log p over all."),
    ),
    hints=(
        "Turn the logits into probabilities: each row of p adds up to 1.",
        "H_i is a sum over the classes k of -p_ik log p_ik; one number per row remains.",
        "p = z.softmax(1), then -(p * (p + 1e-5).log()), then a sum over dimension 1.",
    ),
    right="0 nats for a sure head, log C for a clueless one.",
    tolerance=1e-3,  # with or without the 1e-5 inside the logarithm
    picture=bars("Which samples come out too sure, and which too unsure?"),
)


def _trained_net(seed: int = 0) -> list[tuple]:
    """A net in evaluation mode with somebody else's statistics, two batch norms and dropout; a set x [4800, 3]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2), nn.BatchNorm1d(2)
        ).double()
        for norm in batch_norms(net):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.num_batches_tracked.fill_(100)
            nn.init.uniform_(norm.weight, 0.5, 2)
        return [(net.eval(), 2 + torch.randn(4800, 3, dtype=torch.float64))]


def _net_after(reestimate: Callable, net: nn.Module, x: Tensor) -> Tensor:
    """All statistics and weights; whether a layer is in training mode; whether layers saw x and learnt nothing of it.

    Raises:
        NotYetError: if dropout is not what it was, or weights are frozen.
    """
    before = torch.cat(statistics(batch_norms(net)))
    reestimate(net, x)
    if [m.p for m in net.modules() if isinstance(m, nn.Dropout)] != [0.5]:
        raise NotYetError(
            "dropout itself is no longer what it was, and would be missing when training goes on: in evaluation mode "
            "it is off anyway, so leave it alone."
        )
    if not all(p.requires_grad for p in net.parameters()):
        raise NotYetError(
            "you leave weights frozen, requires_grad = False: torch.no_grad() alone keeps them as they are."
        )
    after = torch.cat(statistics(batch_norms(net)))
    in_vain = torch.equal(before, after) and any(norm.num_batches_tracked > 100 for norm in batch_norms(net))
    flags = torch.tensor([any(m.training for m in net.modules()), in_vain]).double()
    return torch.cat([after, *(p.detach().flatten() for p in net.parameters()), flags])


def _other_tensors(reestimate: Callable, net: nn.Module, x: Tensor) -> str | None:
    """Which weights and statistics are not what they should be."""
    right = copy.deepcopy(net)
    reestimate_(right, x)
    reestimate(net, x)
    pairs = zip(net.state_dict().items(), right.state_dict().values(), strict=True)
    names = [name for (name, a), b in pairs if a.is_floating_point() and not close(a, b, REESTIMATE.tolerance)]
    return f"not what they should be: {', '.join(names)}; all other tensors of the net are right." if names else None


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
    explain=_other_tensors,
    tolerance=1e-3,  # variances divided by N or by N - 1
    mistakes=(
        Mistake(
            lambda net, x: None,
            "no statistic has changed, and no batch norm has measured x: in evaluation mode it only uses what it has. "
            "Put the batch norms, and them alone, in training mode for one pass.",
        ),
        Mistake(
            lambda net, x: _one_pass(net, x, 0.0),
            "the batch norms have measured x, but with momentum 0, which keeps all of the old statistics: with 1 the "
            "new ones replace them.",
        ),
        Mistake(
            lambda net, x: _one_pass(net, x, None),
            "momentum = None averages over all batches that a layer has ever seen, the source's too: call "
            "reset_running_stats() first, or set momentum to 1.",
        ),
        Mistake(
            lambda net, x: (_forget(net, x), _one_pass(net, x, 0.1)),
            "you forget the old statistics, but momentum 0.1 leaves nine tenths of 0 and 1, which a reset puts there.",
        ),
        Mistake(
            lambda net, x: ([norm.reset_parameters() for norm in batch_norms(net)], _one_pass(net, x, 1.0)),
            "the statistics are right, but reset_parameters() also reset weight and bias of the batch norms, which "
            "were learnt: reset_running_stats() resets the statistics alone, and momentum 1 needs neither.",
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
