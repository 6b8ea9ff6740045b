"""Batch-norm statistics: re-estimated on another domain, or updated once more for a batch that was already seen."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def batch_norms(net: nn.Module) -> Iterator[nn.Module]:
    """The batch-norm layers of a network, in order."""
    return (m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))


@torch.no_grad()
def reestimate_(net: nn.Module, x: Tensor) -> Tensor:
    """Replace every running mean and variance by that of `x`, layer by layer; returns net(x). No weight moves.

    AdaBN (Li et al. 2017, arXiv 1603.04779), over the whole set at once. Dropout stays off.
    """
    net.eval()
    momenta = {norm: norm.momentum for norm in batch_norms(net)}
    for norm in momenta:
        norm.momentum = 1.0
        norm.train()
    out = net(x)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    net.eval()
    return out


def running_statistics(net: nn.Module) -> list[Tensor]:
    """Copies of all running means and variances."""
    return [s.clone() for norm in batch_norms(net) for s in (norm.running_mean, norm.running_var)]


@torch.no_grad()
def replay_(net: nn.Module, before: list[Tensor]) -> None:
    """Update the running statistics as a second forward of the same batch would, given those before the first.

    With momentum m and batch statistic s: r1 = (1-m) r0 + m s, so r2 = (1-m) r1 + m s = r1 + (1-m)(r1 - r0).
    """
    old = iter(before)
    for norm in batch_norms(net):
        norm.num_batches_tracked += 1
        for running in (norm.running_mean, norm.running_var):
            running += (1 - norm.momentum) * (running - next(old))
