"""Is L_gd more than a second way to use the same pseudo-labels? The gradients of CGDM's losses, side by side.

With respect to the features' weights, at checkpoints of a run, heads in training mode as in step C, the losses of a
batch under the same dropout; L_gd with the target labels inside it as they are, changed, and true.  Nothing trains on
any of it: a copy of the run is measured.
"""

import copy
from collections.abc import Callable, Sequence
from statistics import mean
from typing import cast

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from uda_core.evaluation import labels
from uda_core.lab.recipe import default_for
from uda_core.lab.results import GRADIENTS
from uda_core.lab.studies.gradient_labels import exchanged, shuffled
from uda_core.losses import classifier_discrepancy, row_cosine
from uda_core.methods.cgdm import CGDMRun, CGDMSettings
from uda_core.methods.classification import ce, im
from uda_core.run import Loss
from uda_core.samples import Batch, Batches, seed_of
from uda_core.task import Task
from uda_core.training import fit, gradients

STEPS = (100, 200, 400)
SIZES = (64, 896, 1024)  # of 1,797 target images two batches of 896 share none, two of 1,024 more than half
PAIRS = 4  # of batches, for each step and size
TRUTH = "L_ce of the true labels"
Measured = dict[str, dict[str, float]]  # loss -> measure -> value


def measure(task: Task, seeds: list[int], steps: Sequence[int] = STEPS, sizes: Sequence[int] = SIZES) -> pd.DataFrame:
    """`measured` at each step and size, while CGDM trains with its recipe and the authors' `beta`: a line a loss."""
    y, rows = cast(Tensor, labels(task, "target_train")), []
    made = default_for("cgdm", task.name).changed(settings={"beta": CGDMSettings().beta})
    for seed in seeds:
        run = made.start(task.pair, seed=seed)
        for record in tqdm(fit(run, max(steps)), f"seed {seed}", max(steps), unit="step", leave=False):
            for size in sizes if record.step in steps else ():
                of_losses = measured(run, y, size)
                at = {"seed": seed, "step": record.step, "batch_size": size}
                rows += [at | {"loss": loss} | values for loss, values in of_losses.items()]
    return pd.DataFrame(rows)


def measured(run: CGDMRun, y: Tensor, size: int, pairs: int = PAIRS) -> Measured:
    """Each measure of each loss, the mean over pairs of batches of `size`, drawn in the order of an epoch.

    `y` [N] are the true labels of the target's training samples, the pseudo-labels those that the next step would have.
    The run stays as it is.
    """
    twin, s, found = copy.deepcopy(run), run.settings, list[Measured]()
    batches = Batches(run.pair, size, seed_of(run.config.seed, run.steps))
    with torch.random.fork_rng(devices=[]):
        y_hat = twin.pseudo_labels_of(torch.arange(len(y)), s.warm_up, s.refresh)
        for n in range(pairs):
            drawn = ((next(batches), seed_of(n, i)) for i in range(2))
            found.append(compared(*(of_losses(twin, b, y_hat[b.i_t], y[b.i_t], seed) for b, seed in drawn)))
    return {loss: {of: mean(pair[loss][of] for pair in found) for of in GRADIENTS} for loss in found[0]}


def of_losses(run: CGDMRun, batch: Batch, y_hat: Tensor, y: Tensor, seed: int) -> dict[str, Tensor]:
    """The gradient of each loss, as one vector; y_hat and y [B] pseudo-labels and true labels of the batch's target.

    It draws from the global random state and moves the batch-norm statistics of the run.
    """

    def l_gd(y_t: Tensor) -> Callable[[Tensor], Loss]:
        return lambda f: run.classify_with_gradient_discrepancy(f, batch.y_s, y_t)[1]

    def on_target(loss: Callable[..., Loss], *y_t: Tensor) -> Callable[[Tensor], Loss]:
        return lambda f: loss(run.classify(f)[1], *y_t)

    losses = {
        "L_gd": l_gd(y_hat),
        "L_gd, shuffled": l_gd(shuffled(y_hat, seed)),
        "L_gd, exchanged": l_gd(exchanged(y_hat)),
        "L_gd, true labels": l_gd(y),
        "L_wce": on_target(run.wce, y_hat),
        "L_dis": on_target(lambda z_t: classifier_discrepancy(*z_t)),
        "L_im": on_target(im),
        TRUTH: on_target(ce, y),
    }
    found = {}
    for name, loss in losses.items():
        torch.manual_seed(seed)  # one dropout for all
        of_loss = gradients(cast(Tensor, loss(run.embed(batch.x_s, batch.x_t))), run.features_opt)
        found[name] = torch.cat([g.flatten() for g in of_loss.values() if g is not None])
    return found


def compared(first: dict[str, Tensor], second: dict[str, Tensor]) -> Measured:
    """The measures of each loss from its gradients on two batches; those within a batch are the mean of both."""

    def cosine(a: str, b: str) -> float:
        return mean(row_cosine(g[a], g[b]).item() for g in (first, second))

    return {
        loss: {
            "wce": cosine(loss, "L_wce"),
            "truth": cosine(loss, TRUTH),
            "gd": cosine(loss, "L_gd"),
            "again": row_cosine(first[loss], second[loss]).item(),
            "norm": mean((g[loss].norm() / g["L_dis"].norm()).item() for g in (first, second)),
        }
        for loss in first
    }
