"""The one way in which anything learns, and training as an iterator; whoever calls `fit` owns the loop."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from uda_core import distributed

if TYPE_CHECKING:
    from uda_core.run import Record, Run


def update(loss: Tensor, *optimizers: Optimizer, plus: Mapping[Tensor, Tensor | None] = {}) -> None:
    """Gradients of `loss` for exactly these optimisers' parameters, then their step. Nothing else learns, anywhere.

    Where several devices train, the gradients are averaged over them.

    Args:
        loss: one number.
        optimizers: whose parameters move; no other parameter gets a gradient.
        plus: `gradients` of another loss for the same optimisers, to be added.

    Raises:
        ValueError: if `plus` holds gradients for other optimisers.
    """
    found = gradients(loss, *optimizers)
    if plus.keys() - found.keys():
        raise ValueError("plus holds gradients of parameters that these optimisers do not have")
    for parameter, gradient in found.items():
        other = plus.get(parameter)
        parameter.grad = gradient if other is None else other if gradient is None else gradient + other
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        distributed.average_gradients_([*found])
    for optimizer in optimizers:
        optimizer.step()
    torch.autograd.graph.increment_version([*found])  # autograd does not see that a fused optimiser moves weights


def gradients(loss: Tensor, *optimizers: Optimizer) -> dict[Tensor, Tensor | None]:
    """The gradient of `loss` for each of these optimisers' parameters, None where it does not depend on one.

    The graph of `loss` is freed, and nothing moves.

    For a second loss on the same parameters: `first = gradients(loss_1, opt)`, then `update(loss_2, opt, plus=first)`
    needs the memory of one graph at a time.

    Each gradient has its parameter's strides. Fused optimisers read both as flat arrays and would pair the wrong
    numbers otherwise; `backward()` sees to that, `autograd.grad` does not, with compiled networks and channels last.
    """
    parameters = list[Tensor]()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            parameters += group["params"]
    found: dict[Tensor, Tensor | None] = {}
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
        if gradient is not None and gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        found[parameter] = gradient
    return found


def fit(run: "Run", steps: int) -> Iterator["Record"]:
    """Train `steps` more steps, yielding each one's record.

    >>> for record in fit(run, 400):
    ...     print(record.step, record.losses)
    """
    for _ in range(steps):
        yield run.step()
