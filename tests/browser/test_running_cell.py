"""Play while a cell runs: the board says so at once, whether Python hears it or not, and starts after the cell."""

import pytest

from .conftest import wait_until
from .test_board import BOARD, SETUP, Driver, record

WORDS = "starts when the running cell ends"
NOTE_WHEN = """words => {
    addEventListener("click", () => (window.pressed ??= performance.now()), true);
    const bar = document.querySelector(".uda .pace");
    new MutationObserver(() => {
        if (bar.innerText.includes(words)) window.said ??= performance.now();
    }).observe(bar, { childList: true, subtree: true, characterData: true });
}"""


@pytest.fixture(scope="module")
def board(lab, browser):
    book = lab.open(browser, [SETUP, BOARD], "running.ipynb")
    book.run_all()
    book.page.wait_for_selector(".uda canvas[data-step]")
    board = Driver(book)
    wait_until(lambda: board.python("", "board._loop.idle"), "no rest")
    yield board
    assert book.errors == []
    book.close()


def test_play_while_a_cell_runs_is_answered_at_once_and_starts_after_it(board, lab, figures):
    board.page.evaluate(NOTE_WHEN, WORDS)
    cell = "import pathlib, time; pathlib.Path('running').touch(); time.sleep(5); ended = time.time()"
    board.notebook._client.execute(cell)
    wait_until((lab.home / "running").exists, "no cell runs")
    board.click("Play")
    board.page.wait_for_function("window.said")
    wait_until(lambda: WORDS not in board.text(".uda .pace"), "still waits")
    wait_until(lambda: board.steps() >= 3, "does not train")
    assert board.python("", "log[0][0] >= ended")  # not one step beside the cell
    board.pause()
    steps = board.steps()
    board.page.wait_for_timeout(500)
    assert board.steps() == steps
    assert board.python("", "[r.step for r in board.records]") == list(range(1, steps + 1))
    record(figures, lab, play_while_a_cell_runs=board.page.evaluate("said - pressed"))


def test_run_all_and_play_at_once_says_so_before_python_has_said_anything(lab, browser):
    book = lab.open(browser, [SETUP, BOARD, "time.sleep(8)"], "at_once.ipynb")
    book.run_all()
    book.page.wait_for_selector(".uda button.play")
    book.page.evaluate(NOTE_WHEN, WORDS)
    Driver(book).click("Play")
    book.page.wait_for_function("window.said")
    assert book.page.evaluate("said - pressed") < 2000  # 300 is aimed at; the cell runs for 8 seconds
    wait_until(lambda: book.python("", "run.steps") >= 3, "does not train")
    assert book.errors == []
    book.close()
