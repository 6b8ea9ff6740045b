"""The board's loop without its widgets: train, look, move the map, measure - one thing at a time, whoever asks.

Letters: N points on the map (source first, then target), M target samples in all, C classes.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uda_core import validators
from uda_core.data.task import Pair
from uda_core.live.feature_map import FeatureMap, umap_error, umap_ready
from uda_core.methods.run import Record, Run, RunConfig, evaluating

BUDGET = 0.045  # seconds of training in one go
LOOKS, PACE = 60, 0.3  # frames over the planned steps at least; seconds of training between two at most
MEASURE = 1.0  # seconds between two measurements of the slower numbers
NO_LABEL = 65535  # where a pseudo-label or a centroid is missing
POINTS, SCORED = 1000, 5000  # most samples per domain on the map; most target samples that accuracy is taken over


@dataclass(frozen=True)
class Frame:
    """One picture of the film. All bytes are little-endian uint16."""

    step: int
    map: str  # "PCA" or "UMAP"
    positions: bytes  # [N, 2]
    predictions: bytes  # [N]
    pseudo_labels: bytes  # [N - source], 65535 where there are none yet
    centroids: bytes  # [2, C, 2] source by label, target by prediction; 65535 where a class has no sample
    target_predictions: bytes  # [M], for Reveal
    target_pseudo_labels: bytes  # [M]
    numbers: dict[str, float]  # label-free, by the names of `figures.NUMBERS`
    cosines: list[list[float | None]] | None  # [heads][C], CGDM only


class Points:
    """The fixed samples that the board looks at, found by index, the same for every board on this pair."""

    def __init__(self, pair: Pair):
        self.i_s = validators.fixed_subset(len(pair.source_train), POINTS)
        self.i_all = validators.fixed_subset(len(pair.target_train), SCORED)  # target samples that are scored
        self.i_t = self.i_all[:POINTS]  # those of them on the map
        self.x_s, self.x_t = pair.source_train.x[self.i_s], pair.target_train.x[self.i_all]
        self.y_s = pair.source_train.y[self.i_s]

    def __len__(self) -> int:
        return len(self.i_s) + len(self.i_t)

    def images(self) -> Tensor:
        """Inputs of the points on the map, [N, ...]."""
        return torch.cat([self.x_s, self.x_t[: len(self.i_t)]])


@dataclass
class Look:
    """What the networks say about the points at one step; becomes a frame once its layout and numbers are there."""

    step: int
    f: Tensor  # [N, D]
    predictions: np.ndarray  # [source + M]
    pseudo_labels: np.ndarray  # [M]
    numbers: dict[str, float]
    layout: Future
    to_measure: list[Callable[["Look"], None]]  # what is still to do, one after the other


@dataclass
class Loop:
    """A run under observation: its records, its film, and `advance()`, which does one thing."""

    run: Run
    steps: int  # a Play's worth
    records: list[Record] = field(default_factory=list)
    film: list[Frame] = field(default_factory=list)
    playing: bool = False
    single_steps: int = 0  # asked for and not yet done
    reset_to: RunConfig | None = None  # asked for and not yet done
    error: Exception | None = None

    def __post_init__(self):
        self.points, self.goal = Points(self.run.pair), self.steps
        self.threads = torch.get_num_threads()  # a setting per thread: what the notebook chose holds where we step
        self.looks, self.pace = LOOKS, PACE
        self._forget()

    # -- asking: only notes down, so that it is safe from any thread ---------------------------------------------------

    def play(self) -> None:
        """Train on to the goal; if that is reached, set the next one."""
        if self.run.steps >= self.goal and self.reset_to is None:
            self.goal += self.steps
        self._pulse = deque([(time.perf_counter(), self.run.steps)], maxlen=40)
        self.playing, self.error = True, None

    def pause(self) -> None:
        self.playing, self.single_steps = False, 0

    def step(self) -> None:
        self.playing, self.error = False, None
        self.single_steps += 1

    def reset(self, config: RunConfig) -> None:
        self.pause()
        self.reset_to, self.error = config, None

    # -- doing -------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing left to do until somebody asks."""
        busy = self.playing or self.single_steps or self.reset_to or self._look
        return bool(self.error) or not (busy or self._due())

    @property
    def map_waits(self) -> bool:
        """Whether the map is still PCA because UMAP compiles."""
        return self._map.kind == "PCA" and umap_error() is None

    def advance(self, thorough: bool = False) -> None:
        """Do one thing: reset, train a little, look, measure, or take up a layout. Errors stop the run and are kept."""
        torch.set_num_threads(self.threads)
        start, steps = time.perf_counter(), self.run.steps
        try:
            self._do_one_thing(thorough)
        except Exception as error:
            self.pause()
            self._look, self.error = None, error
        seconds = time.perf_counter() - start
        self._just_trained = self.run.steps > steps
        if self._just_trained:
            self._trained += seconds
        else:
            self._looked += seconds

    def _do_one_thing(self, thorough: bool) -> None:
        if self.reset_to is not None:
            config, self.reset_to = self.reset_to, None
            self.run.reset(config)
            self._forget()
        elif self.playing and self.film and not (self._just_trained or self._due()):
            self._train()  # between any two other things, so that a slider never waits for all of them
        elif self._look is not None and self._look.to_measure:
            self._look.to_measure.pop()(self._look)
        elif self._look is not None and self._look.layout.done():
            self._keep_frame()
        elif self._due():
            if self._look is None:
                self._take_look(thorough)
            else:
                wait([self._look.layout], BUDGET)
        else:
            self._train()

    def settle(self, thorough: bool = False) -> None:
        """Advance until idle, in the foreground; an error is raised. `thorough`: look once, at the end, but well."""
        self.looks, self.pace = (1, math.inf) if thorough else (LOOKS, PACE)
        while not self.idle:
            self.advance(thorough)
        self.looks, self.pace = LOOKS, PACE
        if self.error:
            raise self.error

    @property
    def steps_per_second(self) -> float:
        """Since Play or over the last forty slices, looking and drawing included."""
        (t0, n0), (t1, n1) = self._pulse[0], self._pulse[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0

    def _forget(self) -> None:
        self.records.clear()
        self.film.clear()
        self.goal = self.steps
        self._map, self._look, self._numbers, self._cosines = FeatureMap(), None, {}, None
        self._trained = self._looked = 0.0  # seconds since the last look began: training, and all else
        self._measured, self._just_trained = 0.0, False  # when; whether the last thing was training
        self._pulse = deque([(time.perf_counter(), 0)], maxlen=40)

    def _due(self) -> bool:
        """Whether it is time to look again."""
        if not self.film and self._look is None:
            return True
        last = self._look.step if self._look else self.film[-1].step
        behind = self.run.steps - last
        if not (self.playing or self.single_steps):
            upgrade = self._look is None and self._map.kind == "PCA" and umap_ready()
            return behind > 0 or upgrade or self._look is not None
        late = behind > 0 and self._look is None and self._trained > max(self.pace, self._looked)
        return late or behind >= max(1, self.steps // self.looks)

    def _train(self) -> None:
        end = time.perf_counter() + BUDGET
        while self.playing or self.single_steps:
            self.records.append(self.run.step())
            self.single_steps = max(0, self.single_steps - 1)
            if self.run.steps >= self.goal:
                self.playing = False
            if self._due() or time.perf_counter() > end:
                break
        self._pulse.append((time.perf_counter(), self.run.steps))

    def _take_look(self, thorough: bool) -> None:
        self._trained = self._looked = 0.0
        points, shown = self.points, len(self.points.i_t)
        (f_s, z_s), (f_t, z_t) = (_features_and_logits(self.run, x) for x in (points.x_s, points.x_t))
        f = torch.cat([f_s, f_t[:shown]])
        y_hat = self.run.pseudo_labels
        due = not self.playing or time.perf_counter() - self._measured > MEASURE
        self._look = Look(
            self.run.steps,
            f,
            torch.cat([sum(z_s), sum(z_t)]).argmax(1).cpu().numpy(),
            np.full(len(points.i_all), NO_LABEL) if y_hat is None else y_hat.cpu()[points.i_all].numpy(),
            {"agreement": validators.head_agreement(*z_t), "entropy": validators.mean_entropy(*z_t)},
            self._map.advance(f, thorough and self.run.steps > 0),
            [self._measure_domains, *([self._measure_cosines] if self.run.method == "cgdm" else [])] if due else [],
        )

    # Measuring may take place some steps after its look: these numbers hold for about a second, not for one step.

    def _measure_domains(self, look: Look) -> None:
        f_s, f_t = look.f.split([len(self.points.i_s), len(self.points.i_t)])
        domain, mixing = validators.domain_accuracy(f_s, f_t), validators.neighbour_mixing(f_s, f_t)
        self._numbers = {
            "domain_accuracy": domain.value, "domain_accuracy_control": domain.control,
            "neighbour_mixing": mixing.value, "neighbour_mixing_control": mixing.control,
        }  # fmt: skip
        self._measured = time.perf_counter()

    def _measure_cosines(self, look: Look) -> None:
        cosines = validators.class_gradient_cosines(self.run).tolist()
        self._cosines = [[None if math.isnan(c) else c for c in row] for row in cosines]

    def _keep_frame(self) -> None:
        look, self._look = self._look, None
        if look.layout.exception():
            look.layout = self._map.advance(look.f)
        positions = self._map.take(look.layout.result())
        labels = np.concatenate([self.points.y_s.numpy(), look.predictions[len(self.points.i_s) :]])[: len(positions)]
        self.film.append(
            Frame(
                look.step,
                self._map.kind,
                _bytes(positions),
                _bytes(look.predictions[: len(positions)]),
                _bytes(look.pseudo_labels[: len(self.points.i_t)]),
                _bytes(centroids(positions, labels, len(self.points.i_s), len(self.run.pair.classes))),
                _bytes(look.predictions[len(self.points.i_s) :]),
                _bytes(look.pseudo_labels),
                look.numbers | self._numbers,
                self._cosines,
            )
        )


def centroids(positions: np.ndarray, labels: np.ndarray, source: int, classes: int) -> np.ndarray:
    """Mean position of each class, source and target apart: [2, C, 2]. NO_LABEL where a class is empty."""
    out = np.full((2, classes, 2), NO_LABEL)
    for domain, part in enumerate((slice(0, source), slice(source, None))):
        for c in np.unique(labels[part]):
            out[domain, c] = positions[part][labels[part] == c].mean(0).round()
    return out


@torch.no_grad()
def _features_and_logits(run: Run, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """`run.features(x)` and `run.predict(x)` in one pass through the extractor."""
    f = run.features(x)
    with evaluating(run.heads):
        return f, [head(f) for head in run.heads]


def _bytes(array: np.ndarray) -> bytes:
    return array.astype("<u2").tobytes()
