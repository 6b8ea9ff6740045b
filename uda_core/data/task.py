"""A task is a pair of domains that trains, and a truth that only evaluation opens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uda_core.errors import UserError


@dataclass(frozen=True)
class Labelled:
    """Source samples: x [N, ...] float32, y [N] int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Unlabelled:
    """Target samples: x [N, ...] float32. A sample is known by its place in x; pseudo-labels are looked up by it."""

    x: Tensor

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Pair:
    """What a method is handed: a labelled source and an unlabelled target, each with two splits."""

    name: str
    classes: tuple[str, ...]
    source_train: Labelled
    source_val: Labelled
    target_train: Unlabelled
    target_test: Unlabelled

    def __post_init__(self):
        for split in ("source_train", "source_val", "target_train", "target_test"):
            x = getattr(self, split).x
            if len(x) == 0:
                raise UserError(f"{self.name}: {split} is empty")
            if x.dtype != torch.float32:
                raise UserError(f"{self.name}: {split} must be float32, got {x.dtype}; convert it with .float()")
            if x.shape[1:] != self.source_train.x.shape[1:]:
                shapes = f"{list(x.shape[1:])}, those of source_train {list(self.source_train.x.shape[1:])}"
                raise UserError(f"{self.name}: {split} has samples of shape {shapes}")
            if not x.isfinite().all():
                raise UserError(f"{self.name}: {split} holds NaN or infinity; clean the data first")
        for split in ("source_train", "source_val"):
            _check_labels(f"{self.name}: {split}", getattr(self, split).x, getattr(self, split).y, self.classes)
        if len(self.source_train.y.unique()) < 2:
            raise UserError(f"{self.name}: source_train has samples of one class only; a classifier needs two")


@dataclass(frozen=True)
class Truth:
    """The target's labels. Only `evaluation` and a board's Reveal open them."""

    target_train: Tensor
    target_test: Tensor


@dataclass(frozen=True)
class Task:
    """`pair` goes into `methods.cgdm(task.pair, ...)`, `truth` into `evaluation`."""

    pair: Pair
    truth: Truth
    metric: str = "accuracy"

    def __post_init__(self):
        for split in ("target_train", "target_test"):
            x, y = getattr(self.pair, split).x, getattr(self.truth, split)
            _check_labels(f"{self.pair.name}: truth of {split}", x, y, self.pair.classes)

    @property
    def name(self) -> str:
        return self.pair.name


def _check_labels(where: str, x: Tensor, y: Tensor, classes: tuple[str, ...]) -> None:
    if len(x) != len(y):
        raise UserError(f"{where}: {len(x)} samples but {len(y)} labels")
    if y.dtype != torch.int64 or y.ndim != 1:
        raise UserError(f"{where}: labels must be int64, one a sample, got {y.dtype} of shape {list(y.shape)}")
    if y.min() < 0 or y.max() >= len(classes):
        raise UserError(f"{where}: labels run from {y.min()} to {y.max()}, but there are {len(classes)} classes")
