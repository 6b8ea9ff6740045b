"""How the board's loop spends its time: training before looks, one thread, and what the page is sent and when."""

import itertools
import subprocess
import sys
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch
from test_board import SMALL, Page, make

from uda_core import methods
from uda_lessons.board import Board, feature_map, kernel, loop, points
from uda_lessons.board import page as page_module
from uda_lessons.board.points import class_means, star_distance

NUMBERS = dict.fromkeys(("domain_accuracy", "neighbour_mixing"), 0.75)


def done(result) -> Future:
    future: Future = Future()
    future.set_result(result)
    return future


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    """The map stays PCA, and the domain numbers are there at once."""
    worker = SimpleNamespace(ready=Future(), deaths=0)
    monkeypatch.setattr(feature_map, "worker", lambda: worker)
    monkeypatch.setattr(feature_map, "measure", lambda *_: done(NUMBERS))


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setenv("UDA_LIVE", "1")
    monkeypatch.setattr(page_module, "display", lambda *_, **__: None)


class Clock:
    """In place of the loop's clock: a step and a look take as long as the test says."""

    def __init__(self, monkeypatch, board: Board, step: float, look: float):
        self.now, self.looks = 0.0, 0.0
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: self.now))
        train, observe = board.run.step, board._loop.points.observe

        def slow_step():
            self.now += step
            return train()

        def slow_observe(*args, **named):
            self.now += look
            self.looks += look
            return observe(*args, **named)

        monkeypatch.setattr(board.run, "step", slow_step)
        monkeypatch.setattr(board._loop.points, "observe", slow_observe)


def play(board: Board) -> None:
    board._loop.play()
    while not board._loop.idle:
        board._loop.advance()


def test_dear_looks_take_a_fifth_of_the_time_at_most(monkeypatch, digits_task):
    board = make(digits_task, "source_only", steps=60)
    clock = Clock(monkeypatch, board, step=0.01, look=0.03)
    play(board)
    assert clock.now == pytest.approx(0.6 + clock.looks)
    first_and_last = 2 * 0.03
    assert 0 < clock.looks - first_and_last <= 0.6 / loop.WORTH


def test_cheap_looks_make_as_many_frames_as_a_film_has(monkeypatch, digits_task):
    monkeypatch.setattr(loop, "FRAMES", 20)
    board = make(digits_task, "source_only", steps=60)
    Clock(monkeypatch, board, step=0.01, look=0.001)
    play(board)
    assert [frame.step for frame in board.film] == list(range(0, 61, 3))


def test_training_never_waits_for_a_layout_or_for_the_domain_numbers(monkeypatch, digits_task):
    board, later = make(digits_task, "source_only", steps=30), Future()
    monkeypatch.setattr(loop, "WORTH", 0)
    monkeypatch.setattr(feature_map, "measure", lambda *_: later)
    monkeypatch.setattr(board._loop._map, "advance", lambda *_: later)
    board._loop.play()
    for _ in range(200):
        board._loop.advance()
        if board.run.steps == 30:
            break
    assert board.run.steps == 30
    assert board.film == []


def test_the_domain_numbers_of_the_frame_on_show_are_sent_when_they_come(monkeypatch, watched, digits_task):
    asked = []
    monkeypatch.setattr(feature_map, "measure", lambda *_: asked.append(Future()) or asked[-1])
    page = Page(make(digits_task, "source_only"))
    page.do("step")
    page.rest()
    assert [frame.measured for frame in page.board.film] == [None, None]
    asked[-1].set_result(NUMBERS)
    sent = []
    monkeypatch.setattr(page.board._canvas, "send", lambda message, buffers: sent.append(message))
    page.do("tick")
    [frame] = [message for message in sent if message["do"] == "frame"]
    assert (frame["i"], frame["measured"], frame["numbers"]["domain_accuracy"]) == (1, 1, 0.75)
    assert len(page.board.film) == 2


def test_domain_numbers_are_measured_at_the_beginning_every_three_seconds_and_at_the_end(monkeypatch, digits_task):
    board = make(digits_task, "source_only", steps=100)
    Clock(monkeypatch, board, step=0.1, look=1e-6)
    play(board)
    measured = sorted({frame.measured for frame in board.film})
    assert (measured[0], measured[-1]) == (0, 100)
    assert all(after - before >= 30 for before, after in itertools.pairwise(measured[:-1]))
    assert 4 <= len(measured) <= 5


def test_while_it_trains_a_look_passes_the_points_on_the_map_alone(monkeypatch, digits_task):
    monkeypatch.setattr(points, "POINTS", 20)
    monkeypatch.setattr(loop, "WORTH", 0)
    board = make(digits_task, "source_only", steps=8)
    passed, look = [], board.run.features_and_logits
    monkeypatch.setattr(board.run, "features_and_logits", lambda x, *domain: passed.append(len(x)) or look(x, *domain))
    play(board)
    everything = len(digits_task.pair.target_train)
    assert everything > 20
    assert set(passed) == {20, everything}
    predictions = [len(frame.target_predictions) for frame in board.film]
    assert set(predictions[1:-1]) == {20}
    assert predictions[-1] == everything
    y = digits_task.truth.target_train[board._loop.points.i_all]
    under_way, last = board.film[-2], board.film[-1]
    for frame, n in ((under_way, 20), (last, everything)):
        right = (frame.target_predictions == y[:n]).float().mean().item()
        assert board.scores(frame)["target_accuracy"] == pytest.approx(right)


def test_star_distance_by_hand():
    f_s = torch.tensor([[0.0, 0], [2, 0], [5, 0], [9, 9]])
    f_t = torch.tensor([[1.0, 3], [1, 5], [5, 1], [50, 50]])
    mean_s = class_means(f_s, torch.tensor([0, 0, 1, 2]), 4)
    mean_t = class_means(f_t, torch.tensor([0, 0, 1, 3]), 4)
    assert mean_s[:3].tolist() == [[1, 0], [5, 0], [9, 9]]
    assert mean_s[3].isnan().all()
    between = (4 + (64 + 81) ** 0.5 + (16 + 81) ** 0.5) / 3
    assert star_distance(mean_s, mean_t) == {"star_distance": pytest.approx((4 + 1) / 2 / between, rel=1e-5)}
    assert star_distance(mean_s, mean_s)["star_distance"] == 0
    assert star_distance(mean_s, torch.full_like(mean_t, torch.nan)) == {}  # no class that both have
    assert star_distance(mean_s[:1], mean_t[:1]) == {}  # one class has no distance to another


def test_each_tick_is_answered_by_its_number_whatever_happens(monkeypatch, watched, digits_task):
    page, answers = Page(make(digits_task, "source_only", steps=4)), []
    monkeypatch.setattr(
        page.board._canvas, "send", lambda message, buffers: answers.append(message) if "more" in message else None
    )
    page.board._on_message(None, {"do": "tick", "n": 7}, [])
    monkeypatch.setattr(page.board, "_work", lambda: 1 / 0)
    page.board._loop.play()
    page.board._on_message(None, {"do": "tick", "n": 8}, [])
    taken, over = threading.Event(), threading.Event()

    def cell():
        with kernel.turn:
            taken.set()
            over.wait(10)

    running = threading.Thread(target=cell)
    running.start()
    taken.wait(10)
    page.board._on_message(None, {"do": "tick", "n": 9}, [])
    over.set()
    running.join()
    assert [answer["n"] for answer in answers] == [7, 8, 9]
    assert (answers[-1]["more"], answers[-1]["after"]) == (True, 0.25)


def test_steps_alone_are_sent_a_few_times_a_second_and_none_is_left_out(monkeypatch, watched, digits_task):
    monkeypatch.setattr(page_module, "STATES", 1e9)
    page = Page(make(digits_task, "source_only", steps=30))
    page.states.clear()
    page.do("play")
    assert [state["playing"] for state in page.states] == [True]  # at once
    page.rest()
    assert [state["playing"] for state in page.states] == [True, False]
    assert [step for step, *_ in page.records] == list(range(1, 31))
    page.do("tick")
    assert len(page.states) == 2  # nothing new


def test_lessons_compute_on_one_thread_wherever_they_step(digits_task):
    code = """
import torch, threadpoolctl
torch.set_num_threads(3)
import uda_lessons.board
assert torch.get_num_threads() == 1, torch.get_num_threads()
assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}, threadpoolctl.threadpool_info()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    board, used = Board(methods.SourceOnly(digits_task.pair, SMALL), steps=1), []
    step = board.run.step
    board.run.step = lambda: used.append(torch.get_num_threads()) or step()

    def elsewhere():  # as in a kernel with subshells: their threads have torch's own default
        torch.set_num_threads(3)
        play(board)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert used == [1]


def test_processor_seconds_are_counted_by_activity(watched, digits_task):
    kernel.cpu_seconds.clear()
    page = Page(make(digits_task, steps=3))
    page.do("play")
    page.rest()
    assert set(kernel.cpu_seconds) == {"training", "features", "numbers", "messages"}
    assert all(seconds > 0 for seconds in kernel.cpu_seconds.values())


def test_a_run_paused_right_after_a_look_rests_on_all_that_is_scored(monkeypatch, digits_task):
    monkeypatch.setattr(points, "POINTS", 20)
    monkeypatch.setattr(loop, "WORTH", 0)
    board = make(digits_task, "source_only", steps=60)
    board._loop.play()
    while not (board.film and board.film[-1].step == board.run.steps > 0):
        board._loop.advance()
    seen = [len(board.film[-1].target_predictions)]
    board._loop.pause()
    board._loop.settle()
    seen.append(len(board.film[-1].target_predictions))
    assert seen == [20, len(digits_task.pair.target_train)]


def test_a_tick_is_answered_even_if_the_news_cannot_be_sent(watched, monkeypatch, digits_task):
    page = Page(make(digits_task))
    sent = []
    monkeypatch.setattr(page.board, "_answer", lambda n, *_: sent.append(n))
    monkeypatch.setattr(page.board, "_send_news", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page.board._on_message(None, {"do": "tick", "n": 7}, [])
    assert sent == [7]
