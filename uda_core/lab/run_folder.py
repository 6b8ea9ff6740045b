"""The folder of a run: its settings, what each step did, where it can be taken up again, and its scores."""

import json
import os
import reprlib
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NoReturn

from filelock import FileLock, Timeout

from uda_core.errors import UserError
from uda_core.files import write_whole
from uda_core.lab import checkpoints
from uda_core.run import Record, Run

LOCK = "run.lock"
KINDS: dict[str, dict[str, Any]] = {  # of the fields of each JSON file, where they are there; [kind]: a list of such
    "settings.json": {
        "method": str, "task": str, "source": str, "target": str, "plugin": str, "standardise": str,
        "recipe": str | None, "devices": int, "threads": int, "data": dict, "restarts": [int], "choose": str,
        "steps": int, "config": dict, "settings": dict, "changes": [dict],
    },
    "progress.json": {"seconds": float, "milestones": {str: int}},
    "summary.json": {"steps": int},
    "choice.json": {"chosen": str},
    "compare.json": {"recipes": {str: dict}},
}  # fmt: skip


class RunFolder:
    """What `train` writes, and what `train --resume` and `evaluate` read.

        settings.json         method, task, recipe, steps, configuration and settings; and what a --resume has changed
        metrics.jsonl         a record per step
        checkpoint.pt         the run, every few minutes and at the end
        checkpoint-before.pt  the one before that
        source.pt, stage1.pt  the run at its milestones
        progress.json         the seconds it took, the steps at which it reached its milestones
        summary.json          the scores, once it is finished
        seed0/, seed1/ ...    in place of all that, with --restarts: a folder like this for each run
        choice.json           which of those was chosen, and why
        run.lock              while a process trains here, its number

    It may be killed at any moment: metrics.jsonl is never behind the checkpoint, and every other file is written whole
    or not at all. Nothing is written before a step has worked, so a start that fails leaves nothing behind, and a
    --resume that fails changes nothing. Of several processes that train one run, rank 0 alone writes here.
    """

    def __init__(self, path: Path, whole: Path | None = None):
        self.path, self.whole = path, whole or path  # what --resume takes: the folder of the restarts, if it is of such
        self.checkpoint, self.before = path / "checkpoint.pt", path / "checkpoint-before.pt"
        self.good: Path | None = None  # the checkpoint that this process wrote or read last
        self.good_step = 0
        self.seconds, self.milestones = 0.0, dict[str, int]()  # of the run so far; name -> step
        self._metrics: IO[bytes] | None = None  # open once a step has worked

    def holds_run(self) -> bool:
        """Whether a run was started here, or restarts."""
        return (self.path / "settings.json").exists() or self.has_checkpoint() or bool(self.restarts())

    def restarts(self) -> list[Path]:
        """The folders in this one of runs that `train --restarts` has started."""
        folders = (RunFolder(file.parent) for file in self.path.glob("seed*/settings.json"))
        return sorted(folder.path for folder in folders if "restarts" in folder.read("settings.json"))

    def chosen(self) -> "RunFolder":
        """That of the restarts which was chosen; without restarts, the folder itself.

        Raises:
            UserError: if choice.json names another one, or is damaged.
        """
        choice = self.read("choice.json")
        if choice and choice.get("chosen") not in {path.name for path in self.restarts()}:
            self._damaged("choice.json", f"chosen is {choice.get('chosen')!r}, which is none of its runs")
        return RunFolder(self.path / choice["chosen"]) if choice else self

    def must_be_new(self) -> None:
        """Do nothing if no run was started here.

        Raises:
            UserError: if one was.
        """
        if self.holds_run():
            what = f"{self.path} holds a run already"
            raise UserError(f"{what}; go on with --resume {self.path}, give another --out, or delete the folder")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process trains here. A folder that still holds no run behind that is taken away again.

        Raises:
            UserError: if another process trains here, with its number.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                yield
        finally:
            with suppress(OSError):  # what is not empty stays
                for folder in made:
                    folder.rmdir()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        file = self.path / LOCK
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = "another process"
            with suppress(OSError):  # Windows lets nobody read or write it
                who = f"process {file.read_text(encoding='utf-8') or '?'}"  # old versions of filelock empty the file
            raise UserError(f"{self.path}: {who} trains here; wait for its end, or give another --out") from None
        except NotImplementedError:
            print(f"warning: {self.path}: a file system without locks; train in one process only", file=sys.stderr)
        with suppress(OSError):
            file.write_text(str(os.getpid()), encoding="utf-8")
        try:
            yield
        finally:
            with suppress(OSError):  # Windows lets nobody delete it; a killed process leaves it, and its lock is gone
                file.unlink()
            lock.release()

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to go on from, damaged or not."""
        return self.checkpoint.exists() or self.before.exists()

    # -- settings.json, progress.json, summary.json --------------------------------------------------------------------

    def read(self, name: str) -> dict:
        """One of the JSON files; an empty dict if it is not there.

        Raises:
            UserError: if it is damaged, or one of its fields is of another kind than in `KINDS`.
        """
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):  # no JSON, no text, or nested a thousand times
            value = None
        if not isinstance(value, dict):
            self._damaged(name, "no JSON object")
        for field, kind in KINDS[name].items():
            if field in value and not _is(value[field], kind):
                self._damaged(name, f"{field} is {reprlib.repr(value[field])}")
        return value

    def settings(self) -> dict:
        """The contents of settings.json.

        Raises:
            UserError: if it is not there, or damaged.
        """
        settings = self.read("settings.json")
        if not settings:
            example = "give a folder that `train` wrote, such as runs/mcd-moons-seed0"
            raise UserError(f"{self.path}: no settings.json; {example}")
        if missing := {"method", "task", "steps", "config", "settings"} - settings.keys():
            self._damaged("settings.json", f"{', '.join(sorted(missing))} missing")
        return settings

    def _damaged(self, name: str, what: str) -> NoReturn:
        raise UserError(f"{self.path / name}: damaged ({what}); train again, or put back the file that `train` wrote")

    @contextmanager
    def blaming(self, name: str) -> Iterator[None]:
        """Inside, errors are about this JSON file.

        Raises:
            UserError: in place of any that comes inside, with the name of the file.
        """
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.path / name}: {error}") from error

    def write(self, name: str, value: dict) -> None:
        """Write one of the JSON files, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / name, (json.dumps(value, indent=2) + "\n").encode())

    def _write_settings(self, now: dict, step: int) -> None:
        """Write settings.json. What differs from before is noted, with the number of steps before the change."""
        before = self.read("settings.json")
        now = json.loads(json.dumps(now))  # lists for tuples, as in `before`
        old, new = ({"steps": v["steps"], **v["config"], **v["settings"]} for v in (before or now, now))
        changed = {name: [old.get(name), value] for name, value in new.items() if old.get(name) != value}
        changes = before.get("changes", []) + ([{"step": step, **changed}] if changed else [])
        self.write("settings.json", now | ({"changes": changes} if changes else {}))

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def load(self, run: Run) -> None:
        """Put the last good checkpoint into `run`: with a warning the one before, if the last one is damaged.

        Raises:
            UserError: if there is none, or none that is good.
        """
        damaged = []
        for path in filter(Path.exists, (self.checkpoint, self.before)):
            try:
                checkpoints.load(path, run)
            except checkpoints.DamagedCheckpoint as error:
                damaged.append(error)
                continue
            if damaged:
                print(f"warning: {self.checkpoint} is damaged; taking {path}, of step {run.steps}", file=sys.stderr)
            self.good, self.good_step = path, run.steps
            return
        raise damaged[0] if damaged else UserError(f"{self.path}: no checkpoint yet; `train` writes one")

    def save(self, run: Run) -> None:
        """Save what `run` needs to go on, behind the records of all its steps."""
        if self.good == self.checkpoint and self.good_step == run.steps:
            return
        if self._metrics:
            self._metrics.flush()
            os.fsync(self._metrics.fileno())
        self.seconds += time.perf_counter() - self._counted
        self._counted = time.perf_counter()
        self.write("progress.json", {"seconds": self.seconds, "milestones": self.milestones})
        checkpoints.save(run, self.checkpoint, self.before if self.good == self.checkpoint else None)
        self.good, self.good_step, self._saved = self.checkpoint, run.steps, time.perf_counter()

    # -- while it trains -----------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self, run: Run, what: dict) -> Iterator[None]:
        """Inside, steps of `run` can be recorded and saved, from where it stands.

        Args:
            run: to be trained.
            what: goes to settings.json, beside the run's own configuration and settings.

        Raises:
            UserError: for what a user can mend (a full disk, a loss that is no longer finite), with the command that
                goes on from the last good checkpoint.
        """
        self._what, self._began = what, run.steps
        progress = self.read("progress.json")
        self.seconds = progress.get("seconds", 0.0)
        self.milestones = {name: step for name, step in progress.get("milestones", {}).items() if step <= run.steps}
        self._counted = self._saved = time.perf_counter()
        try:
            with ExitStack() as self._open:
                yield
        except FloatingPointError as error:
            raise UserError(f"{error}{self._way_on(' --set learning_rate=...')}") from error
        except (UserError, OSError) as error:
            nameless = isinstance(error, OSError) and error.strerror and not error.filename  # as of a full disk
            message = f"{self.path}: {error.strerror}" if nameless else error
            raise UserError(f"{message}{self._way_on()}") from error

    def _begin(self, run: Run) -> IO[bytes]:
        """The first step has worked: write settings.json, take away the scores of a shorter run, open metrics.jsonl."""
        now = {**self._what, "config": asdict(run.config), "settings": asdict(run.settings)}
        self._write_settings(now, self._began)
        (self.path / "summary.json").unlink(missing_ok=True)
        metrics = self.path / "metrics.jsonl"
        self._forget_after(metrics, self._began)
        self._metrics = self._open.enter_context(metrics.open("ab"))
        return self._metrics

    def _forget_after(self, metrics: Path, last: int) -> None:
        """Keep the records up to this step, one for each; drop later ones, which come again, and what was cut short."""
        lines = metrics.read_bytes().splitlines(keepends=True) if metrics.exists() else []
        kept = dict[int, bytes]()
        for line in lines:
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                step = json.loads(line)["step"]
                if type(step) is int and 1 <= step <= last and line.endswith(b"\n"):
                    kept.setdefault(step, line)
        if len(kept) < last:
            print(f"warning: {metrics} has {len(kept)} of the {last} steps so far", file=sys.stderr)
        if lines != (ordered := [kept[step] for step in sorted(kept)]):
            write_whole(metrics, b"".join(ordered))

    def record(self, record: Record, run: Run, minutes: float) -> None:
        """Write down a step and what it completed; save the run if it was saved more than so many minutes ago."""
        metrics = self._metrics or self._begin(run)
        metrics.write(json.dumps(asdict(record)).encode() + b"\n")
        if run.milestone:
            checkpoints.save(run, self.path / f"{run.milestone}.pt")
            self.milestones[run.milestone] = run.steps
        if time.perf_counter() - self._saved >= 60 * minutes:
            self.save(run)

    def _way_on(self, options: str = "") -> str:
        """Where the last good checkpoint lies, and the command that goes on from there, once a step has worked."""
        if not self.holds_run():
            return ""
        good = f"the last good checkpoint is {self.good}, of step {self.good_step}"
        saved = good if self.good else "none is saved yet"
        return f"; {saved}; go on with: {self.resume_command()}{options}"

    def resume_command(self) -> str:
        """The command that goes on with the run."""
        plugin = self.read("settings.json").get("plugin")
        return shlex.join(["uda", "train", "--resume", str(self.whole), *(["--plugin", plugin] if plugin else [])])


def _is(value: object, kind: Any) -> bool:
    """Whether a value of a JSON file is of this kind; whole numbers are never below 0."""
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(entry, kind[0]) for entry in value)
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_is(entry, kind[str]) for entry in value.values())
    if kind is float:
        return type(value) in (int, float) and 0 <= value < 1e15
    return type(value) is int and value >= 0 if kind is int else isinstance(value, kind)
