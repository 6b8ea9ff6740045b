"""The board without a browser: who learns what, what is sent, and that watching changes nothing."""

import copy
import dataclasses
import os
import re
import signal
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uda_core import evaluation, methods
from uda_core.data.streets import streets
from uda_core.errors import UserError
from uda_core.samples import IGNORE, Unlabelled
from uda_core.task import Truth
from uda_core.training import fit
from uda_lessons import canvas
from uda_lessons.board import Board, feature_map, figures, kernel, loop, umap_worker
from uda_lessons.board import page as page_module
from uda_lessons.board.points import IMAGES, NO_LABEL, PICTURES, at, balanced, centroids

SMALL = methods.Config(batch_size=16, features=8, hidden=(6,))


class NoUmap:
    """A worker that never gets ready, so that the map stays PCA, and measures here and at once."""

    deaths = 0

    def __init__(self):
        self.ready, self.starts = Future(), 1

    def ask(self, name: str, *arguments) -> Future:
        """Done here and at once."""
        future: Future = Future()
        future.set_result(getattr(umap_worker, name)(*arguments))
        return future


@pytest.fixture(autouse=True)
def _no_umap(monkeypatch, request):
    if "umap" not in request.fixturenames:
        no_umap = NoUmap()
        monkeypatch.setattr(feature_map, "worker", lambda: no_umap)


@pytest.fixture
def umap():
    """The real worker, of which there is one for all tests: it takes seconds to compile."""
    return feature_map.worker()


@pytest.fixture
def watched(monkeypatch):
    """Somebody looks at a page; what would be displayed is dropped."""
    monkeypatch.setenv("UDA_LIVE", "1")
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")
    monkeypatch.setattr(page_module, "display", lambda *_, **__: None)


class Page:
    """What the JavaScript does, without the drawing: answers `more` with a tick, keeps what it is sent."""

    def __init__(self, board: Board):
        board.show()
        self.board, self.frames, self.records, self.states, self.ghost = board, {}, [], [], None
        board._canvas.send = self.hear
        self.do("hello")

    def hear(self, message: dict, buffers: list) -> None:
        if message["do"] == "clear":
            self.frames, self.records = {}, []
        if message["do"] == "frame":
            self.frames[message["i"]] = [bytes(b) for b in buffers]
        if message["do"] == "ghost":
            self.ghost = message
        if message["do"] == "state":
            self.states.append(message)
            self.records += message["records"]

    def do(self, what: str, **details) -> None:
        self.board._on_message(None, {"do": what, **details}, [])

    def until(self, condition, ticks: int = 3000) -> None:
        for _ in range(ticks):
            if condition():
                return
            self.do("tick")
        raise AssertionError("never happens")

    def rest(self) -> None:
        self.until(lambda: self.board._loop.idle)
        self.do("tick")


def make(task, method="cgdm", steps=12, truth=True, config=SMALL, **settings) -> Board:
    run = methods.CLASSIFICATION[method](task.pair, config, **settings)
    return Board(run, steps=steps, truth=task.truth if truth else None, baseline=0.7)


def weights(run) -> list[torch.Tensor]:
    return [tensor for name in run.NETWORK_NAMES for tensor in getattr(run, name).state_dict().values()]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("method", methods.CLASSIFICATION)
def test_weights_are_the_same_bit_for_bit_with_and_without_a_board(watched, digits_task, method):
    alone = methods.CLASSIFICATION[method](digits_task.pair, SMALL)
    for _ in range(12):
        alone.step()
    page = Page(make(digits_task, method))
    page.do("play")
    page.rest()
    assert page.board.run.steps == 12
    assert same(alone, page.board.run)


def test_two_boards_at_once_do_not_disturb_each_other(watched, digits_task):
    alone = methods.CGDM(digits_task.pair, SMALL, refresh=3)
    for _ in range(4):
        alone.step()
    first, second = Page(make(digits_task, refresh=3)), Page(make(digits_task, refresh=3))
    for _ in range(4):
        for page in (first, second):
            page.do("step")
            page.rest()
    assert same(alone, first.board.run)
    assert same(alone, second.board.run)


def test_the_truth_changes_neither_weights_nor_frames(watched, digits_task):
    pages = []
    for seed in (None, 1):
        task = copy.copy(digits_task)
        if seed:
            y = torch.randint(10, (len(task.pair.target_train),), generator=torch.Generator().manual_seed(seed))
            object.__setattr__(task, "truth", Truth(y, y))
        page = Page(make(task, steps=3, refresh=2))
        page.board.reveal()
        for _ in range(3):
            page.do("step")
            page.rest()
        pages.append(page)
    assert same(*(page.board.run for page in pages))
    assert pages[0].frames == pages[1].frames


def test_a_slider_stores_a_number_and_the_next_record_has_it(watched, digits_task):
    page = Page(make(digits_task))
    start = page.board.run.settings.alpha
    page.do("step")
    page.rest()
    page.do("set", name="alpha", value=0.42)
    assert page.board.run.settings.alpha == 0.42
    page.do("step")
    page.rest()
    assert [record.settings.alpha for record in page.board.records] == [start, 0.42]
    assert [move for state in page.states for move in state["moved"]] == [[2, f"alpha {start:g} to 0.42"]]


def test_sliders_come_from_the_settings(watched, digits_task):
    page = Page(make(digits_task))
    controls = {control["name"]: control for control in page.board._canvas.facts["controls"]}
    assert {"learning_rate", "discrepancy", "infomax", "alpha", "beta", "k", "warm_up", "refresh"} == set(controls)
    k, rate = controls["k"], controls["learning_rate"]
    assert [k[name] for name in ("low", "high", "step", "kind", "unit")] == [0, 8, 1, "int", "steps"]
    assert [rate[name] for name in ("label", "low", "high", "kind")] == ["learning rate", 1e-5, 0.1, "log"]
    assert all(control["low"] <= control["value"] <= control["high"] for control in controls.values())
    page.board.run.settings.alpha = 0.7  # from a cell
    page.do("tick")
    assert page.states[-1]["settings"] == dataclasses.asdict(page.board.run.settings)


def test_an_unknown_control_is_named_in_one_line(digits_task):
    with pytest.raises(UserError, match=r"unknown setting 'alhpa'.*Did you mean 'alpha'"):
        Board(methods.CGDM(digits_task.pair, SMALL), controls=("alhpa",))


def test_pause_stops_and_play_goes_on(watched, digits_task):
    page = Page(make(digits_task, steps=40))
    page.do("play")
    page.until(lambda: page.board.run.steps >= 3)
    page.do("pause")
    steps = page.board.run.steps
    page.rest()
    assert page.board.run.steps == steps
    assert page.board.film[-1].step == steps
    page.do("play")
    page.rest()
    assert [record.step for record in page.board.records] == list(range(1, 41))
    assert [step for step, *_ in page.records] == list(range(1, 41))


def test_reset_while_playing_loses_and_doubles_nothing(watched, digits_task):
    page = Page(make(digits_task))
    page.do("seed", value=5)
    page.do("play")
    page.until(lambda: page.board.run.steps >= 2)
    page.do("reset")
    page.rest()
    assert (page.board.run.steps, page.board.records, page.records) == (0, [], [])
    assert (page.board.run.config.seed, page.board.playing, list(page.frames)) == (5, False, [0])
    page.do("play")
    page.rest()
    fresh = methods.CGDM(digits_task.pair, methods.Config(batch_size=16, features=8, hidden=(6,), seed=5))
    for _ in range(12):
        fresh.step()
    assert same(fresh, page.board.run)
    assert [step for step, *_ in page.records] == list(range(1, 13))


def test_an_exception_stops_the_run_and_is_shown(watched, digits_task, monkeypatch):
    page = Page(make(digits_task))
    page.do("step")
    page.rest()
    with monkeypatch.context() as patch:
        patch.setattr(page.board.run, "_step", lambda *_: 1 / 0)
        page.do("play")
        page.rest()
    assert isinstance(page.board.error, ZeroDivisionError)
    assert page.states[-1]["error"] == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in page.states[-1]["trace"]
    assert not page.states[-1]["playing"]
    page.do("reset")
    page.do("play")
    page.rest()
    assert page.states[-1]["error"] == ""
    assert page.board.run.steps == 12


def test_a_broken_picture_does_not_silence_the_board(watched, digits_task, monkeypatch):
    monkeypatch.setattr(page_module, "PICTURE_AFTER", 0)
    page = Page(make(digits_task))
    page.board._picture = type("Handle", (), {"update": lambda *_: 1 / 0})()
    page.do("step")
    page.rest()
    page.do("tick")
    assert "ZeroDivisionError" in page.states[-1]["error"]


def test_a_second_board_pauses_the_first(watched, digits_task):
    first, second = Page(make(digits_task)), Page(make(digits_task))
    first.do("play")
    second.do("play")
    assert (first.board.playing, second.board.playing) == (False, True)


def test_an_interrupt_pauses_without_tearing_a_step(watched, digits_task, monkeypatch):
    page = Page(make(digits_task, steps=50))
    step = page.board.run.step

    def interrupted():
        if page.board.run.steps == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step()

    monkeypatch.setattr(page.board.run, "step", interrupted)
    page.do("play")
    page.rest()
    assert (page.board.run.steps, page.board.playing, page.board.error) == (5, False, None)
    assert [record.step for record in page.board.records] == [1, 2, 3, 4, 5]


def test_a_board_waits_while_a_cell_runs(watched, digits_task):
    page = Page(make(digits_task))
    page.do("play")
    steps, taken, done = page.board.run.steps, threading.Event(), threading.Event()

    def cell():
        with kernel.turn:
            taken.set()
            done.wait(10)

    thread = threading.Thread(target=cell)
    thread.start()
    taken.wait(10)
    page.do("tick")
    assert (page.board.run.steps, page.states[-1]["busy"]) == (steps, True)
    done.set()
    thread.join()
    page.rest()
    assert page.board.run.steps == 12


def test_frames_stay_as_they_were_sent(watched, digits_task, monkeypatch):
    monkeypatch.setattr(loop, "WORTH", 0)
    page = Page(make(digits_task, steps=6, refresh=2))
    page.do("play")
    page.rest()
    sent = dict(page.frames)
    assert len(sent) == len(page.board.film) >= 6
    for i, frame in enumerate(page.board.film):
        assert sent[i] == [
            frame.positions, frame.predictions, frame.pseudo_labels, frame.centroids, frame.pictures, frame.plane,
        ]  # fmt: skip
    page.do("hello")  # a page opened anew gets the same film
    assert page.frames == sent
    n_s, n_t = len(digits_task.pair.source_train), len(digits_task.pair.target_train)
    last = page.board.film[-1]
    assert len(last.positions) == 2 * 2 * (n_s + n_t)
    assert (
        np.frombuffer(last.pseudo_labels, "<u2") == page.board.run.pseudo_labels[page.board._loop.points.i_t].numpy()
    ).all()
    assert set(np.frombuffer(page.board.film[0].pseudo_labels, "<u2")) == {NO_LABEL}


def test_a_frame_shows_what_the_networks_say(watched, digits_task):
    page = Page(make(digits_task))
    page.do("step")
    page.rest()
    points, run, frame = page.board._loop.points, page.board.run, page.board.film[-1]
    z = torch.cat([sum(run.predict(x)) for x in (points.x_s, points.x_t)])
    assert np.frombuffer(frame.predictions, "<u2").tolist() == z.argmax(1).tolist()
    assert {"agreement", "entropy", "domain_accuracy", "neighbour_mixing_control"} <= set(frame.numbers)
    assert len(frame.cosines) == 2
    assert frame.map == "PCA"


def test_a_frame_of_clusters_shows_the_source_by_the_heads_and_the_target_by_its_clusters(watched, digits_task):
    page = Page(make(digits_task, "clusters"))
    page.do("step")
    page.rest()
    points, run, frame = page.board._loop.points, page.board.run, page.board.film[-1]
    z = torch.cat([sum(run.predict(x, domain)) for x, domain in ((points.x_s, "source"), (points.x_t, "target"))])
    assert np.frombuffer(frame.predictions, "<u2").tolist() == z.argmax(1).tolist()
    assert not torch.equal(sum(run.predict(points.x_t, "source")).argmax(1), sum(run.predict(points.x_t)).argmax(1))
    assert frame.numbers["agreement"] == 1


def test_gradient_cosines_are_for_cgdm_only(watched, digits_task):
    assert Page(make(digits_task, "mcd")).board.film[0].cosines is None


def test_reveal_opens_the_truth_and_reset_closes_it(watched, digits_task):
    page = Page(make(digits_task))
    assert not page.board.revealed
    assert page.board._frame_message(0)["scores"] is None
    page.do("reveal")
    points, run = page.board._loop.points, page.board.run
    right = (
        sum(run.predict(digits_task.pair.target_train.x[points.i_all])).argmax(1)
        == digits_task.truth.target_train[points.i_all]
    )
    assert page.board._frame_message(0)["scores"]["target_accuracy"] == pytest.approx(right.float().mean().item())
    assert page.board._frame_message(0)["scores"]["pseudo_label_accuracy"] is None
    page.do("reset")
    page.rest()
    assert not page.board.revealed


def test_without_a_truth_there_is_nothing_to_reveal(watched, digits_task):
    page = Page(make(digits_task, truth=False))
    assert page.board._canvas.facts["truth"] is False
    with pytest.raises(UserError, match="no truth to reveal"):
        page.board.reveal()


PAGE = {
    "header": {"msg_id": "1f7a2c1e-8a52-4c0e-9a3e-0d8a1f6f6b11"},
    "metadata": {"cellId": "a"},
}  # JupyterLab, VS Code
CLASSIC = {"header": {"msg_id": "8d3e24d0d5f84b0f8f4be0d7d7c3a1b2"}, "metadata": {}}  # Notebook 6
CLIENT = {"header": {"msg_id": "6f1e5d0c-2b9a7d_4711_12"}, "metadata": {}}  # nbclient, papermill


@pytest.mark.parametrize(("parent", "live"), [(PAGE, True), (CLASSIC, True), (CLIENT, False), ({}, False)])
def test_a_board_is_live_where_a_page_runs_the_cell(monkeypatch, parent, live):
    monkeypatch.delenv("UDA_LIVE", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")  # as nbclient inherits it, started from inside a notebook
    shell = SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda _: parent))
    monkeypatch.setattr(kernel, "get_ipython", lambda: shell)
    assert kernel.is_live() is live
    for asked in ("0", "1"):
        monkeypatch.setenv("UDA_LIVE", asked)
        assert kernel.is_live() is (asked == "1")
    monkeypatch.setenv("UDA_LIVE", "maybe")
    with pytest.raises(UserError, match="UDA_LIVE"):
        kernel.is_live()


def test_without_a_kernel_no_board_is_live(monkeypatch):
    monkeypatch.delenv("UDA_LIVE", raising=False)
    assert not kernel.is_live()


def test_a_board_says_whether_it_was_played(watched, digits_task, capsys):
    page = Page(make(digits_task, steps=3))
    assert not page.board.played()
    assert "has not been trained yet. Press Play" in capsys.readouterr().out
    page.do("step")
    page.rest()
    assert not page.board.played()
    assert "has done 1 of 3 steps" in capsys.readouterr().out
    page.do("play")
    page.rest()
    assert page.board.played()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("widgets", "lab", "said"),
    [("7.7.1", "4.6.1", True), ("7.7.1", "3.6.8", False), ("8.1.5", "4.6.1", False), ("7.7.1", None, False)],
)
def test_the_first_board_says_where_widgets_are_not_drawn(
    watched, monkeypatch, digits_task, capsys, widgets, lab, said
):
    def installed(package):
        if lab is None:
            raise kernel.PackageNotFoundError(package)
        return lab

    monkeypatch.setattr(kernel.ipywidgets, "__version__", widgets)
    monkeypatch.setattr(kernel, "version", installed)
    monkeypatch.setattr(Board, "_warned", False)
    make(digits_task).show()
    lines = capsys.readouterr().out.splitlines()
    assert [("JupyterLab 4.6.1 needs ipywidgets 8" in line) for line in lines] == [True] * said
    make(digits_task).show()
    assert capsys.readouterr().out == ""
    monkeypatch.setitem(kernel.sys.modules, "google.colab", kernel)
    assert kernel.warning() is None


def test_headless_an_error_propagates(monkeypatch, digits_task):
    monkeypatch.delenv("UDA_LIVE", raising=False)
    board = make(digits_task)
    monkeypatch.setattr(board.run, "_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        board.show()


def test_the_picture_is_kept_for_the_saved_notebook(watched, digits_task, monkeypatch):
    monkeypatch.setattr(page_module, "PICTURE_AFTER", 0)
    kept = []
    page = Page(make(digits_task))
    page.board._picture = type("Handle", (), {"update": lambda _, html: kept.append(html.data)})()
    page.do("step")
    page.rest()
    page.do("tick")
    assert len(kept) == 1
    assert re.match(r'<img class="uda-picture-\w+" alt="cgdm on .* after 1 steps', kept[0])
    assert page.board._canvas.facts["picture"] in kept[0]


# -- where each pixel has a label ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_streets():
    """As many small street scenes in each split as a board shows, so that it has them all."""
    return streets(samples=IMAGES, test_samples=2, size=(32, 64))


def make_dense(task, method="cag", steps=12, **settings) -> Board:
    if method == "cag":
        settings = {"source_steps": 8, "stage_steps": 2, "stages": 2} | settings
    run = methods.SEGMENTATION[method](task.pair, methods.SegmentationConfig(batch_size=4), **settings)
    return Board(run, steps=steps, truth=task.truth, baseline=0.4)


@pytest.fixture(scope="module")
def second_stage(small_streets):
    """A run that has come to its second stage, and its records."""
    run = make_dense(small_streets).run
    return run, list(fit(run, 12))


@pytest.fixture
def trained(watched, small_streets, second_stage):
    """A page with a board on it that rests."""
    board = Board(copy.deepcopy(second_stage[0]), steps=12, truth=small_streets.truth, baseline=0.4)
    assert board.run.stage == 2
    page = Page(board)
    page.rest()
    return page


@pytest.mark.parametrize("method", methods.SEGMENTATION)
def test_weights_of_a_segmenter_are_the_same_with_and_without_a_board(watched, monkeypatch, small_streets, method):
    alone = make_dense(small_streets, method).run
    for _ in range(12):
        alone.step()
    monkeypatch.setattr(loop, "MEASURE", 10)
    page = Page(make_dense(small_streets, method))
    page.do("play")
    page.rest()
    page.do("reveal")
    assert page.board.run.steps == 12
    assert same(alone, page.board.run)
    assert [page.frames[i][4] for i in page.frames] == [frame.pictures for frame in page.board.film]
    assert all(frame.pictures for frame in page.board.film)


@pytest.mark.parametrize("method", ["source_only", "output_adversarial"])
def test_a_method_without_anchors_shows_the_preview_that_cag_shows(watched, small_streets, method):
    ours, of_cag = (Page(make_dense(small_streets, name)).board.film[0] for name in (method, "cag"))
    assert (ours.pictures, ours.coverage, ours.notes) == (of_cag.pictures, of_cag.coverage, of_cag.notes)
    assert {name: ours.numbers[name] for name in ("active", "confident", "entropy")}.items() <= of_cag.numbers.items()
    assert ours.notes[0].startswith("A preview")


def test_frames_carry_pictures_of_what_the_networks_say(trained):
    board = trained.board
    points, run, frame = board._loop.points, board.run, board.film[-1]
    images, predictions, active = points.pictures(frame)
    x = points.x_t[:PICTURES]
    assert np.abs(images / 255 - x.permute(0, 2, 3, 1).numpy()).max() <= 1 / 255
    assert (predictions == run.predict(x)[0].argmax(1).numpy()).all()
    labels = run.label(points.x_t, run.settings)
    assert (active == labels.by_anchor[:PICTURES].numpy()).all()
    assert frame.numbers["active"] == pytest.approx((labels.by_anchor != IGNORE).float().mean().item())
    assert frame.numbers["confident"] == pytest.approx((labels.by_confidence != IGNORE).float().mean().item())
    y_hat = np.frombuffer(frame.pseudo_labels, "<u2")
    assert (
        y_hat
        == np.where(at(labels.by_anchor, points.place_t) == IGNORE, NO_LABEL, at(labels.by_anchor, points.place_t))
    ).all()
    assert {"domain_accuracy", "neighbour_mixing_control", "entropy"} <= set(frame.numbers)
    assert "agreement" not in frame.numbers


def test_the_filled_stars_are_the_anchors_laid_out_with_the_points(trained):
    board = trained.board
    observed, frame, run = board._loop._observation[1], board.film[-1], board.run
    assert torch.equal(observed.f[-8:][run.anchors.present], run.anchors.a[run.anchors.present])
    stars = np.frombuffer(frame.centroids, "<u2").reshape(2, 8, 2)
    assert ((stars[0, :, 0] != NO_LABEL) == run.anchors.present.numpy()).all()
    absent = [name for name, there in zip(run.pair.classes, run.anchors.present, strict=True) if not there]
    assert absent
    assert any(", ".join(absent) in note for note in frame.notes)
    assert absent[0] in figures.summary(run, board._loop.points, frame, 12)


def test_a_moved_margin_is_read_anew_without_a_pass_of_the_images(trained, monkeypatch):
    board, run = trained.board, trained.board.run
    monkeypatch.setattr(run, "features_and_logits", lambda *_: 1 / 0)
    woken = []
    monkeypatch.setattr(board._canvas, "send", lambda message, **_: woken.append(message["do"]))
    frames, before = len(board.film), board.film[-1]
    trained.do("set", name="margin", value=1.2)
    assert woken == ["wake"]
    monkeypatch.setattr(board._canvas, "send", trained.hear)
    trained.do("tick")
    after = board.film[-1]
    assert len(board.film) == len(trained.frames) == frames + 1
    assert (after.step, after.positions, after.centroids) == (before.step, before.positions, before.centroids)
    assert after.numbers["active"] < before.numbers["active"]
    assert after.numbers["domain_accuracy"] == before.numbers["domain_accuracy"]
    assert after.pictures != before.pictures
    trained.do("set", name="distance", value=0.1)  # nothing on the board depends on it
    trained.rest()
    assert len(board.film) == frames + 1


def test_no_active_pixel_is_noted_and_breaks_nothing(trained):
    board = trained.board
    board.run.settings.margin = 50
    trained.rest()
    trained.do("reveal")
    frame = board.film[-1]
    assert frame.numbers["active"] == 0
    assert "Never active" in frame.notes[-1]
    assert (board._loop.points.pictures(frame)[2] == IGNORE).all()
    assert board.scores(frame)["active_precision"] is None
    assert board.figure() is not None


def test_revealed_scores_are_those_of_evaluation_on_the_same_images(trained, small_streets):
    board, run = trained.board, trained.board.run
    trained.do("reveal")
    scores = board._frame_message(len(board.film) - 1)["scores"]
    x, y = small_streets.pair.target_train.x, small_streets.truth.target_train
    confusion = evaluation.confusion_counts(y, evaluation.predicted(run, x), 8)
    quality = evaluation.pseudo_label_quality(run, small_streets)
    assert scores["miou"] == pytest.approx(evaluation.mean_iou(confusion))
    assert scores["active_precision"] == pytest.approx(quality.overall_precision)
    for name, values in (("iou", evaluation.class_ious(confusion)), ("recall", quality.recall)):
        assert scores["classes"][name] == [None if np.isnan(v) else pytest.approx(v) for v in values]


def test_truth_of_pixels_changes_nothing_before_it_is_revealed(watched, small_streets):
    y = torch.randint(8, small_streets.truth.target_train.shape, dtype=torch.uint8)
    pages = [
        Page(make_dense(task)) for task in (small_streets, dataclasses.replace(small_streets, truth=Truth(y, y[:2])))
    ]
    for page in pages:
        page.do("step")
        page.rest()
    assert pages[0].frames == pages[1].frames


def test_the_static_figure_shows_pictures_classes_and_stages(trained, second_stage):
    board = trained.board
    board.records.extend(second_stage[1])
    hidden = board.figure()
    trained.do("reveal")
    shown = board.figure()
    titles = [[axis.get_title() for axis in figure.axes if axis.images] for figure in (hidden, shown)]
    assert titles[0] == ["image", "prediction", "active pixels"]
    assert titles[1] == ["image", "prediction (dark: wrong)", "active pixels (crossed: wrong)", "true labels"]
    assert figures.stages_began(board.records) == [9, 11]
    words = " ".join(text.get_text() for axis in shown.axes for text in axis.texts)
    assert all(word in words for word in ("person", "IoU", "recall", "Target mIoU", "Source only"))


def test_headless_a_segmentation_board_keeps_its_pictures(umap, monkeypatch, small_streets):
    monkeypatch.delenv("UDA_LIVE", raising=False)
    board = make_dense(small_streets, steps=10)
    board.show()
    assert (board.film[-1].step, board.film[-1].map) == (10, "UMAP")
    assert "active pixels" in [axis.get_title() for axis in board.figure().axes]


def test_every_class_gets_as_many_source_pixels_as_any_other():
    y = torch.tensor([0] * 90 + [1] * 6 + [2] * 3 + [IGNORE] * 20)
    assert y[balanced(y, 12)].bincount().tolist() == [5, 4, 3]
    assert len(balanced(y, 1000)) == 99


# -- the map ---------------------------------------------------------------------------------------------------------


def test_headless_trains_as_many_steps_as_the_board_and_shows_umap(umap, monkeypatch, digits_task):
    monkeypatch.delenv("UDA_LIVE", raising=False)
    board = make(digits_task, steps=15, refresh=5)
    board.show()
    assert [record.step for record in board.records] == list(range(1, 16))
    assert [(frame.step, frame.map) for frame in board.film][-1] == (15, "UMAP")
    board.step()
    assert board.film[-1].step == 16


def test_a_worker_that_always_dies_leaves_the_map_with_pca(monkeypatch, watched, digits_task, tmp_path):
    monkeypatch.setattr(feature_map.sys, "executable", "false")
    dead = feature_map.Worker(tmp_path)
    monkeypatch.setattr(feature_map, "worker", lambda: dead)
    assert dead.ready.exception(timeout=60) is not None
    page = Page(make(digits_task))
    page.do("play")
    page.rest()
    assert {frame.map for frame in page.board.film} == {"PCA"}
    assert "unexpectedly" in page.states[-1]["umap"]


def test_centroids_by_hand():
    positions = np.array([[0, 0], [10, 20], [4, 4], [8, 8]])
    found = centroids(positions, np.array([1, 1, 0, 2]), source=2, classes=3)
    none = [NO_LABEL, NO_LABEL]
    assert found.tolist() == [[none, [5, 10], none], [[4, 4], none, [8, 8]]]


# -- pictures --------------------------------------------------------------------------------------------------------


def test_colours_are_declared_in_one_place_and_nothing_is_fetched():
    page = [path for path in Path(canvas.__file__).parent.iterdir() if path.is_file()]
    assert {".mjs", ".css"} <= {path.suffix for path in page}
    for path in page + [Path(figures.__file__).with_name(name) for name in ("canvas.py", "controls.py", "page.py")]:
        text = path.read_text()
        assert not re.search(r"#[0-9a-fA-F]{3,6}\b", text), path.name
        assert "://" not in text, path.name


def test_the_static_figure_draws_what_the_frame_holds(watched, digits_task):
    page = Page(make(digits_task))
    page.do("step")
    page.rest()
    hidden = page.board.figure()
    page.do("reveal")
    shown = page.board.figure()
    words = [" ".join(text.get_text() for axis in figure.axes for text in axis.texts) for figure in (hidden, shown)]
    assert "Target accuracy" not in words[0]
    assert "Target accuracy" in words[1]
    points = hidden.axes[0].collections
    assert [len(points[i].get_offsets()) for i in (0, 1)] == [
        len(page.board._loop.points.i_s),
        len(page.board._loop.points.i_t),
    ]


def test_a_curve_has_the_steps_at_which_its_loss_was_computed(digits_task):
    axis = figures.new_figure(4, 3).add_subplot()
    run = methods.CGDM(digits_task.pair, SMALL, refresh=2)
    figures.draw_losses(axis, list(fit(run, 4)))
    curves = {line.get_label(): line.get_xdata().tolist() for line in axis.lines}
    assert curves["InfoMax"] == curves["source ce"] == [1, 2, 3, 4]
    assert curves["pseudo ce"] == curves["gradient discrepancy"] == [3, 4]


def test_image_grid_captions_its_pictures(digits_task):
    figure = figures.image_grid(digits_task.pair.source_train.x[:7], ["a", "b"], columns=5)
    assert len(figure.axes) == 10
    assert [axis.get_title() for axis in figure.axes[:3]] == ["a", "b", ""]


class AsFiles:
    """Images that are read when indexed: their size need not be that of the source's."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i]


def test_a_target_of_another_size_is_shown_in_the_source_s(tiny_streets):
    wide = streets(samples=12, test_samples=6, size=(40, 96))
    target = Unlabelled(AsFiles(wide.pair.target_train.x))
    pair = dataclasses.replace(tiny_streets.pair, target_train=target, target_test=target)
    watched = Board(methods.CAG(pair, methods.SegmentationConfig(batch_size=4), source_steps=1), truth=wide.truth)
    watched.step()
    watched.reveal()
    assert 0 <= watched.scores(watched.film[-1])["miou"] <= 1
    images, predictions, _ = watched._loop.points.pictures(watched.film[-1])
    assert images.shape[:3] == predictions.shape == (3, 32, 64)
