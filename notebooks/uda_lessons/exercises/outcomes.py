"""What is compared where a graded assignment's answer changes a network. No right answer stands here."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from uda_lessons.exercises.exercise import NotYetError


def prepared(function: Callable, net: nn.Module, x: Tensor) -> Tensor:
    """Which parameters learn once `function` had the net, all weights, and what the net says of the batch `x`."""
    function(net)
    learns = torch.tensor([p.requires_grad for p in net.parameters()]).double()
    return torch.cat([learns, *(p.detach().flatten() for p in net.parameters()), net(x).detach().flatten()])


def stepped(function: Callable, net: nn.Module, optimizer: Optimizer, x: Tensor) -> Tensor | None:
    """What `function` returns for a batch, twice, and all weights after it; None where it returns nothing.

    The second call sees gradients that the first one left.

    Raises:
        NotYetError: if an answer still holds its graph.
    """
    said = [function(net, optimizer, x) for _ in range(2)]
    if any(s is None or s is ... for s in said):
        return None
    if any(isinstance(s, Tensor) and s.requires_grad for s in said):
        raise NotYetError("the answers still hold their graph: return z.detach().")
    weights = (p.detach().flatten() for p in net.parameters())
    return torch.cat([*(torch.as_tensor(s).flatten() for s in said), *weights])


def of_symmetric(function: Callable, k_ss: Tensor, k_tt: Tensor, *others: Tensor) -> object:
    """What `function` returns for kernels within a set, which are symmetric: one triangle is as good as both."""
    return function((k_ss + k_ss.mT) / 2, (k_tt + k_tt.mT) / 2, *others)
