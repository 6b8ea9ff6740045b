"""The folder of a run: what was asked, what each step did, where it can be taken up again, what it was worth."""

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from uda_core import checkpoints
from uda_core.data.catalog import entry_of
from uda_core.errors import UserError, choose
from uda_core.methods import METHODS
from uda_core.run import Record, Run


class RunFolder:
    """What `train` writes, and what `train --resume` and `evaluate` read.

        settings.json         method, task, steps, configuration and settings; and what a --resume has changed
        metrics.jsonl         a record per step
        checkpoint.pt         the run, every few minutes and at the end
        checkpoint-before.pt  the one before that
        source.pt, stage1.pt  the run at its milestones
        progress.json         the seconds it took, the steps at which it reached its milestones
        summary.json          the scores, once it is finished

    It may be killed at any moment: metrics.jsonl is never behind the checkpoint, and every other file is written whole
    or not at all. Of several processes that train one run, rank 0 alone writes here.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoint, self.before = path / "checkpoint.pt", path / "checkpoint-before.pt"
        self.good: Path | None = None  # the checkpoint that this process wrote or read last
        self.good_step = 0
        self.seconds, self.milestones = 0.0, {}  # of the run so far; name -> step

    def holds_run(self) -> bool:
        return (self.path / "settings.json").exists() or self.has_checkpoint()

    def has_checkpoint(self) -> bool:
        return self.checkpoint.exists() or self.before.exists()

    # -- settings.json, progress.json, summary.json --------------------------------------------------------------------

    def read(self, name: str) -> dict:
        """One of the JSON files; an empty dict if it is not there."""
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # no JSON, or no text
            value = None
        if not isinstance(value, dict):
            raise UserError(f"{path}: damaged; train again, or put back the file that `train` wrote")
        return value

    def settings(self) -> dict:
        """What settings.json tells of the run."""
        path = self.path / "settings.json"
        if not path.is_file():
            example = "give a folder that `train` wrote, such as runs/mcd-moons-seed0"
            raise UserError(f"{self.path}: no settings.json; {example}")
        value = self.read("settings.json")
        try:
            choose("method", value["method"], METHODS)
            entry_of(value["task"])
            whole = {"steps", "config", "settings"} <= value.keys()
        except (KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise UserError(f"{path}: damaged; train again, or put back the file that `train` wrote")
        return value

    def write(self, name: str, value: dict) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        checkpoints.write_whole(self.path / name, (json.dumps(value, indent=2) + "\n").encode())

    def write_settings(self, what: dict, run: Run, steps: int) -> None:
        """Write settings.json: `what` tells method and task. What differs from before is noted with the run's step."""
        before = self.read("settings.json")
        now = what | {"steps": steps, "config": asdict(run.config), "settings": asdict(run.settings)}
        now = json.loads(json.dumps(now))  # lists for tuples, as in `before`
        old, new = ({"steps": v["steps"], **v["config"], **v["settings"]} for v in (before or now, now))
        changed = {name: [old.get(name), value] for name, value in new.items() if old.get(name) != value}
        changes = before.get("changes", []) + ([{"step": run.steps, **changed}] if changed else [])
        self.write("settings.json", now | ({"changes": changes} if changes else {}))

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def load(self, run: Run) -> None:
        """Put the last good checkpoint into `run`; one that is damaged is told, and the one before is taken."""
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
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        self.seconds += time.perf_counter() - self._counted
        self._counted = time.perf_counter()
        self.write("progress.json", {"seconds": self.seconds, "milestones": self.milestones})
        checkpoints.save(run, self.checkpoint, self.before if self.good == self.checkpoint else None)
        self.good, self.good_step, self._saved = self.checkpoint, run.steps, time.perf_counter()

    # -- while it trains -----------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self, run: Run) -> Iterator[None]:
        """Inside, steps of `run` can be recorded and saved, from where it stands; what goes wrong names the way on."""
        (self.path / "summary.json").unlink(missing_ok=True)  # of a shorter run
        progress = self.read("progress.json")
        self.seconds = progress.get("seconds", 0.0)
        self.milestones = {name: step for name, step in progress.get("milestones", {}).items() if step <= run.steps}
        self._counted = self._saved = time.perf_counter()
        try:
            with (self.path / "metrics.jsonl").open("a+b") as self._metrics:
                self._forget_after(run.steps)
                yield
        except FloatingPointError as error:
            raise UserError(f"{error}; {self.way_on()} --set learning_rate=...") from error
        except (UserError, OSError) as error:
            nameless = isinstance(error, OSError) and error.strerror and not error.filename  # as of a full disk
            what = f"{self.path}: {error.strerror}" if nameless else error
            raise UserError(f"{what}; {self.way_on()}") from error

    def _forget_after(self, step: int) -> None:
        """Drop the records of later steps, and one that was cut short: they come again."""
        self._metrics.seek(0)
        kept = [line for line, _ in zip(self._metrics, range(step), strict=False) if line.endswith(b"\n")]
        if len(kept) < step:
            print(f"warning: {self._metrics.name} has {len(kept)} of the {step} steps so far", file=sys.stderr)
        self._metrics.truncate(sum(map(len, kept)))

    def record(self, record: Record, run: Run, minutes: float) -> None:
        """Write down a step and what it completed; save the run if it was saved more than so many minutes ago."""
        self._metrics.write(json.dumps(asdict(record)).encode() + b"\n")
        if run.milestone:
            checkpoints.save(run, self.path / f"{run.milestone}.pt")
            self.milestones[run.milestone] = run.steps
        if time.perf_counter() - self._saved >= 60 * minutes:
            self.save(run)

    def way_on(self) -> str:
        """Where the last good checkpoint lies, and the command that goes on from there."""
        saved = f"the last good checkpoint is {self.good}, of step {self.good_step}"
        return f"{saved if self.good else 'none is saved yet'}; go on with: {self.resume_command()}"

    def resume_command(self) -> str:
        return f"python -m uda_core train --resume {shlex.quote(str(self.path))}"
