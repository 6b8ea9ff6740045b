"""The classifier head of MCD and CGDM, linear-BN-ReLU blocks and one linear layer, and its gradients in closed form.

Letters: B samples, D features, C classes; a [B, n] input of a linear layer, h [B, m] its output.

`logits_and_gradient_discrepancy` is the fast twin of `losses.rowwise_gradient_discrepancy`, equal in float64. The
gradient of a linear layer is D^T a, where a [B, n] is its input and D [B, m] the gradient of the loss with respect to
its output.  Row-wise inner products of two such gradients are column sums of D_s * (K D_t), with the Gram matrix
K = a a^T [B, B], so that no [m, n] gradient is ever formed.  D is carried backwards by hand through ReLU, batch norm
and dropout.  All of it is ordinary differentiable torch: a single backward pass gives the gradient with respect to the
features.

Batch norm couples the rows of the two domains, so every D has the rows of the *joint* batch, zero at first in the other
domain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_core.losses import LOG_FLOOR, cosine


@dataclass(frozen=True)
class Activations:
    """What one linear layer, and the batch norm and ReLU behind it, did to a batch: all that its gradient needs."""

    a: Tensor  # [B, n] input of the linear layer
    x_hat: Tensor | None = None  # [B, m] normalised output; None for the last layer, which has no batch norm
    inv_std: Tensor | None = None  # [m]
    relu: Tensor | float = 1.0  # [B, m] 1 where the ReLU is open
    dropout: Tensor | float = 1.0  # [B, n] factor applied to the layer's input


class Head(nn.Module):
    """Dropout > Linear > BN > ReLU, once per hidden width, then Linear (lijin118/CGDM, models/basenet.py).

    No dropout before the last layer, where MCD's for MNIST and USPS have one.  Two heads differ only in their random
    start, which is torch's own here.
    """

    def __init__(self, in_features: int, classes: int, hidden: Sequence[int], dropout: float):
        super().__init__()
        widths = [in_features, *hidden]
        linears = [nn.Linear(n, m) for n, m in zip(widths, [*hidden, classes], strict=True)]
        self.linears = cast(Sequence[nn.Linear], nn.ModuleList(linears))
        self.norms = cast(Sequence[nn.BatchNorm1d], nn.ModuleList(nn.BatchNorm1d(m) for m in hidden))
        self.dropout = dropout

    def forward(self, f: Tensor) -> Tensor:
        """[B, D] -> logits [B, C]."""
        for linear, norm in zip(self.linears, self.norms, strict=False):
            f = norm(linear(F.dropout(f, self.dropout, self.training))).relu()
        return self.linears[-1](f)

    def forward_with_activations(self, f: Tensor) -> tuple[Tensor, list[Activations]]:
        """The same in training mode, written out, keeping what `logits_and_gradient_discrepancy` needs."""
        tape = []
        for linear, norm in zip(self.linears, self.norms, strict=False):
            mask = F.dropout(torch.ones_like(f), self.dropout) if self.dropout else 1.0
            a = f * mask
            h = linear(a)
            var, mean = torch.var_mean(h, 0, correction=0)
            assert norm.momentum is not None
            running_mean, running_var, batches = norm.buffers()
            with torch.no_grad():
                batches.add_(1)
                running_mean.lerp_(mean.to(running_mean.dtype), norm.momentum)
                running_var.lerp_(var.to(running_var.dtype) * len(h) / (len(h) - 1), norm.momentum)
            inv_std = (var + norm.eps).rsqrt()
            x_hat = (h - mean) * inv_std
            h = norm.weight * x_hat + norm.bias
            tape.append(Activations(a, x_hat, inv_std, (h > 0).to(h.dtype), mask))
            f = h.relu()
        tape.append(Activations(f))
        return self.linears[-1](f), tape

    @cached_property
    def matched_parameters(self) -> list[Tensor]:
        """Every tensor but the biases before a batch norm, whose gradient is zero but for rounding."""
        skip = {id(linear.bias) for linear in self.linears[:-1]}
        return [p for p in self.parameters() if id(p) not in skip]


# -- gradients in closed form ------------------------------------------------------------------------------------------


def logits_and_gradient_discrepancy(
    heads: Sequence[Head], f: Tensor, y_s: Tensor, y_hat: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Target logits of both heads, and L_gd row by row, from one forward of joint features f [2B, D] (source first).

    The target's gradient is that of L_wce / B, as the authors have it: its size decides where the cosine's floor lies.
    """
    z_t, tapes, deltas = [], [], []
    for head in heads:
        z, tape = head.forward_with_activations(f)
        z_source, z_target = z.chunk(2)
        d_s, d_t = cross_entropy_delta(z_source, y_s), weighted_cross_entropy_delta(z_target, y_hat) / len(y_hat)
        deltas.append((torch.cat([d_s, torch.zeros_like(d_t)]), torch.cat([torch.zeros_like(d_s), d_t])))
        z_t.append(z_target)
        tapes.append(tape)
    l_gd = torch.stack(list(map(_head_discrepancy, heads, tapes, deltas)))
    return (z_t[0], z_t[1]), l_gd.mean()


def cross_entropy_delta(z: Tensor, y: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy with respect to its logits: (p - y) / B, [B, C]."""
    return (z.softmax(1) - F.one_hot(y, z.shape[1])) / len(z)


def weighted_cross_entropy_delta(z: Tensor, y_hat: Tensor) -> Tensor:
    """Gradient of `losses.weighted_cross_entropy` with respect to its logits, [B, C].

    1/W [ w_i (p_i - y_i) - CE_i exp(-H_i) dH_i/dz_i ], with W = sum_i w_i held constant,
    dH/dz_j = p_j (q_j - sum_k p_k q_k) and q_k = - log(p_k + 1e-5) - p_k / (p_k + 1e-5).
    """
    log_p = z.log_softmax(1)
    p = log_p.exp()
    log_floored = (p + LOG_FLOOR).log()
    q = -log_floored - p / (p + LOG_FLOOR)
    confidence = (p * log_floored).sum(1, keepdim=True).exp()  # exp(-H_i)
    ce = -log_p.gather(1, y_hat[:, None])
    dh = p * (q - (p * q).sum(1, keepdim=True))
    total = (1 + confidence).sum().detach()
    return ((1 + confidence) * (p - F.one_hot(y_hat, z.shape[1])) - ce * confidence * dh) / total


def _head_discrepancy(head: Head, tape: list[Activations], delta: tuple[Tensor, Tensor]) -> Tensor:
    d = torch.stack(delta)  # [2, B, m]: source, target
    terms = []
    for i in reversed(range(len(tape))):
        layer, last = tape[i], i == len(tape) - 1
        if layer.x_hat is not None and layer.inv_std is not None:
            d = d * layer.relu
            scale, shift = (d * layer.x_hat).sum(1, keepdim=True), d.sum(1, keepdim=True)  # BN's gradients, [2, 1, m]
            for g in (scale[:, 0], shift[:, 0]):
                terms.append(cosine((g[0] * g[1]).sum(), *(g * g).sum(1)))
            d = head.norms[i].weight * layer.inv_std * (d - (shift + layer.x_hat * scale) / len(layer.a))
        kd = layer.a @ layer.a.T @ d  # [2, B, m]
        terms.append(cosine((d[0] * kd[1]).sum(0), *(d * kd).sum(1)).mean())  # weight, one cosine per row
        if last:
            g = d.sum(1)  # bias; those before a batch norm count as cosine 0
            terms.append(cosine((g[0] * g[1]).sum(), *(g * g).sum(1)))
        if i:
            d = d @ head.linears[i].weight * layer.dropout
    return 1 - sum(terms, start=d.new_zeros(())) / (len(terms) + len(head.norms))
