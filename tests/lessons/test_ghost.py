"""The run before the last Reset, and what the page learns of it."""

import dataclasses
from types import SimpleNamespace

import pytest
from test_board import Page, _no_umap, make, watched  # noqa: F401

from uda_core import methods
from uda_core.run import Record
from uda_lessons.board.ghost import MOST, Ghost


def test_reset_keeps_the_run_before_it(watched, digits_task):  # noqa: F811
    page = Page(make(digits_task, steps=3))
    assert (page.ghost, page.states[-1]["changed"]) == (None, "")
    page.do("play")
    page.rest()
    page.do("reveal")
    losses, last = [[r.step, r.losses] for r in page.board.records], page.board.film[-1]
    scores = page.board.scores(last)
    page.do("set", name="beta", value=0)
    page.do("seed", value=3)
    page.do("reset")
    page.rest()
    assert not page.board.revealed
    assert [page.ghost[name] for name in ("records", "step", "numbers", "scores")] == [losses, 3, last.numbers, scores]
    assert page.ghost["gap"][0][0] == 0
    assert page.states[-1]["changed"] == "beta 0.01 -> 0, seed 0 -> 3"
    kept, page.ghost = page.ghost, None
    page.do("hello")  # a page opened anew
    assert page.ghost == kept
    page.do("reset")  # of a run that has not trained: the ghost stays
    page.rest()
    assert page.ghost == kept
    page.do("set", name="beta", value=0.01)
    page.do("tick")
    assert page.states[-1]["changed"] == "seed 0 -> 3"


def test_without_reveal_the_ghost_has_no_scores(watched, digits_task):  # noqa: F811
    page = Page(make(digits_task))
    page.do("step")
    page.rest()
    page.do("reset")
    page.rest()
    assert page.ghost["scores"] is None


def test_a_long_run_is_thinned_and_keeps_its_last_step(digits_task):
    run = methods.CGDM(digits_task.pair, methods.Config(batch_size=16, features=8, hidden=(6,)))
    records = [Record(step, {"source_ce": 1 / step}, {}, run.settings.snapshot()) for step in range(1, 1000)]
    numbers = [{"entropy": 1.0, "star_distance": 1.0}, {"domain_accuracy": 0.9, "star_distance": 0.8},
               {"domain_accuracy": 0.9, "star_distance": 0.6}]  # fmt: skip
    film = [SimpleNamespace(step=7 * i, measured=0 if i else None, numbers=n) for i, n in enumerate(numbers)]
    ghost = Ghost.of(run, records, film, None, {})
    assert len(ghost.records) <= MOST
    assert ghost.records[-1] == [999, {"source_ce": pytest.approx(1 / 999)}]
    assert ghost.gap == [
        [0, {"star_distance": 1.0, "domain_accuracy": 0.9}], [7, {"star_distance": 0.8}], [14, {"star_distance": 0.6}],
    ]  # fmt: skip
    assert ghost.changed(dataclasses.asdict(run.settings), 0) == ""
    run.settings.warm_up = 7
    assert ghost.changed(dataclasses.asdict(run.settings), 0) == "warm up 0 -> 7"
