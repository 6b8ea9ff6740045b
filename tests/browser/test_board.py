"""The board in JupyterLab, as a learner meets it. Tests of one kernel share a page, and each starts from a Reset."""

import itertools
import os
import time

import pytest

from .conftest import ROOT, Notebook, wait_until

SLACK = 5  # a test fails at this many times the figure that is aimed at
BUSY = 3  # load per core beyond which times are written down but not judged
AIMS = {"slider_to_step_p90": 300, "pause": 300, "frame_on_screen": 50, "first_frame": 20_000, "memory_500_frames": 50,
        "margin_to_picture": 300, "play_while_a_cell_runs": 300}  # fmt: skip
SETUP = """
import dataclasses, time, torch
from uda_core import methods
from uda_core.data.digits import fonts_handwriting
from uda_lessons.board import Board
task = fonts_handwriting(1000)
"""
BOARD = """
run = methods.CGDM(task.pair, methods.Config(batch_size=16), refresh=5, k=1)
board = Board(run, controls=("alpha", "k"), steps=2000, truth=task.truth, baseline=0.7)
log, step = [], run.step
def logged():
    record = step()
    log.append((time.time(), record.settings.alpha))
    return record
run.step = logged
board.show()
"""


STREETS = """
from uda_core import methods
from uda_core.data.streets import streets
from uda_lessons.board import Board
task = streets(samples=40, test_samples=4)
config = methods.SegmentationConfig(batch_size=4)
run = methods.CAG(task.pair, config, source_steps=16, stage_steps=4, stages=2)
board = Board(run, controls=("margin",), steps=2000, truth=task.truth, baseline=0.4)
board.show()
"""
LOOK_AT_BOARD = """() => {
    const board = document.querySelector(".uda");
    board?.scrollIntoView({ block: "center" });
    return Boolean(board?.querySelector("canvas[data-step]"));
}"""


@pytest.fixture(scope="module")
def notebook(lab, browser, figures):
    book = lab.open(browser, [SETUP, BOARD], "board.ipynb")
    started = time.monotonic()
    book.run_all()
    book.page.wait_for_selector(".uda canvas[data-step]")
    figures.setdefault(lab.kernel, {})["first_frame_small"] = 1000 * (time.monotonic() - started)
    book.page.wait_for_selector(".uda .mark", state="hidden")  # UMAP has compiled
    yield book
    assert book.errors == []
    book.close()


@pytest.fixture
def board(notebook):
    notebook.page.get_by_role("button", name="Reset").first.click()
    wait_until(lambda: notebook.python("", "not board.records and len(board.film) and board._loop.idle"), "no Reset")
    notebook.python("log.clear()")
    driver = Driver(notebook)
    driver.rest(0)
    return driver


class Driver:
    """What a hand does, and what an eye sees, on the first board of a notebook."""

    def __init__(self, notebook: Notebook):
        self.notebook, self.page, self.python = notebook, notebook.page, notebook.python

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name).first.click()

    def play(self, steps: int = 3) -> None:
        self.click("Play")
        wait_until(lambda: self.steps() >= steps, "does not train")

    def pause(self) -> None:
        self.click("Pause")
        wait_until(lambda: self.python("", "board._loop.idle"), "does not rest")

    def steps(self) -> int:
        return self.python("", "run.steps")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def rest(self, step: int) -> None:
        """Until the map stands still at this step."""
        self.page.wait_for_selector(f'.uda canvas[data-step="{step}"]')
        self.page.wait_for_timeout(400)

    def pixels(self) -> str:
        """The map as it is painted."""
        return self.page.locator(".uda .stage canvas").first.evaluate("canvas => canvas.toDataURL()")


def test_lesson_05_shows_its_first_frame_soon(lab, browser, figures):
    [path] = (ROOT / "notebooks").glob("05_*.ipynb")
    lesson = lab.open(browser, path, "lesson.ipynb")
    started = time.monotonic()
    lesson.run_all()
    wait_until(lambda: lesson.page.evaluate(LOOK_AT_BOARD), "no frame")  # Run All scrolls on to the last cell
    took = 1000 * (time.monotonic() - started)
    lesson.close()
    record(figures, lab, first_frame=took)


def now(page) -> float:
    return page.evaluate("Date.now()") / 1000


def record(figures, lab, **measured: float) -> None:
    """Write the figures down, then judge them: memory always, times where the machine is free."""
    figures.setdefault(lab.kernel, {}).update({name: round(value, 1) for name, value in measured.items()})
    load, cores = os.getloadavg()[0], os.cpu_count()
    busy = load > BUSY * cores
    for name, value in measured.items():
        if name == "memory_500_frames" or not busy:
            assert value <= SLACK * AIMS[name], f"{name}: {value:.0f}, aimed at {AIMS[name]}"
    if busy:
        pytest.skip(f"times mean nothing at a load of {load:.0f} on {cores} cores: {measured}")


def test_frames_move_while_it_trains(board):
    before = board.pixels()
    board.play(steps=20)
    board.pause()
    board.rest(board.steps())
    assert board.pixels() != before
    assert "source ce" in board.text(".uda .losses .curve")
    assert board.python("", "len(board.film)") >= 2


def test_a_slider_is_used_by_the_next_steps(board, lab, figures):
    board.play()
    handle, waits = board.page.get_by_label("alpha").first, []
    handle.focus()
    for i in range(16):
        before = board.python("", "run.settings.alpha")
        pressed = now(board.page)
        board.page.keyboard.press("ArrowRight" if i % 2 == 0 else "ArrowLeft")
        first = wait_until(
            lambda a=before, t=pressed: board.python("", f"next((w for w, x in log if w > {t} and x != {a}), 0)"),
            "not used",
        )
        waits.append(1000 * (first - pressed))
    assert board.python("", "len({r.settings.alpha for r in board.records})") >= 2
    board.pause()
    assert "a setting was moved" in board.text(".uda .losses")
    record(figures, lab, slider_to_step_p90=sorted(waits)[int(0.9 * len(waits))])


def test_pause_stops_after_the_step_under_way(board, lab, figures):
    waits = []
    board.page.evaluate("addEventListener('click', () => (window.pressed = Date.now()), true)")
    for _ in range(5):
        board.play(steps=board.steps() + 3)
        board.click("Pause")
        pressed = board.page.evaluate("window.pressed") / 1000
        wait_until(lambda: board.python("", "board._loop.idle"), "does not rest")
        waits.append(1000 * max(0, board.python("", "log[-1][0]") - pressed))
        steps = board.steps()
        time.sleep(0.3)
        assert board.steps() == steps
    record(figures, lab, pause=max(waits))


def test_step_trains_once(board):
    for n in (1, 2, 3):
        board.click("Step")
        board.rest(n)
        assert board.python("", "[r.step for r in board.records]") == list(range(1, n + 1))


def test_reset_while_playing_starts_afresh_with_the_seed_on_the_board(board):
    board.page.get_by_label("seed").fill("3")
    board.page.get_by_label("seed").press("Enter")
    board.play(steps=4)
    board.click("Reset")
    wait_until(lambda: board.python("", "run.steps == 0 and board._loop.idle"), "no Reset")
    for n in (1, 2, 3):
        board.click("Step")
        board.rest(n)
    same = """
other = methods.CGDM(task.pair, dataclasses.replace(run.config, seed=3), refresh=5, k=1, alpha=run.settings.alpha)
for _ in range(3): other.step()
equal = all(torch.equal(a, b) for a, b in zip(run.heads.state_dict().values(), other.heads.state_dict().values()))
"""
    assert board.python(same, "equal")
    assert board.python("", "run.config.seed") == 3


def test_after_a_reset_the_run_before_is_dimmed_until_the_new_one_has_a_frame(board):
    board.click("Step")
    board.rest(1)
    seen = """() => {
        const board = document.querySelector(".uda"), points = board.querySelector(".stage canvas");
        window.seen = [];
        new MutationObserver(() => window.seen.push(getComputedStyle(points).opacity))
            .observe(board, { attributes: true, attributeFilter: ["class"] });
    }"""
    board.page.evaluate(seen)
    board.click("Reset")
    board.rest(0)
    assert board.page.evaluate("window.seen") == ["0.3", "1"]


def test_reveal_shows_what_needs_labels_only_when_pressed(board):
    board.click("Step")
    board.rest(1)
    revealed = board.page.locator(".uda .revealed").first
    assert not revealed.is_visible()
    before = board.pixels()
    board.click("Reveal")
    revealed.wait_for(state="visible")
    board.page.wait_for_timeout(400)
    accuracy = board.python("", "board.scores(board.film[-1])['target_accuracy']")
    assert f"{100 * accuracy:.1f} %" in revealed.inner_text()
    assert "70.0 %" in revealed.inner_text()
    assert board.pixels() != before  # crosses


def test_the_film_shows_every_frame_as_it_was(board):
    seen, digest = [board.pixels()], "[__import__('hashlib').sha256(f.positions).hexdigest() for f in board.film]"
    for n in (1, 2, 3):
        board.click("Step")
        board.rest(n)
        seen.append(board.pixels())
    sent = board.python("", digest)
    film = board.page.get_by_label("film").first
    for i in (0, 2, 1, 3):
        film.fill(str(i))
        board.rest(i)
        assert board.pixels() == seen[i]
    assert board.python("", digest) == sent
    assert "frame 4 of 4" in board.text(".uda .film output")


def test_hovering_by_keyboard_shows_a_sample(board):
    board.page.locator(".uda .stage canvas").nth(1).focus()
    board.page.keyboard.press("ArrowRight")
    assert "prediction" in board.text(".uda .tip")
    board.page.keyboard.press("Escape")
    assert not board.page.locator(".uda .tip").first.is_visible()


def test_an_interrupt_pauses_and_play_goes_on(board):
    board.play()
    board.notebook.interrupt()
    wait_until(lambda: not board.python("", "board.playing"), "goes on")
    wait_until(lambda: board.python("", "board._loop.idle"), "does not rest")
    steps = board.steps()
    assert board.python("", "[r.step for r in board.records]") == list(range(1, steps + 1))
    assert not board.page.locator(".uda .error").first.is_visible()
    board.play(steps=steps + 3)
    board.pause()


def test_an_exception_stops_the_run_and_is_shown(board):
    board.python("def broken():\n    raise FloatingPointError('the loss is nan')\nrun.step, kept = broken, run.step")
    board.click("Play")
    error = board.page.locator(".uda .error").first
    error.wait_for(state="visible")
    assert "FloatingPointError: the loss is nan" in error.inner_text()
    assert not board.python("run.step = kept", "board.playing")
    board.click("Reset")
    error.wait_for(state="hidden")
    board.play()
    board.pause()


def test_a_second_board_pauses_the_first(board):
    board.python(
        "from IPython.display import display\nother = Board(methods.SourceOnly(task.pair), (), steps=50)\nother.show()"
    )
    board.play()
    board.python("other.play()")
    wait_until(lambda: not board.python("", "board.playing"), "both play")
    board.python("other.pause()")


def test_the_curves_of_a_run_that_has_trained_before_begin_at_the_left(board):
    board.python("for _ in range(40): kept = run.step()")
    board.click("Step")
    board.rest(41)
    curve = board.page.locator(".uda .losses canvas").first
    above_its_axis = "c => c.getContext('2d').getImageData(0, 0, 0.2 * c.width, 0.9 * c.height).data.some(Boolean)"
    wait_until(lambda: curve.evaluate(above_its_axis), "no curve")


def test_the_saved_notebook_keeps_a_last_picture(board):
    board.click("Step")
    board.rest(1)
    picture = board.page.locator('img[class^="uda-picture"]').first
    picture.wait_for(state="attached")
    assert not picture.is_visible()  # the board itself is there
    outputs = [out for cell in board.notebook.save().cells for out in cell.outputs]
    assert any('<img class="uda-picture' in "".join(out.get("data", {}).get("text/html", "")) for out in outputs)


def test_it_fits_wide_and_narrow_light_and_dark(board, pictures):
    board.play(steps=20)
    board.pause()
    board.click("Reveal")
    shown = board.page.locator(".uda").first
    papers = []
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        board.notebook.theme(theme)
        for width in (1280, 800):
            board.page.set_viewport_size({"width": width, "height": 1100})
            board.page.wait_for_timeout(700)
            assert shown.evaluate(
                "e => e.scrollWidth <= e.clientWidth && e.getBoundingClientRect().right <= innerWidth"
            )
            papers.append(shown.evaluate("e => getComputedStyle(e).backgroundColor"))
            if pictures:
                shown.screenshot(path=pictures / f"{board.notebook.lab.kernel} {theme} {width}.png".replace(" ", "_"))
    board.page.set_viewport_size({"width": 1280, "height": 1100})
    assert papers[0] == papers[1] != papers[2] == papers[3]


def test_500_frames_arrive_in_time_and_leave_no_memory_behind(board, lab, figures):
    """Frames of 2,000 points, jittered and sent as any frame is: 60 one by one, the rest in bursts."""
    frames = """
import numpy as np
rng, first = np.random.default_rng(0), board.film[-1]
def more(n):
    for _ in range(n):
        positions = np.frombuffer(first.positions, '<u2').astype(int) + rng.integers(-900, 900, 4000)
        board.film.append(dataclasses.replace(first, positions=positions.clip(0, 65535).astype('<u2').tobytes()))
    board._send_news()
"""
    board.python(frames, "len(first.positions)")
    session = board.page.context.new_cdp_session(board.page)

    def used() -> float:
        session.send("HeapProfiler.collectGarbage")
        usage = session.send("Runtime.getHeapUsage")
        return (usage["usedSize"] + usage.get("backingStorageSize", 0)) / 2**20

    before, sent, lateness = used(), 0, []
    for burst in [1] * 60 + [20] * 22:
        sent += burst
        board.python(f"more({burst})")
        board.page.wait_for_selector(f'.uda[data-frame="{sent}"]')
        board.page.wait_for_timeout(60)
        if burst == 1:
            lateness.append(float(board.page.locator(".uda .stage canvas").first.get_attribute("data-late")))
    late = sorted(lateness)[len(lateness) // 2]
    record(figures, lab, memory_500_frames=used() - before, frame_on_screen=late)


one_kernel = pytest.mark.parametrize("lab", ["ipykernel 7"], indirect=True)  # what they differ in, the tests above see


@pytest.fixture(scope="module")
def streets(lab, browser):
    """A board of streets, at rest in its second stage."""
    book = lab.open(browser, [STREETS], "streets.ipynb")
    book.run_all()
    book.page.wait_for_selector(".uda canvas[data-step]")
    book.page.wait_for_selector(".uda .mark", state="hidden")  # UMAP has compiled
    board = Driver(book)
    board.before = [painted(board, "prediction"), board.pixels()]
    board.play(steps=24)
    board.pause()
    board.rest(board.steps())
    yield board
    assert book.errors == []
    book.close()


def paint(board: Driver, name: str):
    """One of the pictures of the target image: "image", "prediction", "active" or "true"."""
    return board.page.locator(f".uda figure canvas.{name}").first


def painted(board: Driver, name: str) -> str:
    return paint(board, name).evaluate("canvas => canvas.toDataURL()")


@one_kernel
def test_a_board_of_streets_paints_predictions(streets):
    assert [painted(streets, "prediction"), streets.pixels()] != streets.before
    assert "stage 2" in streets.text(".uda .pace p")
    image = painted(streets, "image")
    streets.page.get_by_role("button", name="next picture").first.press("Enter")
    assert painted(streets, "image") != image
    assert "2 of 3" in streets.text(".uda .head")


@one_kernel
def test_the_margin_lights_up_other_pixels_and_moves_no_point(streets, lab, figures):
    lit, map_pixels, frames = painted(streets, "active"), streets.pixels(), streets.python("", "len(board.film)")
    drawn = f'img[class^="uda-picture"][alt*="after {streets.steps()} steps"]'  # drawing takes a moment, and blocks
    streets.page.wait_for_selector(drawn, state="attached")
    streets.page.get_by_label("margin").first.focus()
    pressed = now(streets.page)
    streets.page.keyboard.press("PageUp")
    streets.page.wait_for_selector(f'.uda[data-frame="{frames}"]')
    waited = 1000 * (now(streets.page) - pressed)
    streets.page.wait_for_timeout(400)
    assert painted(streets, "active") != lit
    assert streets.pixels() == map_pixels
    record(figures, lab, margin_to_picture=waited)


@one_kernel
def test_reveal_shows_true_labels_and_iou_of_streets(streets):
    assert not paint(streets, "true").is_visible()
    assert "IoU" not in streets.text(".uda .classes")
    streets.click("Reveal")
    paint(streets, "true").wait_for(state="visible")
    scores = streets.python("", "board.scores(board.film[-1])")
    assert f"{100 * scores['miou']:.1f} %" in streets.text(".uda .revealed")
    assert f"{100 * scores['classes']['iou'][0]:.0f} %" in streets.text(".uda .classes")
    points, tips = streets.page.locator(".uda .stage canvas").nth(1), []
    points.scroll_into_view_if_needed()
    box = points.bounding_box()
    for i, j in itertools.product(
        range(1, 16), range(1, 16)
    ):  # past points of either domain, wherever the map has them
        streets.page.mouse.move(box["x"] + i / 16 * box["width"], box["y"] + j / 16 * box["height"])
        tips.append(streets.text(".uda .tip"))
    assert any("label:" in tip for tip in tips)
    assert any("ctive" in tip for tip in tips)


@one_kernel
def test_a_board_of_streets_fits_wide_and_narrow(streets, pictures):
    shown = streets.page.locator(".uda").first
    for theme, width in (("JupyterLab Light", 1280), ("JupyterLab Dark", 800)):
        streets.notebook.theme(theme)
        streets.page.set_viewport_size({"width": width, "height": 1300})
        streets.page.wait_for_timeout(700)
        assert shown.evaluate("e => e.scrollWidth <= e.clientWidth && e.getBoundingClientRect().right <= innerWidth")
        if pictures:
            shown.screenshot(path=pictures / f"streets {theme} {width}.png".replace(" ", "_"))
