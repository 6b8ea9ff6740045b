"""Other labels inside the gradient discrepancy L_gd, and nowhere else: does it listen to them? None needs the truth."""

from collections.abc import Callable

import torch
from torch import Tensor

from uda_core.methods.cgdm import CGDMRun
from uda_core.run import Loss
from uda_core.samples import seed_of


def shuffled(y_hat: Tensor, seed: int) -> Tensor:
    """The labels [B] in a random order: as many of each class, on other samples."""
    return y_hat[torch.randperm(len(y_hat), generator=torch.Generator().manual_seed(seed)).to(y_hat.device)]


def exchanged(y_hat: Tensor, seed: int = 0) -> Tensor:
    """The labels [B], with 0 in place of 1 and 1 in place of 0: a wrong class for every sample of these two."""
    return torch.where((y_hat == 0) | (y_hat == 1), 1 - y_hat, y_hat)


CHANGES: dict[str, Callable[[Tensor, int], Tensor]] = {"shuffled": shuffled, "exchanged": exchanged}


def change_(run: CGDMRun, how: str) -> None:
    """From here on L_gd of this run, and nothing else, gets changed pseudo-labels: those of a step one permutation."""
    as_it_is = run.classify_with_gradient_discrepancy

    def changed(f: Tensor, y_s: Tensor, y_hat: Tensor, wanted: bool = True) -> tuple[tuple[Tensor, Tensor], Loss]:
        return as_it_is(f, y_s, CHANGES[how](y_hat, seed_of(run.config.seed, run.steps)), wanted)

    run.classify_with_gradient_discrepancy = changed  # type: ignore[method-assign]
