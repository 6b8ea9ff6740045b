"""The one way in which anything learns, and training as an iterator; whoever calls `fit` owns the loop."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from uda_core import distributed

if TYPE_CHECKING:
    from uda_core.run import Record, Run

Gradients = list[Tensor | None]  # one for each parameter, None where the loss does not depend on it


def update(loss: Tensor, *optimizers: Optimizer, plus: Sequence[Tensor | None] = ()) -> None:
    """Gradients of `loss` for exactly these optimisers' parameters, then their step. Nothing else learns, anywhere.

    Where several devices train, the gradients are averaged over them.

    Args:
        loss: one number.
        optimizers: whose parameters move; no other parameter gets a gradient.
        plus: `gradients` of another loss for the same optimisers, to be added.
    """
    found, parameters = gradients(loss, *optimizers), list[Tensor]()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            parameters += group["params"]
    for parameter, gradient, other in zip(parameters, found, plus or [None] * len(found), strict=True):
        parameter.grad = gradient if other is None else other if gradient is None else gradient + other
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        distributed.average_gradients_(parameters)
    for optimizer in optimizers:
        optimizer.step()
    torch.autograd.graph.increment_version(parameters)  # fused optimisers do not tell autograd that weights have moved


def gradients(loss: Tensor, *optimizers: Optimizer) -> Gradients:
    """Gradients of `loss` for these optimisers' parameters, in order; the graph of `loss` is freed, and nothing moves.

    For a second loss on the same parameters: `first = gradients(loss_1, opt)`, then `update(loss_2, opt, plus=first)`
    needs the memory of one graph at a time.

    Each gradient has its parameter's strides. Fused optimisers read both as flat arrays and would pair the wrong
    numbers otherwise; `backward()` sees to that, `autograd.grad` does not, with compiled networks and channels last.
    """
    parameters = list[Tensor]()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            parameters += group["params"]
    found: Gradients = list(torch.autograd.grad(loss, parameters, allow_unused=True))
    for i, (parameter, gradient) in enumerate(zip(parameters, found, strict=True)):
        if gradient is not None and gradient.stride() != parameter.stride():
            found[i] = torch.empty_like(parameter).copy_(gradient)
    return found


def fit(run: "Run", steps: int) -> Iterator["Record"]:
    """Train `steps` more steps, yielding each one's record.

    >>> for record in fit(run, 400):
    ...     print(record.step, record.losses)
    """
    for _ in range(steps):
        yield run.step()
