"""The board's parts in JupyterLab: on one screen, by keyboard, with the run before, and for a room full of people."""

import pytest

from .conftest import wait_until
from .test_board import Driver

CELL = """
from uda_core import methods
from uda_core.data.digits import fonts_handwriting
from uda_lessons.board import Board
task = fonts_handwriting(400)
run = methods.CGDM(task.pair, methods.Config(batch_size=16), refresh=2, k=1)
board = Board(run, controls=("alpha", "beta", "learning_rate"), steps=400, truth=task.truth, baseline=0.7)
board.show()
"""
one_kernel = pytest.mark.parametrize("lab", ["ipykernel 7"], indirect=True)


@pytest.fixture(scope="module")
def notebook(lab, browser):
    book = lab.open(browser, [CELL], "layout.ipynb")
    book.page.set_viewport_size({"width": 1280, "height": 900})
    book.run_all()
    book.page.wait_for_selector(".uda canvas[data-step]")
    yield book
    assert book.errors == []
    book.close()


@pytest.fixture
def board(notebook):
    notebook.page.evaluate("document.querySelector('.uda').scrollIntoView()")
    return Driver(notebook)


def train(board: Driver, steps: int = 3) -> None:
    """By so many presses of Step."""
    for _ in range(steps):
        before = board.steps()
        board.click("Step")
        board.rest(before + 1)


def box(board: Driver, selector: str) -> dict:
    """Of the part, in the window."""
    return board.page.locator(selector).first.bounding_box()


def inside(outer: dict, inner: dict) -> bool:
    edges = [(box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]) for box in (outer, inner)]
    return all(a <= b + 1 for a, b in zip(edges[0][:2], edges[1][:2], strict=True)) and all(
        a >= b - 1 for a, b in zip(edges[0][2:], edges[1][2:], strict=True)
    )


def apart(a: dict, b: dict) -> bool:
    """Whether two parts do not overlap."""
    return (
        a["x"] + a["width"] <= b["x"]
        or b["x"] + b["width"] <= a["x"]
        or a["y"] + a["height"] <= b["y"]
        or b["y"] + b["height"] <= a["y"]
    )


@one_kernel
def test_one_screen_holds_buttons_map_sliders_losses_and_the_gap(board):
    train(board)
    seen = box(board, ".jp-WindowedPanel-outer")
    assert board.page.locator(".jp-FileBrowser").first.is_visible()
    for part in (".bar", ".stage", ".film", ".controls", ".losses", ".gap"):
        assert inside(seen, box(board, f".uda {part}")), part
    plots = board.page.locator(".uda .losses .plot").all()
    assert len(plots) == 5
    assert min(plot.bounding_box()["width"] for plot in plots) >= 200


@one_kernel
def test_nothing_overlaps_and_nothing_is_cut_off_at_any_width(board):
    names = [".play", ".pause", ".step", ".reset", ".pace", ".seed", ".reveal", ".presenter"]
    for width in (1920, 1280, 1000, 800):
        board.page.set_viewport_size({"width": width, "height": 900})
        board.page.wait_for_timeout(300)
        boxes = [box(board, f".uda .bar {name}") for name in names]
        assert all(apart(a, b) for i, a in enumerate(boxes) for b in boxes[:i]), width
        assert board.page.locator(".uda").first.evaluate("e => e.scrollWidth <= e.clientWidth"), width
    board.page.set_viewport_size({"width": 1280, "height": 900})


@one_kernel
def test_sliders_move_by_keyboard_and_the_notebook_stays_where_it_is(board):
    train(board, 1)
    active = "document.querySelectorAll('.jp-Cell.jp-mod-active').length && document.activeElement.ariaLabel"
    slider = board.page.get_by_label("beta", exact=True).first
    slider.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown"):
        board.page.keyboard.press(key)
    wait_until(lambda: board.python("", "run.settings.beta") == pytest.approx(0.01), "not stored")
    assert board.page.evaluate(active) == "beta"
    assert board.text(".uda .control:nth-of-type(2) output") == "0.01"
    film = board.page.get_by_label("film").first
    film.focus()
    board.page.keyboard.press("End")
    last = int(film.input_value())
    board.page.keyboard.press("ArrowLeft")
    board.page.wait_for_selector(f'.uda[data-frame="{last - 1}"]')
    assert board.page.evaluate(active) == "film"
    board.page.keyboard.press("End")


@one_kernel
def test_a_setting_from_a_cell_is_shown_on_its_slider(board):
    board.python("run.settings.learning_rate, run.settings.alpha = 1e-4, 0.25")
    train(board, 1)
    rate = board.page.get_by_label("learning rate").first
    wait_until(lambda: float(rate.input_value()) == -4, "not shown")
    assert rate.get_attribute("aria-valuetext") == "1.0e-4"
    assert board.text(".uda .control output") == "0.25"


@one_kernel
def test_reset_leaves_the_run_before_in_grey_with_what_was_changed(board):
    train(board, 1)
    board.click("Reveal")
    board.page.locator(".uda .revealed").first.wait_for(state="visible")
    wait_until(lambda: board.python("", "board._loop.idle"), "does not rest")
    accuracy, entropy, steps = board.python(
        "", "[board.scores(board.film[-1])['target_accuracy'], board.film[-1].numbers['entropy'], run.steps]"
    )
    loss = board.text(".uda .losses .curve output")
    board.python("run.settings.beta = 0.5", "None")
    board.page.get_by_label("seed").first.fill("3")
    board.page.get_by_label("seed").first.press("Enter")
    old = board.python("", "board.records[-1].settings.beta")
    board.click("Reset")
    wait_until(lambda: board.steps() == 0, "no Reset")
    board.rest(0)
    assert f"to step {steps}" in board.text(".uda .losses .head")
    assert f"Changed since: beta {old:g} -> 0.5, seed 0 -> 3" in board.text(".uda .losses")
    assert [board.text(f".uda .losses .curve {what}") for what in ("small", "output")] == [loss, ""]
    ink = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean)"
    assert board.page.locator(".uda .losses canvas").first.evaluate(ink)
    assert f"{entropy:.2f} nats" in board.text(".uda .numbers")
    assert f"{100 * accuracy:.1f} %" in board.text(".uda .revealed")
    train(board, 1)
    assert board.text(".uda .losses .curve output") != ""


@one_kernel
def test_presenter_fills_the_window_with_larger_text_and_escape_closes_it(board, pictures):
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    root, small = board.page.locator(".uda").first, board.page.locator(".uda").first.evaluate(size)
    board.page.set_viewport_size({"width": 1920, "height": 1080})
    board.click("Presenter")
    board.page.wait_for_timeout(500)
    assert root.bounding_box() == {"x": 0, "y": 0, "width": 1920, "height": 1080}
    assert root.evaluate(size) == pytest.approx(1.6 * small)
    stage, controls = box(board, ".uda .stage"), box(board, ".uda .controls")
    assert controls["x"] > stage["x"] + stage["width"]
    assert inside({"x": 0, "y": 0, "width": 1920, "height": 1080}, stage)
    assert board.page.evaluate("document.elementFromPoint(5, 5).closest('.uda') !== null")  # over JupyterLab's menu
    train(board, 1)
    if pictures:
        board.page.screenshot(path=pictures / "presenter.png")
    board.page.keyboard.press("Escape")
    board.page.set_viewport_size({"width": 1280, "height": 900})
    wait_until(lambda: root.bounding_box()["x"] > 0, "still presenting")
    assert root.evaluate(size) == pytest.approx(small)


CONTRAST = """root => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const luminance = (rgb) => rgb.reduce((sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0);
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const paper = (e) => {
        const colour = parse(getComputedStyle(e).backgroundColor);
        return colour[3] === 0 ? paper(e.parentElement) : colour;
    };
    const low = [], texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node; (node = texts.nextNode()); ) {
        const e = node.parentElement;
        if (!node.textContent.trim() || !e.checkVisibility() || e.closest("style, :disabled, .unseen")) continue;
        const [a, b] = [parse(getComputedStyle(e).color), paper(e)].map((c) => luminance(c.slice(0, 3)) + 0.05);
        if (Math.max(a, b) / Math.min(a, b) < 4.5) low.push([node.textContent, Math.max(a, b) / Math.min(a, b)]);
    }
    return low;
}"""


@one_kernel
def test_every_text_has_a_contrast_of_4_5_in_light_and_dark(board):
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        board.notebook.theme(theme)
        board.page.wait_for_timeout(700)
        assert board.page.locator(".uda").first.evaluate(CONTRAST) == []
