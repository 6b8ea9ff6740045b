"""The process of one submission: where it runs, what it sees, how it ends, and what it must not leave changed."""

import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import matplotlib
import torch

import uda_core
import uda_lessons
from uda_lessons.exercises.exercise import Exercise
from uda_lessons.teaching.worker import Request

PACKAGES = [Path(module.__file__).parent for module in (uda_core, uda_lessons)]
MOST_BYTES = 2**24  # of a worker's answers
START = 300  # seconds that a worker may take until it runs the first cell, on however busy a machine
HIDE = """
n=$1; shift
while [ "$n" -gt 0 ]; do mount -t tmpfs -o ro none "$1" || exit 1; shift; n=$((n - 1)); done
n=$1; shift
while [ "$n" -gt 0 ]; do mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || :; shift; n=$((n - 1)); done
mount -t proc none /proc 2>/dev/null || :
exec unshare -U "$@"
"""  # some folders empty, others read-only; whoever comes next can neither take that back nor look into other processes


def ask(
    cells: tuple[str, ...], exercises: Sequence[Exercise], timeout: float, hide: tuple[Path, ...]
) -> tuple[bool, list[bytes], str, str]:
    """Whether the cells ran, the lines for the first exercises, and, if one is missing, a status and words for it."""
    request = Request(cells, tuple((e.name, e.outcome, pickle.dumps(e.cases())) for e in exercises))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as stdin:
        stdin.write(pickle.dumps(request))
        stdin.seek(0)
        with subprocess.Popen(
            [*isolation(hide), sys.executable, "-m", "uda_lessons.teaching.worker"],
            cwd=Path(folder),
            env=_environment(Path(folder)),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            found, started = bytearray(), threading.Event()
            reader = threading.Thread(target=_read_into, args=(found, started, process.stdout), daemon=True)
            reader.start()
            try:
                started.wait(START)
                reader.join(timeout)
                late = reader.is_alive()
            finally:
                _kill(process)
            reader.join(5)
    lines = bytes(found).split(b"\n")[:-1]
    status, how = ("timed out", f"no end within {timeout:g} seconds") if late else ("stopped", "the process ended")
    return len(lines) > 1, lines[2 : 2 + len(exercises)], status, how


def _read_into(found: bytearray, started: threading.Event, pipe: io.BufferedReader) -> None:
    while len(found) < MOST_BYTES and (piece := os.read(pipe.fileno(), 2**16)):
        found.extend(piece)
        started.set()
    started.set()


def _kill(process: subprocess.Popen) -> None:
    if os.name == "nt":
        process.kill()
        return
    with suppress(OSError):  # what it began, should that have left the group
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment(folder: Path) -> dict[str, str]:
    """Its own copy of the packages and of the list of fonts, a home, and nothing of ours but where programs lie."""
    for package in PACKAGES:
        shutil.copytree(package, folder / "packages" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(matplotlib.get_cachedir(), folder / "fonts")
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(folder / "fonts"),
        "PYTHONPATH": str(folder / "packages"),
        "OMP_NUM_THREADS": "1",
        "UDA_LIVE": "1",  # boards that wait for a page, which nobody plays
    }


@cache
def isolation(hide: tuple[Path, ...] = ()) -> list[str]:
    """The command before another that shuts it in: no network, no process of ours, these folders empty, ours unwritten.

    Where the system does not allow all of this, without network alone; where it does not allow that, nothing.
    """
    needed = [Path(p).resolve() for p in (tempfile.gettempdir(), sys.prefix, sys.base_prefix, torch.__file__)]
    empty = [folder for folder in map(Path.resolve, hide) if not any(p.is_relative_to(folder) for p in needed)]
    kept = [str(package) for package in PACKAGES] + [matplotlib.get_cachedir()]
    lists = [str(len(empty)), *map(str, empty), str(len(kept)), *kept]
    everything = ["unshare", "-rnpfm", "--kill-child", "sh", "-c", HIDE, "sh", *lists]
    for command in (everything, ["unshare", "-rn"], ["unshare", "-n"]):
        try:
            subprocess.run([*command, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return []


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def put_back(intact: Mapping[Path, bytes]) -> int:
    """How many files are no longer what they were; they are written anew."""
    changed = [path for path, content in intact.items() if not _holds(path, content)]
    for path in changed:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(intact[path])
    return len(changed)
