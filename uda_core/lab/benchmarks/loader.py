"""Does reading images keep the accelerator busy? Images per second of the loader, of the step, and of both together.

The loader alone hands out batches that nobody trains on; the step alone trains on one batch over and over; together
they are a training run. The three are measured in turn, several times over, in one process; medians. CGDM has
pseudo-labels from the start, as in most of its steps; which ones does not matter here.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import trange

from uda_core.data.image_folders import folders
from uda_core.methods import CLASSIFICATION, Config
from uda_core.samples import AHEAD, Batches
from uda_core.task import Task

ROUNDS = 3


def measure(task: Task, method: str, config: Config, batches: int) -> dict:
    """Images per second, of both domains together, over `batches` batches at a time.

    The loader alone is measured over more: batches that are read at once are done at once, so they come in bursts.
    """
    loader = Batches(task.pair, config.batch_size, seed=1)
    run, ready = (CLASSIFICATION[method](task.pair, config) for _ in range(2))
    if method == "cgdm":
        y_hat = torch.zeros(len(task.pair.target_train), dtype=torch.int64, device=config.device)
        run.pseudo_labels = ready.pseudo_labels = y_hat
    batch = ready._next_batch()
    ready._next_batch = lambda: batch
    forms = {"loader": lambda: next(loader), "step": ready.step, "together": run.step}
    read = {"loader": loader, "together": run._batches}
    for form in forms.values():  # first calls allocate
        form()
    times = {"loader": max(batches, 10 * AHEAD), "step": batches, "together": batches}
    rates = {name: [] for name in forms}
    for _ in trange(ROUNDS, desc="bench loader", unit="round", leave=False):
        for name, form in forms.items():
            for _ in range(AHEAD if name in read else 0):  # what was read ahead before the clock ran does not count
                next(read[name])
            rates[name].append(2 * config.batch_size * times[name] / seconds(form, times[name]))
    of_config = {name: getattr(config, name) for name in ("network", "device", "batch_size")}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {"task": task.name, "method": method, **of_config, "images_per_second": medians}


def table(result: dict) -> str:
    """The figures of `measure`, a line each, and which of the two limits."""
    rates = result["images_per_second"]
    step = f"{result['method']}, {result['network']} on {result['device']}"
    names = {"loader": "loader alone", "step": f"step alone ({step})", "together": "together"}
    ratio = rates["loader"] / rates["step"]
    limit = f"the loader limits: it feeds {ratio:.0%} of what the step could take; more processor cores would help"
    if ratio >= 1:
        limit = f"the step limits: the loader could feed {ratio:.1f} of it"
    head = f"{result['task']}, {result['batch_size']} images of each domain in a batch, images per second:"
    return "\n".join([head, *(f"{rates[key]:9.1f}  {name}" for key, name in names.items()), limit])


def seconds(form: Callable[[], object], times: int) -> float:
    """Clock time of so many calls."""
    started = time.perf_counter()
    for _ in range(times):
        form()
    return time.perf_counter() - started


def made_up(folder: Path) -> Task:
    """A task of JPEGs that are made up for it, in this folder."""
    return folders(*(write_jpegs(folder / domain, seed) for seed, domain in enumerate(("source", "target"))))


def write_jpegs(folder: Path, seed: int, classes: int = 4, images: int = 40) -> Path:
    """Class folders of JPEGs with sides of 160 to 500 pixels: smooth colours under some grain, as a camera gives."""
    rng = np.random.default_rng(seed)
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for n in range(images):
            width, height = rng.integers(160, 501, 2)
            smooth = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((width, height))
            grain = rng.normal(0, 8, (height, width, 1))
            pixels = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{n:03}.jpg", quality=90)
    return folder
