"""What is compared where a graded assignment's answer changes a network. No right answer stands here."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def prepared(function: Callable, net: nn.Module, x: Tensor) -> Tensor:
    """Which parameters learn once `function` had the net, all weights, and what the net says of the batch `x`."""
    function(net)
    learns = torch.tensor([p.requires_grad for p in net.parameters()]).double()
    return torch.cat([learns, *(p.detach().flatten() for p in net.parameters()), net(x).detach().flatten()])


def stepped(function: Callable, net: nn.Module, optimizer: Optimizer, x: Tensor) -> Tensor | None:
    """What `function` returns for a batch, and all weights after it; None where it returns nothing."""
    said = function(net, optimizer, x)
    if said is None or said is ...:
        return None
    return torch.cat([torch.as_tensor(said).detach().flatten(), *(p.detach().flatten() for p in net.parameters())])
