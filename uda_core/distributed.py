"""Several processes, one run: who is who, and what they share. Built on torch.distributed; alone, nothing happens."""

from collections.abc import Sequence

from torch import Tensor, distributed


def rank() -> int:
    """Which of the processes this is, from 0."""
    return distributed.get_rank() if _together() else 0


def ranks() -> int:
    """How many processes train this run."""
    return distributed.get_world_size() if _together() else 1


def average_gradients_(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over the processes."""
    if not _together():
        return
    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= ranks()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
