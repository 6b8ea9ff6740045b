"""The live board: a run, its controls, and the page that asks for one slice of training after another."""

import base64
import dataclasses
import html
import io
import itertools
import time
import traceback
import uuid
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from IPython import get_ipython
from IPython.display import HTML, DisplayHandle, display
from matplotlib.figure import Figure
from torch import Tensor

from uda_core.errors import UserError, choose
from uda_core.run import Record, Run
from uda_core.samples import IGNORE
from uda_core.task import Truth
from uda_lessons import films
from uda_lessons.board import feature_map, figures, kernel
from uda_lessons.board.canvas import Canvas
from uda_lessons.board.controls import describe_controls
from uda_lessons.board.ghost import Ghost
from uda_lessons.board.loop import Frame, Loop
from uda_lessons.board.plane import Dial
from uda_lessons.board.points import NO_LABEL, uint16
from uda_lessons.films.pack import pack

STATES = 0.2  # seconds between two messages about steps alone: a page draws for each of them
PICTURE_AFTER = 2.0  # seconds of rest before the picture for the saved notebook is drawn: it takes one, and blocks
FILM = 100  # most frames in a saved film


class Board:
    """Watch a run train on a page, and take part: `Board(run, controls=("alpha", "beta"), truth=task.truth).show()`.

    Args:
        run: what `methods.CGDM(task.pair)` and its like return.
        controls: names of the settings that get a slider; all of them by default.
        steps: how long Play trains; pressed again at the end, it trains as long once more.
        truth: the target's labels, opened by Reveal alone. Without it there is no Reveal button.
        baseline: the same score after source-only training, from 0 to 1, shown on Reveal.
        data: a dial gets a slider too, and moves the target's samples; for points in the plane.

    Raises:
        UserError: for fewer than one step, or an unknown setting among the controls.
    """

    _boards: ClassVar["weakref.WeakSet[Board]"] = weakref.WeakSet()
    _warned: ClassVar[bool] = False

    def __init__(
        self,
        run: Run,
        controls: Sequence[str] | None = None,
        steps: int = 400,
        truth: Truth | None = None,
        baseline: float | None = None,
        data: Dial | None = None,
    ):
        if steps < 1:
            raise UserError(f"steps must be at least 1, got {steps}")
        names = [f.name for f in dataclasses.fields(run.settings)]
        self.run, self.revealed = run, False
        self._seed = run.config.seed  # used from the next Reset on
        self._ghost: Ghost | None = None
        self._truth, self._baseline, self._y = truth, baseline, None
        self._loop, self._dials = Loop(run, steps, data), [data] if data else []
        self._controls = [choose("setting", name, names) for name in (names if controls is None else controls)]
        self._canvas: Canvas | None = None
        self._page_has_nothing()
        self._rested = time.perf_counter()
        self._picture: DisplayHandle | None = None
        self._picture_class, self._pictured = f"uda-picture-{uuid.uuid4().hex[:8]}", None
        if self._loop.points.make_map is feature_map.FeatureMap:
            feature_map.worker()  # UMAP compiles while you read
        Board._boards.add(self)

    # -- what a notebook uses ----------------------------------------------------------------------------------------

    @property
    def records(self) -> list[Record]:
        """One for each step so far."""
        return self._loop.records

    @property
    def film(self) -> list[Frame]:
        """Every frame as it was sent to the page."""
        return self._loop.film

    @property
    def playing(self) -> bool:
        """Whether it trains, or is about to."""
        return self._loop.playing

    @property
    def error(self) -> Exception | None:
        """What stopped the run, if anything did."""
        return self._loop.error

    def show(self, live: bool | None = None) -> None:
        """Display the board; where no page answers, train `steps` steps here and now and display one figure.

        Args:
            live: whether a page will answer; if not given, `kernel.is_live()` finds out.
        Raises:
            Exception: what stopped the run where no page answers, or kept a first frame from being made.
        """
        if not (kernel.is_live() if live is None else live):
            if not self.run.steps >= self._loop.steps:
                self._loop.play()
            with kernel.turn:
                self._loop.settle(thorough=True)
            if get_ipython() is not None:
                display(HTML(self._picture_html(hide=False)))
                print(
                    "No page answers here: trained to the end, without a board. UDA_LIVE=1 or show(live=True) shows it."
                )
            return
        kernel.take_turns(Board._pause_all)
        if not Board._warned and (warning := kernel.warning()):
            Board._warned = True
            print(warning)
        if self._canvas is None:
            self._make_page()
        display(self._canvas)
        self._picture, self._pictured = display(HTML(""), display_id=True), None

    def played(self) -> bool:
        """Whether the run has been trained to the board's end. If not, one line says what to do."""
        if self.run.steps >= self._loop.steps:
            return True
        so_far = (
            f"has done {self.run.steps} of {self._loop.steps} steps" if self.run.steps else "has not been trained yet"
        )
        print(f"The run above {so_far}. Press Play there, let it come to its end, and run this cell again.")
        return False

    def play(self) -> None:
        """Train on, up to `steps` steps more. Another board that plays is paused."""
        for board in Board._boards:
            if board is not self and board.playing:
                board.pause()
        self._loop.play()
        if self._canvas is None:
            with kernel.turn:
                self._loop.settle(thorough=True)
        self._wake()

    def pause(self) -> None:
        """Stop after the step that is under way."""
        self._loop.pause()
        self._wake()

    def step(self) -> None:
        """Train for one step, then show a frame."""
        self._loop.step()
        self._do_or_wake()

    def reset(self) -> None:
        """Back to step 0, with the seed that the board shows, and nothing revealed. The settings stay as they are."""
        self._loop.reset(dataclasses.replace(self.run.config, seed=self._seed))
        self._do_or_wake()

    def reveal(self) -> None:
        """Show what needs target labels: accuracies, wrong predictions, the baseline.

        Raises:
            UserError: if the board was made without a truth.
        """
        if self._truth is None:
            raise UserError("this board has no truth to reveal; make it with Board(run, truth=task.truth)")
        self.revealed = True
        if self._canvas is not None:
            scores = [self.scores(frame) for frame in self.film]
            self._send({"do": "reveal", "scores": scores, "baseline": self._baseline}, self._true_labels())
            self._wake()

    def scores(self, frame: Frame) -> dict:
        """Shares from 0 to 1 of one frame, by the names of `figures.SCORES`. Needs labels you would not have.

        Where each pixel has a label, "classes" holds those of each class, by the names of `figures.COLUMNS`.
        """
        return self._loop.points.scores(frame, self._target_labels())

    def _true_labels(self) -> list[bytes]:
        """Of the target points and of the pictures, as the page reads them."""
        y, points = self._target_labels(), self._loop.points
        return [uint16(points.labels(y)), points.true_pictures(y).tobytes()]

    def _target_labels(self) -> Tensor:
        """Of the target samples `i_all`."""
        if self._y is None:
            self._y = self._truth.target_train[self._loop.points.i_all]
        return self._y

    def figure(self) -> Figure:
        """The board's last frame as one static figure."""
        scores = self.scores(self.film[-1]) | {"baseline": self._baseline} if self.revealed else None
        y = self._target_labels() if self.revealed else None
        return figures.board_figure(self.run, self._loop.points, self.film[-1], self.records, scores, y)

    def save_film(self, path: str | Path) -> None:
        """Write the run so far as one page that replays it in any browser, without Python.

        The target's labels, and the scores made with them, are in the page only if the board was revealed: it must
        not leak what was not shown. Of a long film at most `FILM` frames are kept.

        Raises:
            UserError: if there is no frame yet.
        """
        title = f"{self.run.method} on {self.run.pair.name}"
        Path(path).write_text(films.page(self.packed_film(), title), encoding="utf-8")

    def packed_film(self, most: int = FILM) -> bytes:
        """The run so far as `films.page` takes it, in at most `most` frames.

        Raises:
            UserError: if there is no frame yet.
        """
        if not self.film:
            raise UserError("there is no frame yet: press Play, or call play(), before the film is saved")
        last, reveal = len(self.film) - 1, None
        if self.revealed:
            reveal = {"baseline": self._baseline, "data": self._true_labels()}
        return pack(
            [self._frame_message(i) for i in sorted({round(i * last / (most - 1)) for i in range(most)})],
            look=figures.LOOK,
            facts=self._facts() | {"film": True, "truth": self.revealed},
            images=self._loop.points.images(),
            reveal=reveal,
            run={
                "step": self.run.steps, "goal": self._loop.goal, "seed": self.run.config.seed,
                "records": [[r.step, r.losses, r.counts] for r in self.records], "moved": _moved(self.records, 0),
            },
        )  # fmt: skip

    # -- the page ----------------------------------------------------------------------------------------------------

    def _make_page(self) -> None:
        while not self.film:
            self._loop.advance()
            if self.error:
                raise self.error
        facts, first = self._facts(), self._frame_message(0)
        self._canvas = Canvas(look=figures.LOOK, facts=facts, images=self._loop.points.images(), first=first)
        self._canvas.on_msg(self._on_message)

    def _on_message(self, _, content: dict, buffers: list) -> None:
        """From the page. Only a tick trains and observes; what else is asked for is noted down for it."""
        do = content.get("do")
        if do == "tick":
            answer = True, 0.25
            try:
                answer = self._tick()
            finally:  # whatever happens: a page without answers never asks again
                self._answer(content.get("n"), *answer)
        elif do == "hello":
            self._page_has_nothing()
            self._send({"do": "clear"})
            self._send_ghost()
            self._send_news()
            if self.revealed:
                self.reveal()
        elif do == "set":
            self._set(content["name"], content["value"])
        elif do == "seed":
            self._seed = content["value"]
        elif do in ("play", "pause", "step", "reset", "reveal"):
            getattr(self, do)()
            self._send_news()  # at once: a page that hears nothing takes it that a cell runs

    def _set(self, name: str, value: float) -> None:
        """A slider was moved: the number is stored, and the loop takes it up in its turn."""
        dials = {dial.name: dial for dial in self._dials}
        if name in dials:
            dials[name].value = value
        else:
            setattr(self.run.settings, name, value)
        self._wake()

    def _values(self) -> dict[str, float]:
        """Where every slider stands, by name."""
        return dataclasses.asdict(self.run.settings) | {dial.name: dial.value for dial in self._dials}

    def _tick(self) -> tuple[bool, float]:
        """Do one thing and send what came of it. Whether the page should ask again, and after how many seconds."""
        if not kernel.turn.acquire(timeout=0.05):
            self._send_news(busy=True)
            return True, 0.25
        try:
            with kernel.deferred_interrupt(Board._pause_all):
                resting = self._loop.idle
                try:
                    self._rest() if resting else self._work()
                except Exception as error:
                    self._loop.error = error
                self._send_news()
            more = not self._loop.idle or self._loop.waits or (self._pictured != self._now() and bool(self.records))
            return more, 0.2 if resting else 0.0
        finally:
            kernel.turn.release()

    def _answer(self, n: int | None, more: bool, after: float) -> None:
        self._send({"do": "answer", "n": n, "more": more, "after": after})

    def _work(self) -> None:
        if self._loop.reset_to is None:
            self._loop.advance()
        else:
            self._start_afresh()
        self._rested = time.perf_counter()

    def _start_afresh(self) -> None:
        """Do the Reset that was asked for. A run that has trained stays on the page as a ghost."""
        if self.records and self.film:
            scores = self.scores(self.film[-1]) if self.revealed else None
            dials = {dial.name: self._loop.trained_at for dial in self._dials}
            self._ghost = Ghost.of(self.run, self.records, self.film, scores, dials)
        self.revealed = False
        self._loop.advance()
        self._page_has_nothing()
        self._send({"do": "clear"})
        self._send_ghost()

    def _send_ghost(self) -> None:
        if self._ghost is not None:
            self._send(self._ghost.message())

    def _page_has_nothing(self) -> None:
        self._sent_records, self._sent_frames, self._last_frame = 0, 0, None
        self._sent_state, self._sent_at = dict[str, Any](), 0.0

    def _send_news(self, busy: bool = False) -> None:
        """Every new frame; new records and the state where something but steps is new, else five times a second."""
        loop, first = self._loop, self._sent_frames
        if first and self.film[first - 1] is not self._last_frame:
            first -= 1  # its domain numbers have come since
        for i in range(first, len(self.film)):
            message = self._frame_message(i)
            self._send(message, message.pop("data"))
            self._sent_frames, self._last_frame = i + 1, self.film[i]
        urgent = {"playing": loop.playing, "busy": busy, "error": _one_line(loop.error), "goal": loop.goal}
        told = urgent.items() <= self._sent_state.items()
        if loop.playing and told and time.perf_counter() < self._sent_at + STATES:
            return
        state = urgent | {
            "do": "state", "step": self.run.steps, "seed": self._seed, "rate": loop.steps_per_second,
            "settings": self._values(),
            "changed": self._ghost.changed(self._values(), self.run.config.seed) if self._ghost else "",
            "umap": feature_map.status() if self.film and self.film[-1].map == "PCA" else "",
            "trace": _trace(loop.error),
        }  # fmt: skip
        start, end = self._sent_records, len(loop.records)
        if end > start or state != self._sent_state:
            self._sent_records, self._sent_state, self._sent_at = end, state, time.perf_counter()
            new = [[r.step, r.losses, r.counts] for r in loop.records[start:end]]
            self._send(state | {"records": new, "moved": _moved(loop.records, start)})

    def _frame_message(self, i: int) -> dict:
        frame = self.film[i]
        return {
            "do": "frame", "i": i, "step": frame.step, "map": frame.map, "numbers": frame.numbers,
            "measured": frame.measured, "cosines": frame.cosines, "sent": time.time(),
            "scores": self.scores(frame) if self.revealed else None,
            "coverage": frame.coverage, "notes": frame.notes,
            "data": [frame.positions, frame.predictions, frame.pseudo_labels, frame.centroids, frame.pictures,
                     frame.plane],
        }  # fmt: skip

    def _send(self, message: dict, buffers: Sequence[bytes] = ()) -> None:
        if self._canvas is not None:
            with kernel.spent_on("messages"):
                self._canvas.send(message, buffers=list(buffers))

    def _do_or_wake(self) -> None:
        if self._canvas is None:
            with kernel.turn:
                if self._loop.reset_to is not None:
                    self._start_afresh()
                self._loop.settle()
        else:
            self._wake()

    def _wake(self) -> None:
        self._send({"do": "wake"})

    @staticmethod
    def _pause_all() -> None:
        """What an interrupt does: notes only, as it may come at any moment."""
        for board in Board._boards:
            board._loop.pause()

    # -- facts that are sent once -------------------------------------------------------------------------------------

    def _facts(self) -> dict:
        pair, points = self.run.pair, self._loop.points
        controls = describe_controls(self.run, self._controls, self._loop.steps)
        return points.facts() | {
            "method": self.run.method, "pair": pair.name, "classes": list(pair.classes),
            "numbers": [figures.NUMBERS[name] | {"name": name} for name in points.numbers], "losses": figures.LOSSES,
            "scores": figures.SCORES, "columns": figures.COLUMNS, "source": points.source, "target": points.target,
            "controls": [*controls, *(dial.control() for dial in self._dials)], "seed": self._seed, "kind": points.kind,
            "film": False, "labels": uint16(points.y_s), "truth": self._truth is not None,
            "picture": self._picture_class, "no_label": NO_LABEL, "ignore": IGNORE,
            "words": figures.WORDS | figures.KIND_WORDS[points.kind],
        }  # fmt: skip

    # -- the picture that stays in the saved notebook ------------------------------------------------------------------

    def _now(self) -> tuple:
        return self.run.steps, len(self.film), self.revealed

    def _rest(self) -> None:
        if self._pictured == self._now() or time.perf_counter() - self._rested < PICTURE_AFTER or not self.records:
            return
        self._pictured = self._now()
        if self._picture is not None:
            self._picture.update(HTML(self._picture_html(hide=True)))

    def _picture_html(self, hide: bool) -> str:
        """The figure as an image with a text summary. A board that is alive hides its own by its class."""
        png = io.BytesIO()
        self.figure().savefig(png, format="png", dpi=72, bbox_inches="tight")
        data = base64.b64encode(png.getvalue()).decode()
        css = f' class="{self._picture_class}"' if hide else ""
        summary = figures.summary(self.run, self._loop.points, self.film[-1], len(self.records))
        return f'<img{css} alt="{html.escape(summary)}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def _moved(records: Sequence[Record], start: int) -> list[list]:
    """[step, words] for every record from `start` on whose settings are not those of the record before it."""
    moved = []
    for before, after in itertools.pairwise(records[max(0, start - 1) :]):
        old, new = dataclasses.asdict(before.settings), dataclasses.asdict(after.settings)
        if old != new:
            words = ", ".join(f"{name} {old[name]:g} to {new[name]:g}" for name in new if old[name] != new[name])
            moved.append([after.step, words])
    return moved


def _one_line(error: Exception | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {error}"


def _trace(error: Exception | None) -> str:
    return "" if error is None else "".join(traceback.format_exception(error)[-6:])
