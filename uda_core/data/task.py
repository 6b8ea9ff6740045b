"""A task is a pair of domains that trains, and a truth that only evaluation opens.

Samples are tensors, or files that are read when they are indexed: whatever has a length and gives, for a tensor of n
indices, a tensor of n samples.  Labels are one a sample, int64 [N], or one a pixel, uint8 [N, H, W], `IGNORE` where a
pixel has none.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from uda_core.errors import UserError

HELD_OUT = 10  # one source sample in so many validates, where a set has no split of its own
IGNORE = 255  # label of a pixel that counts nowhere
CHUNK = 2**23  # numbers that a network is given at a time when it is only looked at: 55 images of 224x224


class Samples(Protocol):
    """A tensor [N, ...], or files that are read when indexed; files say in `size` (H, W) if they are all of one.

    What is no tensor is asked for ahead of time, by several threads at once.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, i: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Labelled:
    """Source samples: x [N, ...] float32, and y."""

    x: Samples
    y: Samples

    def __len__(self) -> int:
        return len(self.x)

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Samples i as a training step gets them; where a set is augmented, it happens here, by this generator."""
        return self.x[i], self.y[i]


@dataclass(frozen=True)
class Unlabelled:
    """Target samples: x [N, ...] float32. A sample is known by its place in x; pseudo-labels are looked up by it."""

    x: Samples

    def __len__(self) -> int:
        return len(self.x)

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Samples i as a training step gets them; where a set is augmented, it happens here, by this generator."""
        return self.x[i]


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
            if not isinstance(x, Tensor):  # files are looked at when they are read
                continue
            if x.dtype != torch.float32:
                raise UserError(f"{self.name}: {split} must be float32, got {x.dtype}; convert it with .float()")
            if x.shape[1:] != self.source_train.x.shape[1:]:
                shapes = f"{list(x.shape[1:])}, those of source_train {list(self.source_train.x.shape[1:])}"
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
    """`pair` goes into `methods.cgdm(task.pair, ...)`, `truth` into `evaluation`."""

    pair: Pair
    truth: Truth | None  # None where nobody knows the target's labels: it trains, and has no score
    metric: str = "accuracy"
    subsets: dict[str, tuple[str, ...]] = field(default_factory=dict)  # protocol -> those of the classes that it scores
    source_split: str = "source_val"  # how tables call it: it may be part of what trained

    def __post_init__(self):
        for split in ("target_train", "target_test") if self.truth else ():
            x, y = getattr(self.pair, split).x, getattr(self.truth, split)
            _check_labels(f"{self.pair.name}: truth of {split}", x, y, self.pair.classes)

    @property
    def name(self) -> str:
        return self.pair.name


def chunks(x: Samples, most: int = 1024, of: Tensor | None = None) -> Iterator[Tensor]:
    """Indices (all, or `of`) of `most` samples at a time, fewer of large ones; of files of many sizes, one by one."""
    size = None if isinstance(x, Tensor) else getattr(x, "size", None)
    sample = x.shape[1:] if isinstance(x, Tensor) else (3, *size) if size else (CHUNK,)
    places = torch.arange(len(x)) if of is None else of
    return iter(places.split(min(most, max(1, CHUNK // math.prod(sample)))))


def tenth(y: Tensor) -> Tensor:
    """[N] whether a sample is the second, twelfth, 22nd ... of its class: a class with one sample keeps it."""
    place = torch.empty_like(y)
    for label in y.unique():
        mine = y == label
        place[mine] = torch.arange(int(mine.sum()))
    return place % HELD_OUT == 1


def seen(y: Tensor) -> Tensor:
    """The labels that occur in y, in order, without `IGNORE`."""
    labels = y.unique()
    return labels[labels != IGNORE] if y.dtype == torch.uint8 else labels


def _check_labels(where: str, x: Samples, y: Samples, classes: tuple[str, ...]) -> None:
    if len(x) != len(y):
        raise UserError(f"{where}: {len(x)} samples but {len(y)} labels")
    if not isinstance(y, Tensor):  # files are looked at when they are read
        return
    if (y.dtype, y.ndim) not in ((torch.int64, 1), (torch.uint8, 3)):
        kinds = "int64 [N] or, one a pixel, uint8 [N, H, W]"
        raise UserError(f"{where}: labels must be {kinds}, got {y.dtype} of shape {list(y.shape)}")
    if y.ndim == 3 and isinstance(x, Tensor) and y.shape[1:] != x.shape[2:]:
        raise UserError(f"{where}: labels of size {list(y.shape[1:])} for images of size {list(x.shape[2:])}")
    labels = seen(y)
    if len(labels) and (labels[0] < 0 or labels[-1] >= len(classes)):
        raise UserError(f"{where}: labels run from {labels[0]} to {labels[-1]}, but there are {len(classes)} classes")
