"""How long it will take on this machine, from the first steps of a run, or from a few that are thrown away."""

import shlex
import time

import torch
from torch import Tensor, nn

from uda_core.lab.recipe import Recipe
from uda_core.run import RunConfig
from uda_core.samples import Labelled, Samples, Unlabelled
from uda_core.task import Pair

FIRST_STEPS, FIRST_SECONDS = 6, 10.0  # whichever ends first: then it is known how long a run takes
LONG = 10.0  # minutes
TRIED = 3  # steps of a method, and twice as many images, that are thrown away


def of_training(times: list[float], left: int) -> str:
    """One line, once, after the first steps of a run that has more than `LONG` minutes to go; else nothing.

    `times`, seconds before the first step and after each, are emptied then. The first step, which is slower than the
    others, counts where it is the only one. `left` more steps.
    """
    if len(times) <= FIRST_STEPS and times[-1] - times[0] <= FIRST_SECONDS:
        return ""
    step = (times[-1] - times[1]) / (len(times) - 2) if len(times) > 2 else times[1] - times[0]
    times.clear()
    minutes = step * left / 60
    if minutes < LONG:
        return ""
    long = f"{minutes / 60:.0f} hours" if minutes > 120 else f"{minutes:.0f} minutes"
    return f"about {long} to go: {left} steps of {step:.2g} s"


def on_cpu(config: RunConfig, what: dict) -> str:
    """A line, before a large network trains on folders without a GPU, that names what takes minutes; else nothing."""
    if what["task"] != "folders" or config.device != "cpu" or getattr(config, "network", "small") == "small":
        return ""
    own = shlex.join([what["source"], what["target"]])
    return f"on a CPU this takes hours or days; frozen features, minutes: uda compare {own}; a GPU: --set device=cuda"


def of_sample(net: nn.Module, x: Samples) -> float:
    """Seconds for a sample, read and put through the network."""
    i, device = torch.arange(min(2 * TRIED, len(x))), next(net.parameters()).device
    with torch.no_grad():
        net(x[i[:1]].to(device))
        started = time.perf_counter()
        net(x[i].to(device)).cpu()
    return (time.perf_counter() - started) / len(i)


def of_run(recipe: Recipe, pair: Pair) -> float:
    """Seconds for the steps of a run; 0 where they are too few to try some, or losses do not stay finite."""
    run = recipe.start(pair)
    steps = recipe.length(run)
    if steps <= TRIED:
        return 0.0
    try:
        run.step()
        started = time.perf_counter()
        for _ in range(TRIED):
            run.step()
    except FloatingPointError:
        return 0.0
    return (time.perf_counter() - started) / TRIED * steps


def stand_in(y_s: Tensor, target: int, classes: tuple[str, ...], width: int) -> Pair:
    """Random features of samples with labels y_s, and of so many of the target: steps take as long as on real ones."""
    labelled, unlabelled = Labelled(torch.randn(len(y_s), width), y_s), Unlabelled(torch.randn(target, width))
    return Pair("stand-in", classes, labelled, labelled, unlabelled, unlabelled)
