"""The gradient discrepancy without `autograd.grad`: the fast twin of `losses.gradient_discrepancy(rowwise=True)`.

The gradient of a linear layer is D^T a, where a [B, n] is its input and D [B, m] the gradient of the loss with respect
to its output.  Row-wise inner products of two such gradients are column sums of D_s * (K D_t), with the Gram matrix
K = a a^T [B, B], so that no [m, n] gradient is ever formed.  D is carried backwards by hand through ReLU, batch norm
and dropout.  All of it is ordinary differentiable torch: a single backward pass gives the gradient with respect to the
features.  Equal to the readable form in float64 (tests/test_closed_form.py).

Batch norm couples the rows of the two domains, so every D has the rows of the *joint* batch, zero at first in the other
domain.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.losses import LOG_FLOOR, cosine
from uda_core.models.heads import Activations, Head


def gradient_discrepancy(
    heads: Sequence[Head],
    tapes: Sequence[list[Activations]],
    deltas: Sequence[tuple[Tensor, Tensor]],
) -> Tensor:
    """L_gd over the given heads, row-wise, from one forward pass.

    Args:
        heads: the heads, in training mode.
        tapes: what `Head.forward_with_activations` kept, per head.
        deltas: per head, the gradients [B, C] of the source and of the target loss with respect to that head's logits.
    """
    return sum(map(_head_discrepancy, heads, tapes, deltas)) / len(heads)


def logits_and_gradient_discrepancy(
    heads: Sequence[Head], f: Tensor, y_s: Tensor, y_hat: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Target logits of every head, and L_gd, from one forward of joint features f [2B, D] (source rows first)."""
    z_t, tapes, deltas = [], [], []
    for head in heads:
        z, tape = head.forward_with_activations(f)
        z_source, z_target = z.chunk(2)
        d_s, d_t = cross_entropy_delta(z_source, y_s), weighted_cross_entropy_delta(z_target, y_hat)
        deltas.append((torch.cat([d_s, torch.zeros_like(d_t)]), torch.cat([torch.zeros_like(d_s), d_t])))
        z_t.append(z_target)
        tapes.append(tape)
    return z_t, gradient_discrepancy(heads, tapes, deltas)


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
        if not last:
            d = d * layer.relu
            scale, shift = (d * layer.x_hat).sum(1, keepdim=True), d.sum(1, keepdim=True)  # BN's gradients, [2, 1, m]
            terms += [_vector_cosine(scale[:, 0]), _vector_cosine(shift[:, 0])]
            d = head.norms[i].weight * layer.inv_std * (d - (shift + layer.x_hat * scale) / len(layer.a))
        kd = layer.a @ layer.a.T @ d  # [2, B, m]
        terms.append(cosine((d[0] * kd[1]).sum(0), *(d * kd).sum(1)).mean())  # weight, one cosine per row
        if last:
            terms.append(_vector_cosine(d.sum(1)))  # bias; those before a batch norm count as cosine 0
        if i:
            d = d @ head.linears[i].weight * layer.dropout
    return 1 - sum(terms) / (len(terms) + head.unmatched)


def _vector_cosine(g: Tensor) -> Tensor:
    """Cosine between the two rows of g [2, m]."""
    return cosine((g[0] * g[1]).sum(), *(g * g).sum(1))
