"""Batch-norm statistics: re-estimated on another domain, kept apart per domain, or updated again for a seen batch."""

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from uda_core.errors import choose

DOMAINS = ("source", "target")
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


class DomainBatchNorm2d(nn.ModuleDict):
    """One batch norm per domain: weight and bias are shared, running statistics are not.

    Chang et al. (CVPR 2019) split weight and bias too.
    In training each batch is normalised by its own statistics anyway, so pass the domains one after the other.
    """

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__({domain: copy.deepcopy(norm) for domain in DOMAINS})
        for own in self.values():
            own.weight, own.bias = norm.weight, norm.bias
        self.domain = DOMAINS[0]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W], normalised by the batch in training and by the domain's running statistics otherwise."""
        return self[self.domain](x)


def per_domain_(net: nn.Module) -> nn.Module:
    """Give every `BatchNorm2d` inside `net` separate running statistics for "source" (in use at first) and "target".

    In place; neither the weights nor the outputs change. Ours, not the authors': their code has one set of statistics,
    which batches of both domains update in turn.
    """
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d) and not isinstance(module, DomainBatchNorm2d):
                setattr(module, name, DomainBatchNorm2d(child))
    return net


def share_statistics_(net: nn.Module) -> nn.Module:
    """From here on both domains use, and in training update, the source's statistics: `per_domain_`, taken back."""
    for module in net.modules():
        if isinstance(module, DomainBatchNorm2d):
            module["target"] = module["source"]
    return net


def use_domain(net: nn.Module, domain: str) -> nn.Module:
    """From here on `net` uses, and in training updates, this domain's statistics; ordinary batch norms have one set."""
    choose("domain", domain, DOMAINS)
    for module in net.modules():
        if isinstance(module, DomainBatchNorm2d):
            module.domain = domain
    return net


def copy_statistics_(net: nn.Module, of: str, to: str) -> nn.Module:
    """Give one domain the statistics of another; weights are shared anyway."""
    for module in net.modules():
        if isinstance(module, DomainBatchNorm2d):
            module[to].load_state_dict(module[of].state_dict())
    return net


def batch_norms(net: nn.Module) -> Iterator[BatchNorm]:
    """The batch-norm layers of a network that are in use, in order."""
    split = [module for module in net.modules() if isinstance(module, DomainBatchNorm2d)]
    idle = {norm for module in split for norm in module.values() if norm is not module[module.domain]}
    return (m for m in net.modules() if isinstance(m, BatchNorm) and m not in idle)


def statistics(norms: Iterable[BatchNorm]) -> list[Tensor]:
    """The running mean and variance of each norm: the tensors themselves, that training updates."""
    return [norm.get_buffer(name) for norm in norms for name in ("running_mean", "running_var")]


def trained_statistics(net: nn.Module) -> list[Tensor]:
    """`statistics` of every norm in training mode, of whichever domain."""
    return statistics(m for m in net.modules() if isinstance(m, BatchNorm) and m.training)


@torch.no_grad()
def reestimate_(net: nn.Module, x: Tensor | Iterable[Tensor]) -> Tensor:
    """Replace every running mean and variance by that of x; returns net(x). No weight moves, and dropout stays off.

    AdaBN (Li et al. 2017, arXiv 1603.04779), of the domain in use. x is the whole set at once, or batches of one size,
    over which the statistics are averaged; then net(last batch) is returned.
    """
    net.eval()
    before = [(norm, norm.momentum, copy.deepcopy(norm.num_batches_tracked)) for norm in batch_norms(net)]
    for norm, _, _ in before:
        norm.reset_running_stats()
        norm.momentum = None  # torch's cumulative average
        norm.train()
    for batch in [x] if isinstance(x, Tensor) else x:
        out = net(batch)
    for norm, momentum, batches_tracked in before:
        norm.momentum, norm.num_batches_tracked = momentum, batches_tracked
    net.eval()
    return out
