"""The only room that sees target labels. What it returns is for people to read, and never an input of what trains.

A run is anything with `predict(x, domain)`, which returns the logits of the heads, each [N, C], or [N, C, H, W] where
each pixel has a label; scores are shares from 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uda_core.errors import choose
from uda_core.maps import at_stride
from uda_core.run import Run
from uda_core.samples import IGNORE, Samples, chunks, read
from uda_core.task import Pair, Task


def overall_accuracy(confusion: np.ndarray) -> float:
    """Share of all samples that are predicted right: frequent classes count more."""
    return float(confusion.trace() / confusion.sum())


def mean_class_accuracy(confusion: np.ndarray) -> float:
    """Mean over the classes of the share predicted right. A class without samples has no share and is left out."""
    return float(np.nanmean(class_accuracies(confusion)))


def mean_iou(confusion: np.ndarray, columns: Sequence[int] | None = None, absent_counts: bool = False) -> float:
    """Mean over the classes (or over `columns`) of the intersection over union, of one confusion matrix for the split.

    A class of which the split has no pixel has no IoU and is left out, by name (`Evaluation.absent`); pixels wrongly
    given to it still count against the others. CAG-UDA's authors count it 0 if it is predicted anywhere (metrics.py),
    as does this with `absent_counts`. No task does: Cityscapes' validation images, on which the published recipes for
    GTA5 and SYNTHIA are scored, hold every class, where both are one.
    """
    ious = class_ious(confusion)
    if absent_counts:
        ious[np.isnan(ious) & (confusion.sum(0) > 0)] = 0.0
    return float(np.nanmean(ious if columns is None else ious[list(columns)]))


@dataclass(frozen=True)
class Evaluation:
    """How well a run does on one target split, and on the source's validation split."""

    metric: str
    split: str
    score: float | None  # None: the target's labels are not known
    per_class: dict[str, float | None]  # by class name; None: the split has no sample known to be of this class
    confusion: np.ndarray  # [C, C] counts; rows: true class, columns: predicted class
    source_score: float
    source_split: str = "source_val"
    subsets: dict[str, float] = field(default_factory=dict)  # the metric over some of the classes, by protocol

    @property
    def absent(self) -> list[str]:
        """Classes of which the split has no sample: they count in no mean."""
        return [name for name, share in self.per_class.items() if share is None]

    def __str__(self) -> str:
        """Both scores, then each class: its share predicted right, or its IoU, and what it is most often taken for."""
        metric = self.metric.replace("_", " ").replace("miou", "mIoU")
        counted, share_of = ("pixels", "IoU") if self.metric == "miou" else ("samples", "right")
        absent = f", without {', '.join(self.absent)}, of which there is nothing" if self.absent else ""
        source = f"source, {self.source_split}: {metric} {self.source_score:.1%}"
        if self.score is None:
            return f"{source}\ntarget, {self.split}: {metric} not known, for there are no labels"
        lines = [
            source,
            f"target, {self.split}: {metric} {self.score:.1%}{absent}",
            *(f"target, {self.split}: {metric} over {name} {score:.1%}" for name, score in self.subsets.items()),
            f"{'class':>13} {counted:>9} {share_of:>10}   most often taken for",
        ]
        classes = list(self.per_class)
        for true, (name, share) in enumerate(self.per_class.items()):
            wrong = self.confusion[true].copy()
            samples, wrong[true] = wrong.sum(), 0
            right = f"no {counted}" if share is None else f"{share:.1%}"
            taken_for = f"{classes[wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""
            lines.append(f"{name:>13} {samples:9} {right:>10}   {taken_for}".rstrip())
        return "\n".join(lines)


METRICS = {"accuracy": overall_accuracy, "mean_class_accuracy": mean_class_accuracy, "miou": mean_iou}


def evaluate(run: Run, task: Task, split: str = "target_test") -> Evaluation:
    """Score a run by the task's metric on `split` ("target_train" or "target_test") and on "source_val"."""
    choose("split", split, ("target_train", "target_test"))
    metric = METRICS[choose("metric", task.metric, METRICS)]
    classes, source = task.pair.classes, task.pair.source_val
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    if task.truth:
        confusion = _confusion(run, getattr(task.pair, split).x, getattr(task.truth, split), len(classes), "target")
    shares = (class_ious if task.metric == "miou" else class_accuracies)(confusion)
    return Evaluation(
        metric=task.metric,
        split=split,
        score=metric(confusion) if task.truth else None,
        per_class={name: None if np.isnan(s) else float(s) for name, s in zip(classes, shares, strict=True)},
        confusion=confusion,
        source_score=metric(_confusion(run, source.x, source.y, len(classes), "source")),
        source_split=task.source_split,
        subsets={name: mean_iou(confusion, [classes.index(c) for c in some]) for name, some in task.subsets.items()},
    )


def labels(task: Task, split: str) -> Samples | None:
    """The labels of a split; None where the target's are not known."""
    return getattr(task.pair, split).y if split.startswith("source") else getattr(task.truth, split, None)


def predicted(run: Run, x: Tensor, domain: str = "target") -> Tensor:
    """The class with the largest sum of the heads' logits, [N] or [N, H, W], on the CPU."""
    first, *others = run.predict(x, domain)
    return sum(others, start=first).argmax(1).cpu()


def accuracy(run: Run, x: Tensor, y: Tensor) -> float:
    """Share of the samples x whose predicted class is y."""
    return (predicted(run, x) == y).float().mean().item()


def pseudo_label_accuracy(run: Run, task: Task) -> float | None:
    """Share of the target's training samples whose pseudo-label is right; None while it is not known."""
    if run.pseudo_labels is None or task.truth is None:
        return None
    i = torch.arange(len(task.truth.target_train))
    return (run.pseudo_labels.cpu() == task.truth.target_train[i]).float().mean().item()


@dataclass(frozen=True)
class LabelQuality:
    """How good the pseudo-labels of pixels are, per class, [C] each; NaN where nothing was to count."""

    coverage: np.ndarray  # of the pixels of a class, the share that has a pseudo-label, whichever
    precision: np.ndarray  # of the pixels with this pseudo-label, the share that is right
    recall: np.ndarray  # of the pixels of a class, the share with the right pseudo-label
    overall_coverage: float
    overall_precision: float

    def as_dict(self, classes: Sequence[str]) -> dict:
        """Plain values, rounded, for a file: shares by class name, None where there is none."""

        def plain(share: float) -> float | None:
            return None if np.isnan(share) else round(float(share), 4)

        names = ("coverage", "precision", "recall")
        per_class = {n: {c: plain(v) for c, v in zip(classes, getattr(self, n), strict=True)} for n in names}
        return per_class | {n: plain(getattr(self, n)) for n in ("overall_coverage", "overall_precision")}


def pseudo_label_quality(run: Any, task: Task, kind: str = "by_anchor", split: str = "target_train") -> LabelQuality:
    """Of the labels that a CAG run would train on now: `kind` "by_anchor" or "by_confidence"."""
    x, y, classes = getattr(task.pair, split).x, getattr(task.truth, split), len(task.pair.classes)
    labelled, total = np.zeros((classes, classes), np.int64), np.zeros(classes, np.int64)
    for i in chunks(x, 16):
        y_hat = getattr(run.label(x[i].to(run.config.device), run.settings), kind).cpu()
        true = at_stride(y[i], y_hat)
        labelled += confusion_counts(true.where(y_hat != IGNORE, IGNORE), y_hat, classes)
        total += np.bincount(true[true != IGNORE], minlength=classes)
    return label_quality(labelled, total)


def label_qualities(run: Any, task: Task) -> dict[str, dict]:
    """`pseudo_label_quality` of both kinds, as plain values for a file."""
    kinds = {"anchors": "by_anchor", "confidence": "by_confidence"}
    return {name: pseudo_label_quality(run, task, kind).as_dict(task.pair.classes) for name, kind in kinds.items()}


def label_quality(labelled: np.ndarray, total: np.ndarray) -> LabelQuality:
    """From the confusion [C, C] of the pixels that have a pseudo-label, and the number of pixels [C] of each class."""
    right = labelled.diagonal()
    return LabelQuality(
        _share(labelled.sum(1), total),
        _share(right, labelled.sum(0)),
        _share(right, total),
        float(_share(labelled.sum(), total.sum())),
        float(_share(right.sum(), labelled.sum())),
    )


def class_accuracies(confusion: np.ndarray) -> np.ndarray:
    """Share predicted right of each class, [C]; NaN for a class without samples."""
    return _share(confusion.diagonal(), confusion.sum(1))


def class_ious(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, [C]; NaN for a class of which no pixel is labelled."""
    right, true = confusion.diagonal(), confusion.sum(1)
    return np.where(true > 0, _share(right, true + confusion.sum(0) - right), np.nan)


def confusion_counts(y: Tensor, prediction: Tensor, classes: int) -> np.ndarray:
    """[C, C] counts, rows: true class, columns: predicted class; a pixel whose label is `IGNORE` counts nowhere."""
    counted = y != IGNORE if y.ndim > 1 else slice(None)
    pairs = classes * y[counted].long() + prediction[counted].long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).numpy()


def supervised(task: Task) -> Pair:
    """The ceiling: a pair whose source is the *labelled* target. To compare with, and for nothing else."""
    assert task.truth is not None, "there are no labels to train on"
    target = replace(task.pair.source_train, x=task.pair.target_train.x, y=task.truth.target_train)
    test = replace(task.pair.source_val, x=task.pair.target_test.x, y=task.truth.target_test)
    return replace(task.pair, name=f"{task.name}-supervised", source_train=target, source_val=test)


def _confusion(run: Run, x: Samples, y: Samples, classes: int, domain: str) -> np.ndarray:
    counts = np.zeros((classes, classes), np.int64)
    parts = list(chunks(x, 16 if not isinstance(y, Tensor) or y.ndim == 3 else 1024))
    for i, part in zip(parts, read(x, parts), strict=True):
        counts += confusion_counts(y[i], predicted(run, part, domain), classes)
    return counts


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
