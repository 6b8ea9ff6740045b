"""The folder of a run: its settings, what each step did, where it can be taken up again, and its scores."""

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from uda_core.errors import UserError
from uda_core.lab import checkpoints
from uda_core.run import Record, Run


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
        """That of the restarts which was chosen; without restarts, the folder itself."""
        return RunFolder(self.path / self.read("choice.json").get("chosen", ""))

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to go on from, damaged or not."""
        return self.checkpoint.exists() or self.before.exists()

    # -- settings.json, progress.json, summary.json --------------------------------------------------------------------

    def read(self, name: str, kinds: Mapping[str, type] | None = None) -> dict:
        """One of the JSON files, which has keys with values of these kinds; an empty dict if it is not there.

        Raises:
            UserError: if it is damaged.
        """
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # no JSON, or no text
            value = None
        if not isinstance(value, dict) or not all(isinstance(value.get(k), kind) for k, kind in (kinds or {}).items()):
            raise UserError(f"{path}: damaged; train again, or put back the file that `train` wrote")
        return value

    def settings(self) -> dict:
        """The contents of settings.json.

        Raises:
            UserError: if it is not there, or damaged.
        """
        kinds = {"method": str, "task": str, "steps": int, "config": dict, "settings": dict}
        settings = self.read("settings.json", kinds)
        if not settings:
            example = "give a folder that `train` wrote, such as runs/mcd-moons-seed0"
            raise UserError(f"{self.path}: no settings.json; {example}")
        return settings

    def write(self, name: str, value: dict) -> None:
        """Write one of the JSON files, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        checkpoints.write_whole(self.path / name, (json.dumps(value, indent=2) + "\n").encode())

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
        self._metrics = self._open.enter_context((self.path / "metrics.jsonl").open("a+b"))
        self._forget_after(self._metrics, self._began)
        return self._metrics

    def _forget_after(self, metrics: IO[bytes], step: int) -> None:
        """Drop the records of later steps, and one that was cut short: they come again."""
        metrics.seek(0)
        kept = [line for line, _ in zip(metrics, range(step), strict=False) if line.endswith(b"\n")]
        if len(kept) < step:
            print(f"warning: {metrics.name} has {len(kept)} of the {step} steps so far", file=sys.stderr)
        metrics.truncate(sum(map(len, kept)))

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
        return f"uda train --resume {shlex.quote(str(self.whole))}"
