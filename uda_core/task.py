"""A task is a pair of domains that trains, and a truth that only evaluation opens."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uda_core.errors import UserError
from uda_core.samples import IGNORE, Labelled, Samples, Unlabelled


@dataclass(frozen=True)
class Pair:
    """What a method trains on: a labelled source and an unlabelled target, each with two splits.

    Raises:
        UserError: if a split is empty, or its samples or labels have a wrong type, shape or value.
    """

    name: str
    classes: tuple[str, ...]
    source_train: Labelled
    source_val: Labelled
    target_train: Unlabelled
    target_test: Unlabelled

    def __post_init__(self) -> None:
        for split in ("source_train", "source_val", "target_train", "target_test"):
            x = getattr(self, split).x
            if len(x) == 0:
                raise UserError(f"{self.name}: {split} is empty")
            if not isinstance(x, Tensor):  # files are checked when they are read
                continue
            if x.dtype != torch.float32:
                raise UserError(f"{self.name}: {split} must be float32, got {x.dtype}; convert it with .float()")
            first = self.source_train.x
            if isinstance(first, Tensor) and x.shape[1:] != first.shape[1:]:
                shapes = f"{list(x.shape[1:])}, those of source_train {list(first.shape[1:])}"
                raise UserError(f"{self.name}: {split} has samples of shape {shapes}")
            if not x.isfinite().all():
                raise UserError(f"{self.name}: {split} holds NaN or infinity; clean the data first")
        for split in ("source_train", "source_val"):
            _check_labels(f"{self.name}: {split}", getattr(self, split).x, getattr(self, split).y, self.classes)
        if isinstance(self.source_train.y, Tensor) and len(seen(self.source_train.y)) < 2:
            raise UserError(f"{self.name}: source_train has samples of one class only; a classifier needs two")

    @property
    def dense(self) -> bool:
        """Whether each pixel has a label (segmentation), not each sample (classification)."""
        y = self.source_train.y
        return not isinstance(y, Tensor) or y.ndim == 3


@dataclass(frozen=True)
class Truth:
    """The target's labels. Only `evaluation` and a board's Reveal open them."""

    target_train: Samples
    target_test: Samples


@dataclass(frozen=True)
class Task:
    """`pair` goes into `methods.CGDM(task.pair, ...)`, `truth` into `evaluation`."""

    pair: Pair
    truth: Truth | None  # None where the target has no labels: it trains, and has no score
    metric: str = "accuracy"
    subsets: dict[str, tuple[str, ...]] = field(default_factory=dict)  # protocol -> those of the classes that it scores
    source_split: str = "source_val"  # how tables call it: it may be part of what trained
    paths: dict[str, Sequence[str]] = field(default_factory=dict)  # split -> file of each sample, where x has no paths

    def __post_init__(self) -> None:
        for split in ("target_train", "target_test") if self.truth else ():
            x, y = getattr(self.pair, split).x, getattr(self.truth, split)
            _check_labels(f"{self.pair.name}: truth of {split}", x, y, self.pair.classes)

    @property
    def name(self) -> str:
        """The pair's name."""
        return self.pair.name


def seen(y: Tensor) -> Tensor:
    """The labels that occur in y, in order, without `IGNORE`."""
    labels = y.unique()
    return labels[labels != IGNORE] if y.dtype == torch.uint8 else labels


def _check_labels(where: str, x: Samples, y: Samples, classes: tuple[str, ...]) -> None:
    if len(x) != len(y):
        raise UserError(f"{where}: {len(x)} samples but {len(y)} labels")
    if not isinstance(y, Tensor):  # files are checked when they are read
        return
    if (y.dtype, y.ndim) not in ((torch.int64, 1), (torch.uint8, 3)):
        kinds = "int64 [N] or, one a pixel, uint8 [N, H, W]"
        raise UserError(f"{where}: labels must be {kinds}, got {y.dtype} of shape {list(y.shape)}")
    if y.ndim == 3 and isinstance(x, Tensor) and y.shape[1:] != x.shape[2:]:
        raise UserError(f"{where}: labels of size {list(y.shape[1:])} for images of size {list(x.shape[2:])}")
    labels = seen(y)
    if len(labels) and (labels[0] < 0 or labels[-1] >= len(classes)):
        raise UserError(f"{where}: labels run from {labels[0]} to {labels[-1]}, but there are {len(classes)} classes")
