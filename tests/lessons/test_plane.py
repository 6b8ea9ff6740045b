"""The plane board: regions of the classes as bytes, a dial that moves the data, and that watching changes nothing."""

import numpy as np
import pytest
import torch
from test_board import SMALL, Page, _no_umap, same, watched  # noqa: F401

from uda_core import methods
from uda_core.data.blobs import blobs
from uda_core.data.moons import moons
from uda_core.errors import UserError
from uda_lessons.board import Board, Dial, figures
from uda_lessons.board.plane import LEAST, MOST, above_of, regions
from uda_lessons.board.points import BEYOND, GRID, from_uint16


def moons_at(angle: float):
    return moons(angle, samples=60)


def board_at(angle: float, dial: bool = True, steps: int = 12) -> Board:
    task = moons_at(angle)
    data = Dial("angle", moons_at, angle, 0, 90, "degrees") if dial else None
    return Board(methods.MCD(task.pair, SMALL), steps=steps, truth=task.truth, data=data)


def test_regions_are_the_class_and_how_far_it_is_above_the_next():
    z = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0], [0.0, 0.0, 0.0], [0.0, -9999.0, 9999.0]])
    classes, level = regions(z).numpy()
    assert classes.tolist() == [0, 1, 0, 2]
    assert level[[2, 3]].tolist() == [0, 255]
    assert above_of(level) == pytest.approx([1.0, 4.0, LEAST, MOST], rel=0.035)


def test_the_grid_covers_the_window_from_the_bottom_row_by_row(watched):  # noqa: F811
    board = board_at(30)
    points = board._loop.points
    assert points.grid.shape == (GRID * GRID, 2)
    step = points.width * (1 + 2 * BEYOND) / (GRID - 1)
    assert torch.allclose(points.grid[1] - points.grid[0], torch.tensor([float(step), 0.0]), atol=1e-5)
    assert torch.allclose(points.grid[GRID] - points.grid[0], torch.tensor([0.0, float(step)]), atol=1e-5)
    Page(board)
    predicted = np.frombuffer(board.film[0].plane, np.uint8).reshape(3, 2, GRID * GRID)[:, 0]
    z1, z2 = board.run.predict(points.grid)
    for shown, z in zip(predicted, (z1 + z2, z1, z2), strict=True):
        assert shown.tolist() == z.argmax(1).tolist()


def test_a_position_gives_the_sample_back(watched):  # noqa: F811
    board = board_at(30)
    Page(board)
    points, x = board._loop.points, board.run.pair.source_train.x[board._loop.points.i_s]
    at = torch.tensor(from_uint16(board.film[0].positions).reshape(-1, 2) / 65535)[: len(x)]
    assert torch.allclose(points.low + at * points.width, x.double(), atol=1e-3)


@pytest.mark.parametrize("dial", [False, True])
def test_weights_are_the_same_with_and_without_a_board(watched, dial):  # noqa: F811
    alone = methods.MCD(moons_at(30).pair, SMALL)
    for _ in range(12):
        alone.step()
    page = Page(board_at(30, dial))
    page.do("play")
    page.rest()
    assert same(alone, page.board.run)


def test_a_dial_moves_the_target_between_two_steps_in_its_own_tensors(watched):  # noqa: F811
    page = Page(board_at(30))
    pair, film = page.board.run.pair, page.board.film
    x, test, source = pair.target_train.x, pair.target_test.x, pair.source_train.x.clone()
    page.do("step")
    page.rest()
    before = film[-1]
    page.board._on_message(None, {"do": "set", "name": "angle", "value": 75}, [])
    assert torch.equal(x, moons_at(30).pair.target_train.x)  # the callback has stored the number and no more
    page.rest()
    assert pair.target_train.x is x
    assert torch.equal(x, moons_at(75).pair.target_train.x)
    assert torch.equal(test, moons_at(75).pair.target_test.x)
    assert torch.equal(pair.source_train.x, source)
    assert film[-1].step == before.step  # at rest, and a new picture all the same
    assert film[-1].positions != before.positions
    assert film[-1].plane == before.plane
    assert page.states[-1]["settings"]["angle"] == 75


def test_a_run_whose_data_were_moved_is_one_that_began_there(watched):  # noqa: F811
    alone = methods.MCD(moons_at(75).pair, SMALL)
    for _ in range(12):
        alone.step()
    page = Page(board_at(30))
    page.do("step")
    page.board._on_message(None, {"do": "set", "name": "angle", "value": 75}, [])
    page.do("reset")
    page.do("play")
    page.rest()
    assert page.board.run.steps == 12
    assert same(alone, page.board.run)
    assert page.board._values()["angle"] == 75  # Reset keeps it


def test_a_dial_is_a_slider_among_the_others(watched):  # noqa: F811
    *_, control = board_at(30)._facts()["controls"]
    assert control == {
        "name": "angle", "label": "angle", "unit": "degrees", "help": "", "low": 0, "high": 90, "step": 0.1,
        "value": 30, "kind": "float",
    }  # fmt: skip


def test_the_ghost_names_a_moved_dial(watched):  # noqa: F811
    page = Page(board_at(25, steps=2))
    page.do("play")
    page.rest()
    page.do("set", name="angle", value=45)
    page.rest()
    page.do("reset")
    page.rest()
    assert page.states[-1]["changed"] == "angle 25 -> 45"


def test_data_that_do_not_fit_are_refused(watched):  # noqa: F811
    run = methods.MCD(blobs().pair, SMALL)
    with pytest.raises(UserError, match=r"b = 1 makes target_train of shape \[3, 2\], but the run has \[600, 2\]"):
        Board(run, data=Dial("b", lambda b: blobs(b, (1, 1, 1)), 1, -1, 2))


def test_a_plane_needs_no_umap_and_says_so_in_no_word(watched, monkeypatch):  # noqa: F811
    monkeypatch.setattr("uda_lessons.board.feature_map.worker", lambda: pytest.fail("UMAP was started"))
    page = Page(board_at(30, steps=6))
    page.do("play")
    page.rest()
    assert {frame.map for frame in page.board.film} == {"plane"}
    facts = page.board._facts()
    assert "UMAP" not in facts["words"]["distances"]
    assert facts["kind"] == "plane"
    assert all(len(buffers) == 6 and len(buffers[5]) == 6 * GRID * GRID for buffers in page.frames.values())


def test_the_saved_picture_hatches_where_the_heads_disagree(watched):  # noqa: F811
    board = board_at(30)
    Page(board)
    [axis, *_] = board.figure().axes
    assert any(getattr(collection, "hatches", [None])[0] for collection in axis.collections)
    assert axis.get_title() == figures.KIND_WORDS["plane"]["look"]
