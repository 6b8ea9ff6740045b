"""How fast a board trains beside a plain loop, and what the processor's time goes to. Measured for `--figures` only."""

import os

import psutil
import pytest

from .conftest import wait_until
from .test_board import Driver

STEPS = 400
SETUP = f"""
import time
from uda_core import data, methods
from uda_core.training import fit
from uda_lessons.board import Board, kernel
task = data.load("fonts-handwriting")
list(fit(methods.CGDM(task.pair), 5))
started, cpu = time.perf_counter(), time.process_time()
list(fit(methods.CGDM(task.pair), {STEPS}))
plain = time.perf_counter() - started, time.process_time() - cpu
"""
BOARD = f"""
run, stamps = methods.CGDM(task.pair), []
board = Board(run, controls=("alpha", "beta", "infomax"), steps={STEPS}, truth=task.truth, baseline=0.7)
step = run.step
def stamped():
    record = step()
    stamps.append(time.time())
    return record
run.step = stamped
tick, busy = board._tick, []
def timed():
    start = time.perf_counter()
    answer = tick()
    busy.append(time.perf_counter() - start)
    return answer
board._tick = timed
board.show()
"""


def test_a_board_beside_a_plain_loop_of_as_many_steps(lab, browser, figures, request):
    if not request.config.getoption("--figures", default=None):
        pytest.skip("takes a minute and judges nothing; pass --figures to measure")
    book = lab.open(browser, [SETUP, BOARD], "speed.ipynb")
    book.run_all()
    wait_until(lambda: book.page.locator(".uda canvas[data-step]").count(), "no board")
    book.page.wait_for_selector(".uda .mark", state="hidden")  # UMAP has compiled
    board = Driver(book)
    board.click("Reset")
    board.rest(0)
    board.python("kernel.cpu_seconds.clear(); busy.clear()")
    board.page.evaluate("addEventListener('click', () => (window.pressed = Date.now()), true)")
    before = processor_seconds(lab)
    board.click("Play")
    board.page.wait_for_function(
        f"document.querySelector('.uda canvas[data-step]').dataset.step === '{STEPS}'",
        polling=500,
        timeout=600_000,
    )
    after = processor_seconds(lab)
    seconds = board.python("", "stamps[-1]") - board.page.evaluate("window.pressed") / 1000
    (plain, plain_cpu), frames, in_ticks = board.python("", "[plain, len(board.film), sum(busy)]")
    spent = board.python("", "dict(kernel.cpu_seconds)")
    processes = {name: after[name] - before.get(name, 0) for name in after}
    rest = {"kernel: the rest": processes.pop("kernel") - sum(spent.values())}
    book.close()
    measured = {
        "steps of the board": STEPS, "plain loop, s": plain, "plain loop, CPU s": plain_cpu, "board, s": seconds,
        "board / plain loop": plain / seconds, "board: between two ticks, s": seconds - in_ticks, "frames": frames,
        **{f"{name}, CPU s": value for name, value in (spent | rest | processes).items()},
        "load": os.getloadavg()[0],
    }  # fmt: skip
    figures.setdefault(lab.kernel, {}).update({name: round(value, 2) for name, value in measured.items()})


def processor_seconds(lab) -> dict[str, float]:
    """Used so far by the kernel, by each kind of process that it started, by the server and by the browser."""
    used: dict[str, float] = {}
    children = psutil.Process().children(recursive=True)
    server = next(p for p in children if p.pid == lab.process.pid)
    [kernel] = [p for p in server.children(recursive=True) if "ipykernel_launcher" in p.cmdline()]
    workers = kernel.children(recursive=True)
    for process in children:
        if process.pid == server.pid:
            name = "server"
        elif process.pid == kernel.pid:
            name = "kernel"
        elif process in workers:
            name = next((part for part in process.cmdline() if part.endswith(".py")), process.name()).split("/")[-1]
        elif "chrom" in process.name():
            name = "browser"
        else:
            continue
        spent = process.cpu_times()
        used[name] = used.get(name, 0.0) + spent.user + spent.system
    return used
