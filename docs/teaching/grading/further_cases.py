"""Further hidden cases for exercises of the lessons. Not for students."""

import torch
from torch import Tensor


def _draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()


def _few_samples(seed: int) -> list[tuple]:
    """Three samples of five features; then many."""
    return [(_draw(seed, 3, 5), _draw(seed + 1, 3, 5)), (_draw(seed + 2, 40, 2), _draw(seed + 3, 30, 2))]


def _many_classes(seed: int) -> list[tuple]:
    """Two samples of twenty classes."""
    return [(_draw(seed, 2, 20), _draw(seed + 1, 2, 20))]


def _logits(seed: int) -> list[tuple]:
    """Two classes; then twenty, and one sample."""
    return [(_draw(seed, 6, 2).detach(),), (_draw(seed + 1, 1, 20).detach(),)]


CASES = {"coral": _few_samples, "classifier_discrepancy": _many_classes, "entropy": _logits}
