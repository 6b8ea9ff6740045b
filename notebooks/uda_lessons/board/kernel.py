"""Where a board lives: whether a page answers, whose turn it is to use torch, and what an interrupt does.

And what its processor time is spent on: `cpu_seconds`, which `uda bench board` prints.
"""

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import ipywidgets
import torch
from IPython import get_ipython
from threadpoolctl import threadpool_limits

from uda_core.errors import choose

turn = threading.RLock()  # one at a time: a running cell or a board's slice, which may live on another thread
cpu_seconds: Counter[str] = Counter()  # of the boards of this process, by activity
_in_cell = False
_blas = threading.local()


def one_thread() -> None:
    """Let torch and BLAS compute on one thread. The settings are those of the calling thread: called where one steps.

    Two threads gain 6 to 30 % on an idle laptop, and cost a factor of 3 to 14 on a busy one.
    """
    torch.set_num_threads(1)
    if not hasattr(_blas, "limited"):
        _blas.limited = threadpool_limits(1)  # looks through all loaded libraries: once for each thread


@contextmanager
def spent_on(activity: str) -> Iterator[None]:
    """Count the processor time that the calling thread spends inside."""
    start = time.thread_time()
    try:
        yield
    finally:
        cpu_seconds[activity] += time.thread_time() - start


def is_live() -> bool:
    """Whether a page will answer the board. `UDA_LIVE=1` or `UDA_LIVE=0` decides it; without that, who runs the cell.

    A page sends each cell with its identifier, or at least numbers its messages with plain UUIDs; Python's own clients
    (nbclient, papermill, a console) write UUID_process_count. Colab is recognised by its module.

    Raises:
        UserError: if UDA_LIVE is neither 0 nor 1.
    """
    asked = os.environ.get("UDA_LIVE", "")
    if asked:
        return choose("UDA_LIVE", asked, ("0", "1")) == "1"
    if "google.colab" in sys.modules:
        return True
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    parent = kernel.get_parent("shell")
    return "cellId" in parent.get("metadata", {}) or "_" not in parent.get("header", {}).get("msg_id", "_")


def warning() -> str | None:
    """One line where a page cannot draw widgets: with ipywidgets 7 in JupyterLab 4 or Notebook 7, which is built on it.

    Colab and Notebook 6 draw those of ipywidgets 7; they do not set JPY_SESSION_NAME.
    """
    if "google.colab" in sys.modules or "JPY_SESSION_NAME" not in os.environ:
        return None
    try:
        lab = version("jupyterlab")
    except PackageNotFoundError:  # the page comes from another environment
        return None
    widgets = ipywidgets.__version__
    if int(widgets.split(".")[0]) != 7 or int(lab.split(".")[0]) < 4:
        return None
    return (
        f"Nothing is drawn below: JupyterLab {lab} needs ipywidgets 8, and {widgets} is installed here. Run "
        "%pip install 'ipywidgets>=8', then restart the kernel and reload the page."
    )


def take_turns(on_interrupt: Callable[[], None]) -> None:
    """Called in a cell: let boards wait while a cell runs, and let an interrupt between cells reach `on_interrupt`."""
    shell = get_ipython()
    if shell is None:
        return
    if _before_cell not in shell.events.callbacks["pre_run_cell"]:
        shell.events.register("pre_run_cell", _before_cell)
        shell.events.register("post_run_cell", _after_cell)
        _before_cell()  # this very cell
    kernel = getattr(shell, "kernel", None)
    if hasattr(kernel, "saved_sigint_handler"):  # what ipykernel puts back after each cell; it would ignore interrupts
        kernel.saved_sigint_handler = lambda *_: on_interrupt()


@contextmanager
def deferred_interrupt(on_interrupt: Callable[[], None]) -> Iterator[None]:
    """An interrupt inside calls `on_interrupt` instead of tearing a training step apart."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals only ever reach the main thread
        return
    before = signal.signal(signal.SIGINT, lambda *_: on_interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _before_cell(*_) -> None:
    global _in_cell
    if not _in_cell:
        turn.acquire()
        _in_cell = True


def _after_cell(*_) -> None:
    global _in_cell
    if _in_cell:
        _in_cell = False
        turn.release()
