"""`uda films`: record the films that open the lessons, again after the board's page has changed."""

import argparse
from dataclasses import dataclass, field
from typing import Any

from uda_core import data
from uda_core.errors import choose
from uda_core.lab import recipe
from uda_core.lab.main import add_command
from uda_lessons import films
from uda_lessons.board import Board, feature_map, points

SEED = 7  # no lesson's: a film must not give a guess away
POINTS, IMAGES = 300, 6  # of each domain
FRAMES = 60


@dataclass(frozen=True)
class Take:
    """A run to film: the recipe of this method on this task, and which settings differ."""

    method: str
    task: str
    settings: dict[str, float] = field(default_factory=dict)


LABELS_ALONE = {"discrepancy": 0, "k": 0, "infomax": 0, "beta": 0, "alpha": 1, "warm_up": 200, "refresh": 20}
TAKES = {
    "01": Take("source_only", "fonts-distorted"),
    "02": Take("dann", "fonts-distorted"),
    "03": Take("mcd", "blobs"),
    "04": Take("cgdm", "fonts-distorted", LABELS_ALONE),
    "05": Take("cgdm", "blobs", {"infomax": 0, "alpha": 0, "beta": 1}),
    "06": Take("source_only", "streets-rehearsal"),
    "07": Take("cag", "streets-rehearsal"),
    "08": Take("source_only", "fonts-distorted", {"infomax": 0.3}),
    "09": Take("cgdm", "fonts-distorted", {"beta": 0.01}),
}


def record(take: Take, revealed: bool = False, **config: Any) -> bytes:
    """The film of a run to its end, without target labels unless `revealed`; `config` goes to `Recipe.start`."""
    points.POINTS, points.IMAGES = POINTS, IMAGES  # of this process: a film in the package is smaller than a board
    chosen = recipe.default_for(take.method, take.task).changed(settings=take.settings)
    task = data.load(take.task)
    run = chosen.start(task.pair, **config)
    steps = chosen.length(run)
    board = Board(run, controls=(), steps=steps, truth=task.truth if revealed else None)
    feature_map.worker().ready.result()  # the first frame is UMAP's already
    board._loop.settle()
    while run.steps < steps:  # from frame to frame, so that no film depends on how fast the machine is
        board._loop.single_steps = min(-(-steps // FRAMES), steps - run.steps)
        board._loop.settle()
    if revealed:
        board.reveal()
    return board.packed_film(FRAMES)


def add(commands: Any) -> None:
    """Add `films` to the subparsers of `uda`."""
    p = add_command(commands, "films", record_and_keep, "record the films that open the lessons", "films 01 04")
    p.add_argument("lessons", nargs="*", metavar="LESSON", help=f"{', '.join(TAKES)} (default: all)")


def record_and_keep(args: argparse.Namespace) -> int:
    """Record the films that were named, or all, into this package; the exit status.

    Raises:
        UserError: for a lesson that has no film.
    """
    for lesson in [choose("lesson", name, TAKES) for name in args.lessons] or TAKES:
        path = films.HERE / f"{lesson}.film"
        path.write_bytes(record(TAKES[lesson], seed=SEED))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    return 0
