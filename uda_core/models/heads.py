"""The classifier head of MCD and CGDM, linear-BN-ReLU blocks and one linear layer, and its gradients in closed form.

Letters: B samples, D features, C classes; a [B, n] input of a linear layer, h [B, m] its output.

`logits_and_gradient_discrepancy` is the fast twin of `losses.rowwise_gradient_discrepancy`, equal in float64. The
gradient of a linear layer is D^T a, where a [B, n] is its input and D [B, m] the gradient of the loss with respect to
its output.  Row-wise inner products of two such gradients are column sums of D_s * (K D_t), with the Gram matrix
K = a a^T [B, B], so that no [m, n] gradient is ever formed (`RowProducts`).  D is carried backwards by hand through
ReLU, batch norm and dropout.  A single backward pass then gives the gradient with respect to the features.

Batch norm couples the rows of the two domains, so every D has the rows of the *joint* batch, zero at first in the other
domain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from uda_core.losses import LOG_FLOOR, cosine


@dataclass(frozen=True)
class Activations:
    """What one linear layer, and the batch norm and ReLU behind it, did to a batch: all that its gradient needs."""

    a: Tensor  # [B, n] input of the linear layer
    x_hat: Tensor | None = None  # [B, m] normalised output; None for the last layer, which has no batch norm
    inv_std: Tensor | None = None  # [m]
    gate: Tensor | None = None  # [B, m] from batch norm to the next layer: ReLU (0 or 1) times dropout's factor


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
        tape, a = [], F.dropout(f, self.dropout) if self.norms else f
        for i, norm in enumerate(self.norms):
            h = self.linears[i](a)
            mean = h.mean(0)
            centred = h - mean
            var = centred.square().mean(0)  # on a CPU ten times as fast as torch.var_mean
            assert norm.momentum is not None
            running_mean, running_var, batches = norm.buffers()
            with torch.no_grad():
                batches.add_(1)
                running_mean.lerp_(mean.to(running_mean.dtype), norm.momentum)
                running_var.lerp_(var.to(running_var.dtype) * len(h) / (len(h) - 1), norm.momentum)
            inv_std = (var + norm.eps).rsqrt()
            x_hat = centred * inv_std
            h = torch.addcmul(norm.bias, norm.weight, x_hat)
            gate = (h > 0).to(h.dtype)
            if norm is not self.norms[-1]:
                gate = F.dropout(gate, self.dropout)
            tape.append(Activations(a, x_hat, inv_std, gate))
            a = h * gate
        tape.append(Activations(a))
        return self.linears[-1](a), tape

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
    logits, tapes = zip(*[head.forward_with_activations(f) for head in heads], strict=True)
    z_s, z_t = torch.stack(logits).chunk(2, 1)
    d_s, d_t = cross_entropy_delta(z_s, y_s), weighted_cross_entropy_delta(z_t, y_hat) / len(y_hat)
    none = torch.zeros_like(d_s)
    deltas = torch.stack([torch.cat([d_s, none], 1), torch.cat([none, d_t], 1)], 2)  # [heads, 2B, 2, C]
    products, weights = zip(*map(_products, heads, tapes, deltas), strict=True)
    ss, st, _, tt = torch.cat(products, 1)
    tensors = 4 * len(heads[0].norms) + 2  # of each head; biases before a batch norm count as cosine 0
    return (z_t[0], z_t[1]), 1 - torch.cat(weights) @ cosine(st, ss, tt) / (tensors * len(heads))


def cross_entropy_delta(z: Tensor, y: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy with respect to its logits: (p - y) / B; z [..., B, C], y [B]."""
    return (z.softmax(-1) - F.one_hot(y, z.shape[-1])) / len(y)


def weighted_cross_entropy_delta(z: Tensor, y_hat: Tensor) -> Tensor:
    """Gradient of `losses.weighted_cross_entropy` with respect to its logits z [..., B, C].

    1/W [ w_i (p_i - y_i) - CE_i exp(-H_i) dH_i/dz_i ], with W = sum_i w_i held constant,
    dH/dz_j = p_j (q_j - sum_k p_k q_k) and q_k = - log(p_k + 1e-5) - p_k / (p_k + 1e-5).
    """
    y, log_p = F.one_hot(y_hat, z.shape[-1]), z.log_softmax(-1)
    p = log_p.exp()
    log_floored = (p + LOG_FLOOR).log()
    q = -log_floored - p / (p + LOG_FLOOR)
    confidence = (p * log_floored).sum(-1, keepdim=True).exp()  # exp(-H_i)
    ce = -(y * log_p).sum(-1, keepdim=True)
    dh = p * (q - (p * q).sum(-1, keepdim=True))
    total = (1 + confidence).sum(-2, keepdim=True).detach()
    return ((1 + confidence) * (p - y) - ce * confidence * dh) / total


def _products(head: Head, tape: list[Activations], d: Tensor) -> tuple[Tensor, Tensor]:
    """For each of the k rows of all tensors: <g_s, g_s>, <g_s, g_t> twice, <g_t, g_t>, [4, k]; and its weight, [k].

    The rows of a tensor weigh 1 together. d [2B, 2, C]: gradients with respect to the logits, the source's first.
    """
    products, weights = [], []
    for i in reversed(range(len(tape))):
        layer = tape[i]
        if layer.x_hat is None or layer.inv_std is None or layer.gate is None:
            vectors = d.sum(0)[None]  # the bias; those before a batch norm have no gradient
        else:
            x_hat, d = layer.x_hat[:, None], d * layer.gate[:, None]
            vectors = torch.stack([(d * x_hat).sum(0), d.sum(0)])  # batch norm's weight and bias, [2, 2, m]
            scale, shift = vectors / len(d)
            d = head.norms[i].weight * layer.inv_std * (d - torch.addcmul(shift, x_hat, scale))
        products += [(vectors @ vectors.mT).flatten(1).T, RowProducts.apply(layer.a, d)]
        weights += [d.new_ones(len(vectors)), d.new_full((d.shape[2],), 1 / d.shape[2])]
        if i:
            d = d @ head.linears[i].weight
    return torch.cat(products, 1), torch.cat(weights)


class RowProducts(torch.autograd.Function):
    """<g_i, g_j> of each row of the gradients g_i = d_i^T a of one weight, i and j source or target: [4, m].

    Column by column d_i^T K d_j with K = a a^T, for a [2B, n] and d [2B, 2, m].  For a loss L of them, with
    u_i = sum_j (dL/d<g_i, g_j> + dL/d<g_j, g_i>) d_j, dL/dd_i = K u_i and dL/da = sum_i u_i d_i^T a. What autograd does
    not know: K u is made of K d, which is there already.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, d: Tensor) -> Tensor:
        """a, d -> the products, source with source first, target with target last."""
        kd = (a @ a.T @ d.flatten(1)).view_as(d)
        ctx.save_for_backward(a, d, kd)
        (ss, tt), st = (d * kd).sum(0), (d[:, 0] * kd[:, 1]).sum(0)
        return torch.stack([ss, st, st, tt])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """dL/d<g_i, g_j> [4, m] -> dL/da, dL/dd."""
        a, d, kd = ctx.saved_tensors
        own, other = 2 * gradient[::3], gradient[1] + gradient[2]
        u = (own * d).addcmul_(other, d.flip(1))
        ku = (own * kd).addcmul_(other, kd.flip(1))
        return u.flatten(1) @ d.flatten(1).T @ a, ku
