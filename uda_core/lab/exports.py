"""What a trained run says about each sample, as files for other programs. Target labels are among it where known."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda_core.evaluation import Evaluation, labels
from uda_core.run import Run
from uda_core.samples import Samples, chunks, read
from uda_core.task import Task

SPLITS = ("source_val", "target_test")


def export(run: Run, task: Task, evaluation: Evaluation, folder: Path) -> list[str]:
    """Write into `folder`, which is made; returns the names of the files.

    confusion.csv: counts on the target, a row per true class, a column per predicted class. per_class.csv: of each
    class how many samples or pixels there are, and the share predicted right or the IoU. Neither where the target's
    labels are not known. Where each sample has a label, also:
    source_val.npz, target_test.npz: `features` [N, D], `classes` [C], `predictions` [N], `probabilities` [N, C], where
    known `labels` [N], and `paths` [N] where samples are files. They are feature files, which a task can be made of.
    predictions.csv: the samples of both, one a line, by path or index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes, written = task.pair.classes, []
    if evaluation.score is not None:
        rows = ([name, *counts] for name, counts in zip(classes, evaluation.confusion.tolist(), strict=True))
        written.append(_write(folder / "confusion.csv", ["true \\ predicted", *classes], rows))
        share = "iou" if evaluation.metric == "miou" else "accuracy"
        counted = "pixels" if task.pair.dense else "samples"
        counts = evaluation.confusion.sum(1).tolist()
        rows = (
            [name, n, "" if s is None else f"{s:.4f}"]
            for n, (name, s) in zip(counts, evaluation.per_class.items(), strict=True)
        )
        written.append(_write(folder / "per_class.csv", ["class", counted, share], rows))
    if task.pair.dense:
        return written
    lines = []
    for split in SPLITS:
        arrays = arrays_of(run, task, split)
        np.savez_compressed(folder / f"{split}.npz", **arrays)
        written.append(f"{split}.npz")
        lines += _lines(split, arrays)
    header = ["split", "sample", "label", "prediction", "probability"]
    return [*written, _write(folder / "predictions.csv", header, lines)]


def arrays_of(run: Run, task: Task, split: str) -> dict[str, np.ndarray]:
    """The arrays of one split. Probabilities are the softmax of the sum of the heads' logits."""
    samples, domain = getattr(task.pair, split), split.split("_")[0]
    f, z = zip(*_features_and_logits(run, samples.x, domain), strict=True)
    p = torch.cat(z).softmax(1)
    arrays = {
        "features": torch.cat(f).numpy(),
        "classes": np.array(task.pair.classes),
        "predictions": p.argmax(1).numpy(),
        "probabilities": p.numpy(),
    }
    y = labels(task, split)
    if y is not None:
        arrays["labels"] = y.numpy()
    if hasattr(samples.x, "paths"):
        arrays["paths"] = np.array([str(path) for path in samples.x.paths])
    return arrays


def _features_and_logits(run: Run, x: Samples, domain: str) -> Iterable[tuple[Tensor, Tensor]]:
    """Features and summed logits, in parts, on the CPU."""
    for part in read(x, chunks(x)):
        yield run.features(part, domain).cpu(), sum(run.predict(part, domain)).cpu()


def _lines(split: str, arrays: dict[str, np.ndarray]) -> Iterable[list]:
    classes, predictions = arrays["classes"], arrays["predictions"]
    true = classes[arrays["labels"]] if "labels" in arrays else [""] * len(predictions)
    samples = arrays.get("paths", range(len(predictions)))
    names, shares = classes[predictions], (f"{p:.4f}" for p in arrays["probabilities"].max(1))
    return map(list, zip([split] * len(predictions), samples, true, names, shares, strict=True))


def _write(path: Path, header: list[str], rows: Iterable[list]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path.name
