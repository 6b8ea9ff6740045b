"""Samples of a domain, and the order in which a run sees them; those that are files are read ahead of their step.

Samples are tensors, or files that are read when they are indexed: whatever has a length and gives, for a tensor of n
indices, a tensor of n samples.  Labels are one a sample, int64 [N], or one a pixel, uint8 [N, H, W], `IGNORE` where a
pixel has none.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from uda_core.errors import UserError

if TYPE_CHECKING:
    from uda_core.task import Pair

IGNORE = 255  # label of a pixel, or pseudo-label, that counts nowhere
CHUNK = 2**23  # numbers that a network is given at a time outside training: 55 images of 224x224
AHEAD = 4  # batches of files that are being read while one trains


class Samples(Protocol):
    """A tensor [N, ...], or files that are read when indexed; files say in `size` (H, W) if they are all of one.

    Samples that are not tensors are read by index, ahead of time, from several threads at once.
    """

    def __len__(self) -> int:
        """N, the number of samples."""

    def __getitem__(self, i: Tensor) -> Tensor:
        """Samples i [n], in this order: [n, ...]."""


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
class Batch:
    """One step's data. `i_t` [B] are the target samples' places in the training set, to look up pseudo-labels by.

    Where several devices train one classifier, x_s and x_t are the samples of one, y_s and i_t those of all.
    """

    x_s: Tensor
    y_s: Tensor
    x_t: Tensor
    i_t: Tensor


class Batches:
    """Endless batches of a pair: both domains shuffled, epoch by epoch, each with its own seed.

    What is random in drawing the n-th batch (crops, flips) depends on seed and n alone: not on who draws it, nor when.
    Of several processes, each takes its own part of one common order.

    Raises:
        UserError: if a domain has fewer training samples than a batch; from `next`, if a file cannot be read.
    """

    def __init__(self, pair: "Pair", batch_size: int, seed: int, rank: int = 0, ranks: int = 1):
        self.pair, self.batch_size, self.seed, self.rank, self.ranks = pair, batch_size, seed, rank, ranks
        self.source = Shuffled(len(pair.source_train), batch_size * ranks, seed)
        self.target = Shuffled(len(pair.target_train), batch_size * ranks, seed + 1)
        self.drawn = 0
        self._ahead: deque[tuple[dict, Future]] = deque()  # batches under way, each with the state before it

    def __next__(self) -> Batch:
        if isinstance(self.pair.source_train.x, Tensor) and isinstance(self.pair.target_train.x, Tensor):
            return self._draw(*self._choose())
        while len(self._ahead) < AHEAD:
            self._ahead.append((self._now(), _reader().submit(self._draw, *self._choose())))
        batch = self._ahead[0][1].result()  # a file that cannot be read raises here, before it counts as given out
        self._ahead.popleft()
        return batch

    def _choose(self) -> tuple[int, Tensor, Tensor]:
        own = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        self.drawn += 1
        return self.drawn, next(self.source)[own], next(self.target)[own]

    def _draw(self, n: int, i_s: Tensor, i_t: Tensor) -> Batch:
        generator = torch.Generator().manual_seed(seed_of(self.seed, n, self.rank))
        (x_s, y_s), x_t = self.pair.source_train.draw(i_s, generator), self.pair.target_train.draw(i_t, generator)
        return Batch(x_s, y_s.long(), x_t, i_t)

    def _now(self) -> dict:
        return {"drawn": self.drawn, "source": self.source.state_dict(), "target": self.target.state_dict()}

    def __deepcopy__(self, memo: dict) -> "Batches":
        """A copy that goes on from here by itself; the data, which do not change, are not copied."""
        twin = Batches(self.pair, self.batch_size, self.seed, self.rank, self.ranks)
        twin.load_state_dict(self.state_dict())
        return twin

    def state_dict(self) -> dict:
        """Where the last batch given out left off, whatever has been read ahead of it."""
        return self._ahead[0][0] if self._ahead else self._now()

    def load_state_dict(self, state: dict) -> None:
        """Go on from a saved place; what had been read ahead is dropped."""
        self._ahead.clear()
        self.drawn = state["drawn"]
        self.source.load_state_dict(state["source"])
        self.target.load_state_dict(state["target"])


class Shuffled:
    """Endless batches of sample indices, reshuffled each epoch, the incomplete last batch dropped.

    Raises:
        UserError: if there are fewer samples than a batch takes.
    """

    def __init__(self, samples: int, batch_size: int, seed: int):
        if samples < batch_size:
            raise UserError(f"batch_size {batch_size} is larger than the {samples} training samples of a domain")
        self.samples, self.batch_size = samples, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self._order, self._position = torch.randperm(samples, generator=self.generator), 0

    def __next__(self) -> Tensor:
        if self._position + self.batch_size > self.samples:
            self._order, self._position = torch.randperm(self.samples, generator=self.generator), 0
        self._position += self.batch_size
        return self._order[self._position - self.batch_size : self._position]

    def state_dict(self) -> dict:
        """The order of this epoch, the place in it, and the generator of the next one's."""
        return {"order": self._order, "position": self._position, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a saved place.

        Raises:
            UserError: if the order does not hold each sample once, or the place is none of its own.
        """
        order, self._position = state["order"], state["position"]
        if not torch.equal(order.sort().values, torch.arange(self.samples)) or not 0 <= self._position <= self.samples:
            raise UserError(f"the order of the {self.samples} samples does not hold each of them once")
        self._order = order
        self.generator.set_state(state["generator"])


def seed_of(*numbers: int) -> int:
    """One seed for torch, from several whole numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1  # NumPy 1 cannot shift a uint64


def chunks(x: Samples, most: int = 1024, of: Tensor | None = None) -> Iterator[Tensor]:
    """Indices (all, or `of`) of `most` samples at a time, fewer of large ones; of files of many sizes, one by one."""
    size = None if isinstance(x, Tensor) else getattr(x, "size", None)
    sample = x.shape[1:] if isinstance(x, Tensor) else (3, *size) if size else (CHUNK,)
    places = torch.arange(len(x)) if of is None else of
    return iter(places.split(min(most, max(1, CHUNK // math.prod(sample)))))


def read(x: Samples, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """x[i] for each i of the chunks, in order; files are read ahead while the caller works with what came before."""
    if isinstance(x, Tensor):
        yield from (x[i] for i in chunks)
        return
    ahead: deque[Future] = deque()
    for i in chunks:
        ahead.append(_reader().submit(x.__getitem__, i))
        if len(ahead) > AHEAD:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


@cache
def _reader() -> ThreadPoolExecutor:
    """The threads that read ahead, one per batch, shared by all runs; each batch has others for its files."""
    return ThreadPoolExecutor(AHEAD, thread_name_prefix="reader")
