"""The plane board in JupyterLab: it draws while it trains, and its slider moves the data."""

import pytest

from .conftest import wait_until

CELLS = [
    """
from uda_core.data.moons import moons
from uda_core.lab import recipe
from uda_lessons.board import Board, Dial
task = moons(25)
run = recipe.default_for("mcd", "moons").start(task.pair)
""",
    """
board = Board(run, controls=("k",), steps=2000, truth=task.truth, data=Dial("angle", moons, 25, 0, 90, "degrees"))
board.show()
""",
]


@pytest.fixture(scope="module")
def book(lab, browser):
    notebook = lab.open(browser, CELLS, "plane.ipynb")
    notebook.run_all()
    notebook.page.wait_for_selector(".uda canvas[data-step]")
    yield notebook
    assert notebook.errors == []
    notebook.close()


def test_the_boundaries_move_while_it_trains_and_the_slider_moves_the_target(book, pictures, figures, lab):
    page, canvas = book.page, book.page.locator(".uda .stage canvas").first
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    page.get_by_role("button", name="Play").first.click()
    wait_until(lambda: book.python("", "run.steps") >= 100, "does not train")
    first = int(canvas.get_attribute("data-step"))
    slider = page.locator('.uda input[type="range"][aria-label*="angle"]').first
    slider.fill("44.1")
    wait_until(lambda: book.python("", "board._loop.dial.value") == 44.1, "the slider stores nothing")
    wait_until(
        lambda: book.python("", "bool((run.pair.target_train.x == moons(44.1).pair.target_train.x).all())"), "stands"
    )
    frames, seconds = book.python("import time; n = len(board.film); time.sleep(0)", "n"), 3
    page.wait_for_timeout(1000 * seconds)
    rate = (book.python("", "len(board.film)") - frames) / seconds
    figures.setdefault(lab.kernel, {})["plane_frames_per_second"] = round(rate, 1)
    assert int(canvas.get_attribute("data-step")) > first
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    page.get_by_role("button", name="Pause").first.click()
    wait_until(lambda: book.python("", "board._loop.idle"), "does not rest")
    page.get_by_role("button", name="Reveal").first.click()
    page.locator(".uda .revealed").first.wait_for(state="visible")
    if pictures:
        page.screenshot(path=pictures / f"plane {lab.kernel}.png")
