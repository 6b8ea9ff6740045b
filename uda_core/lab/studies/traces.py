"""What runs predict on the way, every 50 steps: for whoever asks how to choose one without labels.

Beside a results file NAME.csv, NAME.traces.csv has a line for each look at a run: row, seed, task, step, the score on
the target's test split (which needs labels) and the numbers of `validators.of_target` on its images (which do not).
The folder NAME.traces/ has an .npz file for each run, of arrays float16:

    steps [T]              of the looks; the last one is that of the last step
    target [T, H, N, C]    logits of the H heads on the target's test split, its first 3,000 samples at most
    source [T, H, M, C]    the same on the source's validation split
    target_features [N, D], source_features [M, D]    at the last step
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uda_core.evaluation import METRICS, confusion_counts, labels
from uda_core.files import write_whole
from uda_core.lab.validators import of_target
from uda_core.run import Run
from uda_core.task import Task

EVERY = 50  # steps
MOST = 3000  # samples of a split: its first ones


class Trace:
    """The looks at one run."""

    def __init__(self, task: Task):
        self.task, pair = task, task.pair
        self.x_t, self.x_s = (x[torch.arange(min(len(x), MOST))] for x in (pair.target_test.x, pair.source_val.x))
        self.lines, self.target, self.source = list[dict[str, float]](), list[Tensor](), list[Tensor]()
        self.features = dict[str, Tensor]()

    def look(self, run: Run, last: bool) -> None:
        """Keep what the run predicts, if it has come 50 steps further, or to its `last` step; it changes nothing."""
        if run.steps % EVERY and not last:
            return
        y, z = labels(self.task, "target_test"), run.predict(self.x_t)
        line: dict[str, float] = {"step": run.steps}
        if isinstance(y, Tensor):
            counts = confusion_counts(y[:MOST], sum(z).argmax(1).cpu(), len(self.task.pair.classes))
            line["score"] = METRICS[self.task.metric](counts)
        self.lines.append(line | of_target(run, *z))
        self.target.append(torch.stack(z).half().cpu())
        self.source.append(torch.stack(run.predict(self.x_s, "source")).half().cpu())
        if last:
            self.features["target_features"] = run.features(self.x_t).half().cpu()
            self.features["source_features"] = run.features(self.x_s, "source").half().cpu()

    def write(self, out: Path, row: str, seed: int, task: str) -> None:
        """Write it beside the results file `out`, in place of an earlier one of the same row, seed and task."""
        folder, table = out.with_suffix(".traces"), out.with_suffix(".traces.csv")
        folder.mkdir(exist_ok=True)
        arrays = {"target": torch.stack(self.target), "source": torch.stack(self.source)} | self.features
        steps = np.array([line["step"] for line in self.lines])
        named = {name: a.numpy() for name, a in arrays.items()}
        np.savez_compressed(file_of(folder, row, seed, task), steps=steps, **named)
        lines = pd.DataFrame(self.lines).round(4)
        lines = pd.concat({(row, seed, task): lines}, names=["row", "seed", "task"]).reset_index(level=(0, 1, 2))
        if table.exists():
            held = pd.read_csv(table, keep_default_na=False)
            same = (held["row"] == row) & (held["seed"] == seed) & (held["task"] == task)
            lines = pd.concat([held[~same], lines])
        write_whole(table, lines.to_csv(index=False, lineterminator="\n").encode())


def file_of(folder: Path, row: str, seed: int, task: str) -> Path:
    """Where the arrays of a run lie: `row-task-seed0.npz`, spelt so that any system takes it."""
    return folder / (re.sub(r"[^\w.+-]+", "_", "-".join(filter(None, (row, task, f"seed{seed}")))) + ".npz")
