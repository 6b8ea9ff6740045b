"""Films in a browser: a page opened from disk, and the film of a lesson in a notebook."""

import itertools
import time

import pytest

from uda_core import methods
from uda_core.data.digits import fonts_handwriting
from uda_core.task import Pair, Task
from uda_lessons.board import Board

from .conftest import PATIENCE, wait_until

IMG = "<img src=x onerror=window.ran=1>"
PAPER, DARK = "node => getComputedStyle(node).backgroundColor", "rgb(22, 25, 31)"
NOTEBOOK = [
    'from uda_lessons import films\nfilms.show("01")',
    f"""
from uda_lessons.exercises import predict
predict("markup", "What is {IMG}?", choices=["{IMG}", "nothing"])
""",
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The page of a run whose first class has markup as its name, and the same revealed."""
    folder, task = tmp_path_factory.mktemp("films"), fonts_handwriting(200)
    pair = task.pair
    sides = (pair.source_train, pair.source_val, pair.target_train, pair.target_test)
    renamed = Task(Pair("digits", (IMG, *pair.classes[1:]), *sides), task.truth)
    config = methods.Config(batch_size=16, features=8, hidden=(6,))
    board = Board(methods.CGDM(renamed.pair, config), steps=20, truth=renamed.truth)
    board._loop.play()
    board._loop.settle()
    board.save_film(folder / "hidden.html")
    board.reveal()
    board.save_film(folder / "revealed.html")
    return folder


@pytest.fixture
def opened(browser, saved):
    """Opens a saved page from disk; no page may raise or run what stands in a name."""
    pages, errors = [], []

    def open(name: str, **options):
        page = browser.new_page(viewport={"width": 1280, "height": 900}, **options)
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((saved / f"{name}.html").as_uri())
        page.wait_for_selector(".uda canvas[data-step]")
        pages.append(page)
        return page

    yield open
    assert errors == []
    assert [page.evaluate("window.ran") for page in pages] == [None] * len(pages)
    for page in pages:
        page.close()


def frame(page) -> int:
    return int(page.locator(".uda").get_attribute("data-frame"))


def last(page) -> int:
    return int(page.locator(".film input").get_attribute("max"))


def test_a_page_from_disk_plays_by_itself_to_its_end_at_a_steady_pace(opened, pictures):
    page = opened("hidden")
    seen = [(time.monotonic(), frame(page))]
    while frame(page) < last(page):
        if frame(page) != seen[-1][1]:
            seen.append((time.monotonic(), frame(page)))
        assert time.monotonic() < seen[0][0] + PATIENCE
    assert [b - a for (_, a), (_, b) in itertools.pairwise(seen)].count(1) >= 0.6 * len(seen)  # few are skipped
    wait_until(lambda: page.locator(".play").is_enabled(), "does not stop")
    if pictures:
        page.screenshot(path=pictures / "film.png")
    page.locator(".play").click()  # once more, from the start
    wait_until(lambda: 0 <= frame(page) < last(page), "does not begin again")
    page.locator(".pause").click()
    wait_until(lambda: page.locator(".play").is_enabled(), "does not pause")
    at = frame(page)
    time.sleep(0.8)
    assert frame(page) == at


def test_with_reduced_motion_it_waits_and_the_slider_and_hovering_work(opened):
    page = opened("hidden", reduced_motion="reduce")
    time.sleep(0.8)
    assert frame(page) == 0
    page.locator(".film input").fill("3")
    wait_until(lambda: frame(page) == 3, "the slider moves nothing")
    page.locator(".stage canvas").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".tip").inner_text().startswith(("source", "target"))
    assert page.locator(".tip canvas").count() == 1


def test_names_are_text(opened):
    page = opened("hidden", reduced_motion="reduce", color_scheme="dark")
    assert page.locator("img").count() == 0
    assert page.get_by_text(IMG).count() >= 1
    assert page.locator(".uda").evaluate(PAPER) == DARK


def test_reveal_is_there_only_if_the_board_was_revealed(opened):
    assert not opened("hidden").locator(".reveal").is_visible()
    page = opened("revealed", reduced_motion="reduce")
    assert not page.locator(".revealed").is_visible()
    page.locator(".reveal").click()
    page.wait_for_selector(".revealed")
    assert "Target accuracy" in page.locator(".revealed").inner_text()


@pytest.mark.parametrize("lab", ["ipykernel 7"], indirect=True)
def test_the_film_of_a_lesson_moves_in_a_notebook_and_a_question_is_text(lab, browser, figures, pictures):
    book = lab.open(browser, NOTEBOOK, "films.ipynb")
    inside = book.page.frame_locator("iframe[title='Film of lesson 01']")
    started = time.monotonic()
    book.run_all()
    inside.locator(".uda canvas[data-step]").wait_for()
    wait_until(lambda: int(inside.locator(".uda").get_attribute("data-frame")) > 0, "does not move")
    figures.setdefault(lab.kernel, {})["film_moves"] = 1000 * (time.monotonic() - started)
    box = book.page.locator("iframe[title='Film of lesson 01']").bounding_box()
    inner = inside.locator(".uda").bounding_box()
    assert inner["height"] <= box["height"] <= inner["height"] + 40
    book.theme("JupyterLab Dark")
    wait_until(lambda: inside.locator(".uda").evaluate(PAPER) == DARK, "does not turn dark")
    if pictures:
        book.page.screenshot(path=pictures / "film_in_a_notebook.png")
    book.page.get_by_text("What is").wait_for()
    assert book.page.locator("img[src=x]").count() == 0
    assert book.page.evaluate("window.ran") is None
    assert book.page.get_by_label(IMG).count() or book.page.get_by_text(IMG).count()
    assert book.errors == []
    book.close()
