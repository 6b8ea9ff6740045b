"""How several processes of one machine start and end: without training, then as `uda train --devices 2`."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from uda_core import distributed
from uda_core.errors import UserError
from uda_core.lab import launch, main


@pytest.fixture(autouse=True)
def _start_quickly(monkeypatch):
    """Processes that need not import torch: they are forked from one that has, and has never trained."""
    modules = ["torch._dynamo", "pytest", "uda_core.lab.main", "uda_core.data.moons"]
    multiprocessing.set_forkserver_preload(modules)  # the first: torch imports it at an optimiser's first step
    monkeypatch.setattr(launch, "START_METHOD", "forkserver")


def exchange():
    distributed.average({"loss": 1.0})


# -- failures ----------------------------------------------------------------------------------------------------------


def fail(first, second):
    """After two exchanges each process raises its error, or is killed; None waits in a third one."""
    with distributed.together("cpu"):
        exchange()
        exchange()
        error = second if distributed.rank() else first
        if error == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif error:
            raise error
        exchange()
    return 0


@pytest.mark.parametrize(
    ("first", "second", "kind", "message"),
    [
        (None, "killed", ChildProcessError, "process 1 of 2 was killed; the others were ended"),
        ("killed", None, ChildProcessError, "process 0 of 2 was killed; the others were ended"),
        (None, UserError("file 7 is unreadable"), UserError, "file 7 is unreadable"),
        (UserError("go on"), UserError("of one process"), UserError, "go on"),
        (UserError("go on"), FloatingPointError("nan"), UserError, "go on"),
        (None, FloatingPointError("step 3: nan"), UserError, "step 3: nan"),
        (None, FileNotFoundError(2, "No such file", "a.png"), UserError, "[Errno 2] No such file: 'a.png'"),
    ],
)
def test_one_failure_ends_all_and_its_cause_is_reported(capfd, first, second, kind, message):
    """Not its echo in the others, whose connection closes; and nothing is printed twice or by the launcher."""
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        launch.launch(2, "cpu", fail, first, second)
    assert not multiprocessing.active_children()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("errors", [(None, KeyError("unforeseen")), (KeyError("unforeseen"), None)])
def test_what_nobody_foresaw_prints_its_traceback_once(capfd, errors):
    assert launch.launch(2, "cpu", fail, *errors) == 1
    out, err = capfd.readouterr()
    rank = 1 if errors[0] is None else 0
    assert err.startswith(f"process {rank} of 2 failed:\nTraceback (most recent call last):\n")
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyError: 'unforeseen'")
    assert out == ""


# -- signals -----------------------------------------------------------------------------------------------------------


def listen(folder):
    """Exchange until a signal comes to one of the processes; then all end with status 143."""
    caught = []
    signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    with distributed.together("cpu"):
        while not distributed.largest(len(caught)):
            (folder / f"{distributed.rank()}").touch()
    (folder / f"{os.environ['RANK']} ended").touch()
    return 143


def be_deaf(folder):
    (folder / os.environ["RANK"]).touch()
    time.sleep(60)
    return 0


def send(number, folder):
    while not {"0", "1"} <= {path.name for path in folder.iterdir()}:
        time.sleep(0.01)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("function", "ended", "said"), [(listen, 2, ""), (be_deaf, 0, "interrupted\n")])
def test_signals_are_handed_on(tmp_path, capfd, number, status, function, ended, said):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    sender = threading.Thread(target=send, args=(number, tmp_path))
    sender.start()
    assert launch.launch(2, "cpu", function, tmp_path) == status
    sender.join()
    assert len(list(tmp_path.glob("* ended"))) == ended
    assert capfd.readouterr() == ("", said)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


LISTEN = """if __name__ == "__main__":
    import sys, pathlib, test_launch
    sys.exit(test_launch.launch.launch(2, "cpu", test_launch.listen, pathlib.Path(sys.argv[1])))
"""


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    """The pipe is closed when all of them are gone."""
    script = tmp_path / "script.py"
    script.write_text(LISTEN)
    folder = tmp_path / "ranks"
    folder.mkdir()
    path = {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, script, folder], stdout=subprocess.PIPE, env=os.environ | path, text=True
    )
    while process.poll() is None and len(list(folder.iterdir())) < 2:
        time.sleep(0.1)
    process.kill()
    assert process.communicate(timeout=60) == ("", None)


# -- one machine -------------------------------------------------------------------------------------------------------


def look(folder):
    with distributed.together("cpu"):
        print(f"process {distributed.rank()} of {distributed.ranks()}")
        threads = torch.get_num_threads()
        (folder / f"{distributed.rank()} {threads} {distributed.started()}").touch()
    return 5 * int(os.environ["RANK"])


def test_processes_share_the_threads_and_the_first_one_prints(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(launch, "START_METHOD", "spawn")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert launch.launch(2, "cpu", look, tmp_path) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0 1 2", "1 1 2"]
    assert capfd.readouterr().out == "process 0 of 2\n"


def test_one_device_needs_no_process_of_its_own():
    assert launch.launch(1, "cpu", os.getpid) == os.getpid()


@pytest.mark.parametrize(
    ("devices", "device", "words"),
    [
        (0, "cpu", "at least 1"),
        (2, "cuda:1", "use device=cuda with --devices 2"),
        (99, "cuda", "but there are"),
        (2, "mps", "works with cpu and cuda"),
    ],
)
def test_devices_that_are_not_there_are_refused(devices, device, words):
    with pytest.raises(UserError, match=words):
        launch.launch(devices, device, fail, None, None)


def test_windows_cannot(monkeypatch):
    monkeypatch.delattr(os, "setpgrp")
    with pytest.raises(UserError, match="--devices above 1 needs Linux or macOS"):
        launch.launch(2, "cpu", fail, None, None)
