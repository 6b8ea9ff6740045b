"""Scores with a progress bar; what the networks said on the way can be kept, so that no sample passes them twice."""

import torch
from torch import Tensor
from tqdm import tqdm

from uda_core import evaluation
from uda_core.run import Run
from uda_core.samples import chunks, read
from uda_core.task import Task

SILENT = 2  # seconds before the bar appears
SPLITS = {"source": "source_val", "target": "target_test"}  # that are scored
Kept = dict[str, tuple[Tensor, Tensor]]  # split -> features [N, D] and the sum of the heads' logits [N, C]


def evaluate(run: Run, task: Task, kept: Kept | None = None) -> evaluation.Evaluation:
    """`evaluation.evaluate` on the target's test split.

    If `kept` is given, it is filled with both splits, whether or not the target has labels. Pixels are never kept.
    """
    keep = kept is not None and not task.pair.dense
    known = {split for split in SPLITS.values() if evaluation.labels(task, split) is not None}
    scored = [split for split in SPLITS.values() if keep or split in known]
    total = sum(len(getattr(task.pair, split)) for split in scored)
    with tqdm(total=total, unit="sample", desc="scoring", delay=SILENT) as bar:
        watched = _Watched(run, bar, keep)
        scores = evaluation.evaluate(watched, task)  # type: ignore[arg-type]  # anything with `predict` will do
        if keep and "target_test" not in known:
            x = task.pair.target_test.x
            for part in read(x, chunks(x)):
                watched.predict(part, "target")
    if keep:
        for domain, parts in watched.parts.items():
            kept[SPLITS[domain]] = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    return scores


class _Watched:
    """A run as evaluation sees it."""

    def __init__(self, run: Run, bar: tqdm, keep: bool):
        self.run, self.bar, self.keep = run, bar, keep
        self.parts: dict[str, list[tuple[Tensor, Tensor]]] = {domain: [] for domain in SPLITS}

    def predict(self, x: Tensor, domain: str) -> tuple[Tensor, ...]:
        if self.keep:
            f, z = self.run.features_and_logits(x, domain)
            self.parts[domain].append((f.cpu(), sum(z).cpu()))
        else:
            z = self.run.predict(x, domain)
        self.bar.update(len(x))
        return z
