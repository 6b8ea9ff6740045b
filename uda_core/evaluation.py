"""The only room that sees target labels. What it returns is for people to read: nothing that trains may be handed it.

A run is anything with `predict(x)`, which returns the logits of the heads, each [N, C]; scores are shares from 0 to 1.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix
from torch import Tensor

from uda_core.data.task import Task
from uda_core.errors import choose


def overall_accuracy(confusion: np.ndarray) -> float:
    """Share of all samples that are predicted right: frequent classes count more."""
    return float(confusion.trace() / confusion.sum())


def mean_class_accuracy(confusion: np.ndarray) -> float:
    """Mean over the classes of the share predicted right. A class without samples has no share and is left out."""
    return float(np.nanmean(class_accuracies(confusion)))


METRICS = {"accuracy": overall_accuracy, "mean_class_accuracy": mean_class_accuracy}


@dataclass(frozen=True)
class Evaluation:
    """How well a run does on one target split, and on the source's validation split."""

    metric: str
    split: str
    score: float
    per_class: dict[str, float | None]  # by class name; None: the split has no sample of this class
    confusion: np.ndarray  # [C, C] counts; rows: true class, columns: predicted class
    source_score: float
    source_split: str = "source_val"

    def __str__(self) -> str:
        """Both scores, then of each class the share predicted right and the class it is most often taken for."""
        metric = self.metric.replace("_", " ")
        lines = [
            f"source, {self.source_split}: {metric} {self.source_score:.1%}",
            f"target, {self.split}: {metric} {self.score:.1%}",
            f"{'class':>12} {'samples':>8} {'right':>10}   most often taken for",
        ]
        classes = list(self.per_class)
        for true, (name, share) in enumerate(self.per_class.items()):
            wrong = self.confusion[true].copy()
            samples, wrong[true] = wrong.sum(), 0
            right = "no samples" if share is None else f"{share:.1%}"
            taken_for = f"{classes[wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""
            lines.append(f"{name:>12} {samples:8} {right:>10}   {taken_for}".rstrip())
        return "\n".join(lines)


def evaluate(run, task: Task, split: str = "target_test") -> Evaluation:
    """Score a run by the task's metric on `split` ("target_train" or "target_test") and on "source_val"."""
    choose("split", split, ("target_train", "target_test"))
    metric = METRICS[choose("metric", task.metric, METRICS)]
    classes, source = task.pair.classes, task.pair.source_val
    confusion = _confusion(run, getattr(task.pair, split).x, getattr(task.truth, split), len(classes))
    shares = [None if np.isnan(share) else float(share) for share in class_accuracies(confusion)]
    return Evaluation(
        metric=task.metric,
        split=split,
        score=metric(confusion),
        per_class=dict(zip(classes, shares, strict=True)),
        confusion=confusion,
        source_score=metric(_confusion(run, source.x, source.y, len(classes))),
    )


def predicted(run, x: Tensor) -> Tensor:
    """The class with the largest sum of the heads' logits, [N], on the CPU."""
    return sum(run.predict(x)).argmax(1).cpu()


def accuracy(run, x: Tensor, y: Tensor) -> float:
    """Share of the samples x whose predicted class is y."""
    return (predicted(run, x) == y).float().mean().item()


def pseudo_label_accuracy(run, task: Task) -> float | None:
    """Share of the target's training samples whose pseudo-label is right; None while the run has none."""
    if run.pseudo_labels is None:
        return None
    return (run.pseudo_labels.cpu() == task.truth.target_train).float().mean().item()


def class_accuracies(confusion: np.ndarray) -> np.ndarray:
    """Share predicted right of each class, [C]; NaN for a class without samples."""
    samples = confusion.sum(1)
    return np.divide(confusion.diagonal(), samples, out=np.full(len(samples), np.nan), where=samples > 0)


def _confusion(run, x: Tensor, y: Tensor, classes: int) -> np.ndarray:
    return confusion_matrix(y, predicted(run, x), labels=range(classes))
