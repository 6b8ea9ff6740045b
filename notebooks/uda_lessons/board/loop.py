"""The board's loop without its widgets: train, observe, move the map, measure; one thing a call, whoever calls.

A frame costs time that trains nothing: a look passes the points through the network, a layout is computed. So while it
trains, frames are made no faster than they get done elsewhere, and looks take a fifth of the time at most.

Letters: N points on the map (source first, then target), C classes.
"""

import math
import time
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace

from uda_core.lab import validators
from uda_core.run import Record, Run, RunConfig
from uda_lessons.board import feature_map, kernel
from uda_lessons.board.feature_map import umap_error, umap_ready
from uda_lessons.board.plane import Dial
from uda_lessons.board.points import Observation, Reading, from_uint16, points_of, uint16

FRAMES = 60  # over the planned steps, if looks are cheap enough
WORTH = 4.0  # seconds of training for each second that a look took
MEASURE = 3.0  # seconds between two measurements of the slower numbers, while it trains


@dataclass(frozen=True, kw_only=True)
class Frame(Reading):
    """One picture of the film: a reading, and where its points lie. Bytes are little-endian uint16."""

    step: int
    map: str  # "PCA" or "UMAP"
    positions: bytes  # [N, 2]
    centroids: bytes  # [2, C, 2] filled and hollow stars; 65535 where a class has none
    cosines: list[list[float | None]] | None  # [heads][C], CGDM only
    measured: int | None  # the step at which the domain numbers were measured


@dataclass
class PendingFrame:
    """An observation of the points and its reading; it becomes a frame once its layout is there."""

    step: int
    observation: Observation
    reading: Reading
    layout: Future
    cosines_due: bool  # whether they are still to be measured for this frame


@dataclass
class Loop:
    """A run under observation: its records, its film, and `advance()`, which does one thing."""

    run: Run
    steps: int  # a Play's worth
    dial: Dial | None = None  # that moves the target's samples
    records: list[Record] = field(default_factory=list)
    film: list[Frame] = field(default_factory=list)
    playing: bool = False
    single_steps: int = 0  # requested and not yet done
    reset_to: RunConfig | None = None  # requested and not yet done
    error: Exception | None = None
    trained_at: float | None = None  # where the dial stood

    def __post_init__(self):
        if self.dial:
            self.dial.move(self.run.pair)
        self.points, self.goal = points_of(self.run), self.steps
        self.frames, self.pace = FRAMES, self.points.pace
        self._forget()

    # -- requests: noted down and no more, so that they are safe from any thread ---------------------------------------

    def play(self) -> None:
        """Train on to the goal; if that is reached, set the next one."""
        if self.run.steps >= self.goal and self.reset_to is None:
            self.goal += self.steps
        self._pulse = deque([(time.perf_counter(), self.run.steps)], maxlen=40)
        self.playing, self.error = True, None

    def pause(self) -> None:
        """Stop after the step that is under way."""
        self.playing, self.single_steps = False, 0

    def step(self) -> None:
        """Train for one step more, and no further."""
        self.playing, self.error = False, None
        self.single_steps += 1

    def reset(self, config: RunConfig) -> None:
        """Back to step 0, with this configuration."""
        self.pause()
        self.reset_to, self.error = config, None

    # -- doing -------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing left to do until somebody asks, or until another process answers."""
        busy = self.playing or self.single_steps or self.reset_to or self._pending or self._numbers_there()
        return bool(self.error) or not (busy or self._due())

    @property
    def waits(self) -> bool:
        """Whether another process works for this board: UMAP still compiles, or the domain numbers are measured."""
        return (self._map.kind == "PCA" and umap_error() is None) or self._measuring is not None

    def advance(self, thorough: bool = False) -> None:
        """One thing: reset, train a little, observe, measure, or take up a layout. An error stops it and is kept."""
        kernel.one_thread()
        start, steps = time.perf_counter(), self.run.steps
        try:
            self._do_one_thing(thorough)
        except Exception as error:
            self.pause()
            self._pending, self._measuring, self.error = None, None, error
        self._just_trained = self.run.steps > steps
        if not self._just_trained:
            self._looking += time.perf_counter() - start

    def _do_one_thing(self, thorough: bool) -> None:
        if self.dial and self.dial.moved:
            self.dial.move(self.run.pair)
            self._observation = None
        if self._numbers_there():
            self._take_up_numbers()
        if self.reset_to is not None:
            config, self.reset_to = self.reset_to, None
            self.run.reset(config)
            self._forget()
        elif self.playing and self.film and not (self._just_trained or self._due()):
            self._train()  # between any two other things, so that a slider never waits for all of them
        elif self._pending is not None and self._pending.cosines_due:
            with kernel.spent_on("numbers"):
                self._measure_cosines()
        elif self._pending is not None and self._pending.layout.done():
            self._keep_frame()
        elif self._pending is not None and not (self.playing or self.single_steps):
            wait([self._pending.layout], self.points.slice)
        elif self._due():
            if self._whole() and self.film and self.film[-1].step == self.run.steps and not self._better_map():
                self._read_again()
            else:
                with kernel.spent_on("features"):
                    self._observe(thorough)
        elif self.playing or self.single_steps:
            self._train()

    def settle(self, thorough: bool = False) -> None:
        """Advance until idle, in the foreground. `thorough`: one frame alone, at the end, with a longer layout.

        Raises:
            Exception: whatever stopped the run.
        """
        self.frames, self.pace = (1, math.inf) if thorough else (FRAMES, self.points.pace)
        while not self.idle or self._measuring:
            if self.idle:
                wait([self._measuring[1]])
            self.advance(thorough)
        self.frames, self.pace = FRAMES, self.points.pace
        if self.error:
            raise self.error

    @property
    def steps_per_second(self) -> float:
        """Since Play or over the last forty slices, observing and drawing included."""
        (t0, n0), (t1, n1) = self._pulse[0], self._pulse[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0

    def _forget(self) -> None:
        self.records.clear()
        self.film.clear()
        self.goal = self.steps
        self._map, self._pending, self._numbers, self._cosines = self.points.make_map(), None, {}, None
        self._observation: tuple[int, Observation, bool] | None = None  # its step; whether of all scored
        self._read_with: tuple = ()  # the settings that the last reading depends on
        self._training = self._looking = 0.0  # seconds since the last observation: training, and all else
        self._measuring: tuple[int, Future] | None = None  # the domain numbers of this step, not there yet
        self._measured_at: int | None = None  # the step of those that are there
        self._measured, self._just_trained = -math.inf, False  # when asked for; whether the last thing was training
        self._pulse = deque([(time.perf_counter(), 0)], maxlen=40)

    def _due(self) -> bool:
        """Whether it is time for another frame."""
        if not self.film and self._pending is None:
            return True
        last = self._pending.step if self._pending else self.film[-1].step
        behind = self.run.steps - last
        if not (self.playing or self.single_steps):
            if not self._whole() or (self.dial and self.dial.moved):
                return True
            return behind > 0 or self._pending is not None or self._better_map() or self._settings_moved()
        enough = behind >= max(1, self.steps // self.frames) or (behind > 0 and self._training > self.pace)
        return enough and self._pending is None and self._training >= WORTH * self._looking

    def _whole(self) -> bool:
        """Whether the last observation is of all scored samples; while it trains, only those on the map are seen."""
        return self._observation is not None and self._observation[2]

    def _better_map(self) -> bool:
        """Whether UMAP can take over now."""
        return self._map.kind == "PCA" and umap_ready()

    def _settings_moved(self) -> bool:
        """Whether settings that the last reading depends on are no longer what they were."""
        return self.points.depends_on(self.run.settings) != self._read_with

    def _train(self) -> None:
        start = now = time.perf_counter()
        if self.dial:
            self.trained_at = self.dial.value
        while self.playing or self.single_steps:
            with kernel.spent_on("training"):
                self.records.append(self.run.step())
            before, now = now, time.perf_counter()
            self._training += now - before
            self.single_steps = max(0, self.single_steps - 1)
            if self.run.steps >= self.goal:
                self.playing = False
            if self._due() or now > start + self.points.slice:
                break
        self._pulse.append((now, self.run.steps))

    def _observe(self, thorough: bool) -> None:
        self._training = self._looking = 0.0
        rests = not self.playing
        fresh = self._observation is not None and self._observation[0] == self.run.steps
        if not fresh or (rests and not self._whole()):
            self._observation = self.run.steps, self.points.observe(self.run, whole=rests), rests
        due = rests or time.perf_counter() - self._measured > MEASURE
        observed = self._observation[1]
        self._pending = PendingFrame(
            self.run.steps,
            observed,
            self._read(),
            self._map.advance(observed.f, thorough and self.run.steps > 0),
            cosines_due=due and self.run.method == "cgdm",
        )
        if due:
            self._measured = time.perf_counter()
            if "domain_accuracy" in self.points.numbers and (rests or self._measuring is None):
                self._measuring = self.run.steps, feature_map.measure(*observed.compared)
        if self._pending.layout.done() and not self._pending.cosines_due:
            self._keep_frame()

    def _read(self) -> Reading:
        settings = self.run.settings.snapshot()
        self._read_with = self.points.depends_on(settings)
        return self.points.read(self.run, self._observation[1], settings)

    def _read_again(self) -> None:
        """The last frame, read with the settings as they are now: no step was trained, so its points stay in place."""
        reading = self._read()
        numbers = self.film[-1].numbers | reading.numbers
        self.film.append(replace(self.film[-1], **vars(reading) | {"numbers": numbers}))

    def _numbers_there(self) -> bool:
        return self._measuring is not None and self._measuring[1].done()

    def _take_up_numbers(self) -> None:
        """The domain numbers of an earlier step: the next frame has them, and the last one if it is of that step."""
        (step, future), self._measuring = self._measuring, None
        if future.exception():
            return  # the worker is gone: the map says so
        self._numbers, self._measured_at = future.result(), step
        if self.film and self.film[-1].step == step:
            self.film[-1] = replace(self.film[-1], numbers=self.film[-1].numbers | self._numbers, measured=step)

    def _measure_cosines(self) -> None:
        cosines = validators.class_gradient_cosines(self.run).tolist()
        self._cosines = [[None if math.isnan(c) else c for c in row] for row in cosines]
        self._pending.cosines_due = False

    def _keep_frame(self) -> None:
        done, self._pending = self._pending, None
        if done.layout.exception():
            done.layout = self._map.advance(done.observation.f)
        positions, predictions = self._map.take(done.layout.result()), from_uint16(done.reading.predictions)
        self.film.append(
            Frame(
                **vars(done.reading) | {"numbers": done.reading.numbers | self._numbers},
                step=done.step,
                map=self._map.kind,
                positions=uint16(positions[: len(predictions)]),
                centroids=uint16(self.points.stars(positions, predictions, done.observation)),
                cosines=self._cosines,
                measured=self._measured_at,
            )
        )
