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

import numpy as np
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
    """Not its echo in the others, whose connection closes; and the launcher prints nothing."""
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        launch.launch(2, "cpu", fail, first, second)
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""  # gloo has its own line on stdout, up to torch 2.10


@pytest.mark.parametrize("errors", [(None, KeyError("unforeseen")), (KeyError("unforeseen"), None)])
def test_what_nobody_foresaw_prints_its_traceback_once(capfd, errors):
    assert launch.launch(2, "cpu", fail, *errors) == 1
    err = capfd.readouterr().err
    rank = 1 if errors[0] is None else 0
    assert err.startswith(f"process {rank} of 2 failed:\nTraceback (most recent call last):\n")
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyError: 'unforeseen'")


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


def send(number, folder, names):
    """Send this process a signal as soon as there are files of these names."""
    while not names <= {path.name for path in folder.iterdir()}:
        time.sleep(0.01)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("function", "ended", "said"), [(listen, 2, ""), (be_deaf, 0, "interrupted\n")])
def test_signals_are_handed_on(tmp_path, capfd, number, status, function, ended, said):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    sender = threading.Thread(target=send, args=(number, tmp_path, {"0", "1"}))
    sender.start()
    assert launch.launch(2, "cpu", function, tmp_path) == status
    sender.join()
    assert len(list(tmp_path.glob("* ended"))) == ended
    assert capfd.readouterr().err == said
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
    process.communicate(timeout=60)


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
    out = capfd.readouterr().out
    assert out.count("process") == 1
    assert "process 0 of 2\n" in out


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


# -- the command line --------------------------------------------------------------------------------------------------

WORDS = ["train", "cgdm", "moons", "--devices", "2"]
EVERY_STEP = ["--checkpoint-minutes", "0"]
SMALL = ["--set", "batch_size=16", "hidden=6", "features=8", "dropout=0.5", "refresh=5"]


def kill_one(folder):
    """Kill the second process as soon as there is a checkpoint."""
    while not (folder / "checkpoint.pt").exists():
        time.sleep(0.01)
    os.kill(max(process.pid for process in multiprocessing.active_children()), signal.SIGKILL)


def test_a_process_killed_before_the_first_step_names_no_way_on(tmp_path, monkeypatch, capsys):
    killed = "process 1 of 2 was killed; the others were ended"

    def launch(*_):
        raise ChildProcessError(killed)

    monkeypatch.setattr("uda_core.lab.launch.launch", launch)
    assert main.main([*WORDS, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"error: {killed}\n"


def test_one_killed_ends_the_run_which_goes_on_from_its_last_checkpoint(tmp_path, capfd):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main.main([*WORDS, "--steps", "25", "--out", str(whole), *SMALL]) == 0
    assert json.loads((whole / "settings.json").read_text())["devices"] == 2
    capfd.readouterr()

    killer = threading.Thread(target=kill_one, args=(killed,))
    killer.start()
    assert main.main([*WORDS, "--steps", "25", *EVERY_STEP, "--out", str(killed), *SMALL]) == 2
    killer.join()
    error = f"error: process 1 of 2 was killed; the others were ended; go on with: .* --resume {killed}"
    assert re.fullmatch(error, capfd.readouterr().err.strip().splitlines()[-1])
    assert not (killed / "summary.json").exists()

    assert main.main(["train", "--resume", str(killed), "--devices", "4"]) == 2
    assert "devices is 2 there, not 4" in capfd.readouterr().err
    assert main.main(["train", "--resume", str(killed)]) == 0
    assert (killed / "checkpoint.pt").read_bytes() == (whole / "checkpoint.pt").read_bytes()
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_run_that_diverges_ends_in_one_line_that_names_the_way_on(tmp_path):
    """The real command, whose processes are started anew; its bar is overwritten, and one line is left on stderr."""
    for name in ("source", "target"):
        np.savez(tmp_path / name, features=np.full((60, 4), 3e38, "float32"), labels=np.arange(60) % 3)
    files = [f"--{name}={tmp_path / name}.npz" for name in ("source", "target")]
    words = ["train", "cgdm", "features", *files, "--devices", "2", "--steps", "5", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "uda_core", *words, *SMALL], capture_output=True, timeout=120)
    assert done.returncode == 2
    _, line, end = done.stderr.decode().split("\n")
    assert end == ""
    assert re.fullmatch(r"error: step \d: .*; go on with: .* --resume \S+ --set learning_rate=\.\.\.", line)


def check_interrupted(out):
    """All ended after the same step, which is saved, and one process wrote the records; returns the step."""
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    assert (saved["steps"], saved["config"]["precision"]) == (len(records), "bf16")
    return len(records)


ENDLESS = [*WORDS, "--steps", "100000", *EVERY_STEP, "--precision", "bf16"]


def test_ctrl_c_ends_all_after_the_same_step(tmp_path):
    """The real command, from a shell: it starts its processes anew, and waits for them."""
    out = tmp_path / "run"
    with (tmp_path / "stderr").open("w") as errors:
        words = [*ENDLESS, "--out", str(out), *SMALL]
        process = subprocess.Popen([sys.executable, "-m", "uda_core", *words], stderr=errors)
    while process.poll() is None and not (out / "checkpoint.pt").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    err, step = (tmp_path / "stderr").read_text(), check_interrupted(out)
    assert err.count(f"interrupted: step {step} of 100000 is saved in {out / 'checkpoint.pt'}\n") == 1
    assert err.count("interrupted") == err.count("go on with: ") == 1
    assert "Traceback" not in err


def test_sigterm_ends_all_after_the_same_step(tmp_path):
    sender = threading.Thread(target=send, args=(signal.SIGTERM, tmp_path, {"checkpoint.pt"}))
    sender.start()
    assert main.main([*ENDLESS, "--out", str(tmp_path), *SMALL]) == 143
    sender.join()
    check_interrupted(tmp_path)


def test_torchrun_may_start_the_processes(tmp_path):
    """As on several machines: the number of processes is torchrun's, and `uda train` starts none of its own."""
    out = tmp_path / "run"
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    words = [*torchrun, "uda_core", "train", "cgdm", "moons", "--steps", "3", "--out", str(out), *SMALL]
    subprocess.run([sys.executable, "-m", *words], check=True, timeout=120)
    assert json.loads((out / "settings.json").read_text())["devices"] == 2
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
