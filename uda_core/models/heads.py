"""The classifier head of MCD and CGDM: linear-BN-ReLU blocks, then one linear layer.

Letters: B samples, D features, C classes; a [B, n] input of a linear layer, h [B, m] its output.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Activations:
    """What one linear layer, and the batch norm and ReLU behind it, did to a batch: all that its gradient needs."""

    a: Tensor  # [B, n] input of the linear layer
    x_hat: Tensor | None = None  # [B, m] normalised output; None for the last layer, which has no batch norm
    inv_std: Tensor | None = None  # [m]
    relu: Tensor | None = None  # [B, m] 1 where the ReLU is open
    dropout: Tensor | float = 1.0  # [B, n] factor applied to the layer's input


class Head(nn.Module):
    """Dropout > Linear > BN > ReLU, once per hidden width, then Linear (lijin118/CGDM, models/basenet.py).

    No dropout before the last layer, where MCD's for MNIST and USPS have one.  Two heads differ only in their random
    start, which is torch's own here.
    """

    def __init__(self, in_features: int, classes: int, hidden: Sequence[int], dropout: float):
        super().__init__()
        widths = [in_features, *hidden]
        self.linears = nn.ModuleList(nn.Linear(n, m) for n, m in zip(widths, [*hidden, classes], strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(m) for m in hidden)
        self.dropout = dropout

    def forward(self, f: Tensor) -> Tensor:
        """[B, D] -> logits [B, C]."""
        for linear, norm in zip(self.linears, self.norms, strict=False):
            f = norm(linear(F.dropout(f, self.dropout, self.training))).relu()
        return self.linears[-1](f)

    def forward_with_activations(self, f: Tensor) -> tuple[Tensor, list[Activations]]:
        """The same in training mode, written out, keeping what `closed_form.gradient_discrepancy` needs."""
        tape = []
        for linear, norm in zip(self.linears, self.norms, strict=False):
            mask = F.dropout(torch.ones_like(f), self.dropout) if self.dropout else 1.0
            a = f * mask
            h = linear(a)
            var, mean = torch.var_mean(h, 0, correction=0)
            with torch.no_grad():
                norm.num_batches_tracked += 1
                norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
                norm.running_var.lerp_(var.to(norm.running_var.dtype) * len(h) / (len(h) - 1), norm.momentum)
            inv_std = (var + norm.eps).rsqrt()
            x_hat = (h - mean) * inv_std
            h = norm.weight * x_hat + norm.bias
            tape.append(Activations(a, x_hat, inv_std, (h > 0).to(h.dtype), mask))
            f = h.relu()
        tape.append(Activations(f))
        return self.linears[-1](f), tape

    def matched_parameters(self) -> list[Tensor]:
        """Every tensor but the biases before a batch norm, whose gradient is zero but for rounding."""
        skip = {id(linear.bias) for linear in list(self.linears)[:-1]}
        return [p for p in self.parameters() if id(p) not in skip]

    @property
    def unmatched(self) -> int:
        """How many tensors `matched_parameters` leaves out."""
        return len(self.norms)
