"""`train --devices N`: one process for each device of this machine, started, watched and ended by torchrun's launcher.

`launch(N, device, function, *args)` calls `function(*args)` in N processes of their own, and returns the exit status.
Inside `function`, `distributed.together(device)` makes them one run. With one device, or where torchrun has started
this process already, it is the plain call.

    what happens                             what `launch` does
    all of them return                       returns the largest status
    one raises UserError, FloatingPointError
      or OSError                             ends the others, raises its message as a UserError
    one is killed                            ends the others, raises ChildProcessError, which names it
    one raises anything else                 ends the others, prints its traceback, returns 1
    Ctrl-C, SIGTERM                          hands it on to all; returns 130 or 143 when they have ended

The launcher finds a free port on this machine, so that several runs may train side by side, and needs no network.
"""

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from uda_core import distributed
from uda_core.errors import UserError
from uda_core.lab.main import keep_freed_memory

START_METHOD = "spawn"  # of the processes: CUDA allows no other
GRACE = 2.0  # seconds that a failure which may be the echo of another one waits, so that the other is seen first


def launch(devices: int, device: str, function: Callable[..., int], *args: Any) -> int:
    """`function(*args)` in so many processes of this machine, one for each device; the exit status.

    Raises:
        UserError: if there are not so many devices, or with the message of the process that failed.
        ChildProcessError: if one of them was killed.
    """
    _check(devices, device)
    if devices == 1 or distributed.under_torchrun():
        return function(*args)
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory() as reports, _handing_on() as signals:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # any free port
            local_addr="localhost",
            max_restarts=0,
            start_method=START_METHOD,
            logs_specs=DefaultLogsSpecs(log_dir=reports),
            signals_to_handle="",  # `_handing_on` does: the launcher would kill what takes longer than 30 seconds
        )
        try:
            status = max(elastic_launch(config, _work)(function, args).values())
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            report, process = failure.error_file_data["message"], f"process {rank} of {devices}"
        else:
            return 128 + signals[0] if signals and status else status
    if isinstance(report, dict):  # what the process raised
        kind, _, message = report["message"].partition(": ")
        if kind == UserError.__name__:
            raise UserError(message)
        print(f"{process} failed:\n{report['extraInfo']['py_callstack']}", file=sys.stderr)
        return 1
    if signals:  # before the process could listen, or for the second time
        print("interrupted", file=sys.stderr)
        return 128 + signals[0]
    raise ChildProcessError(f"{process} was killed; the others were ended")


def _check(devices: int, device: str) -> None:
    """Raise a `UserError` if there are not so many devices of this kind, or torchrun started another number."""
    kind = torch.device(device)
    if devices < 1:
        raise UserError(f"--devices must be at least 1, got {devices}")
    if distributed.under_torchrun() and devices != distributed.started():
        raise UserError(f"torchrun started {distributed.started()} processes, but this run has {devices} devices")
    if devices > 1 and not hasattr(os, "setpgrp"):
        raise UserError("--devices above 1 needs Linux or macOS")
    if devices > 1 and kind.type not in ("cpu", "cuda"):
        raise UserError(f"--devices works with cpu and cuda, not with {device}")
    if devices > 1 and kind.index is not None:
        raise UserError(f"device {device} is a single one; use device=cuda with --devices {devices}")
    if kind.type == "cuda" and not distributed.under_torchrun() and devices > torch.cuda.device_count():
        raise UserError(f"--devices {devices}, but there are {torch.cuda.device_count()} GPUs here")


def _work(function: Callable[..., int], args: tuple) -> int:
    """The life of one process. The launcher reports what it raises, and ends the others.

    An error waits before it ends the process if it may be the echo of another one: a closed connection, after a process
    was killed, or what the first process reports as well, with the way on.
    """
    keep_freed_memory()
    os.setpgrp()  # so that Ctrl-C in the terminal reaches it once, through `_handing_on`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # by default a semaphore, about which Python warns where a process was killed
    torch.set_num_threads(max(1, torch.get_num_threads() // distributed.started()))
    try:
        return function(*args)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (UserError, FloatingPointError, OSError) as error:
        time.sleep(GRACE if distributed.rank() else 0)
        raise UserError(str(error)) from error
    except Exception:
        time.sleep(2 * GRACE if distributed.rank() else GRACE)
        raise


def _end_with_parent() -> None:
    """Wait for the end of the process that called `launch`, which was killed if this one is still there."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this one was started by it
    parent.join()
    os._exit(1)


@contextmanager
def _handing_on() -> Iterator[list[int]]:
    """Inside, Ctrl-C and SIGTERM go to all processes, as SIGTERM, and each ends when it can; yields those that came.

    The launcher logs nothing: what goes wrong, it also raises.

    Raises:
        KeyboardInterrupt: if one comes while there are no processes.
    """
    came: list[int] = []

    def hand_on(number: int, _: Any) -> None:
        came.append(number)
        processes = multiprocessing.active_children()
        if not processes:
            raise KeyboardInterrupt
        for process in processes:
            process.terminate()

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    logging.disable()
    try:
        yield came
    finally:
        logging.disable(logging.NOTSET)
        for number, handler in before.items():
            signal.signal(number, handler)
