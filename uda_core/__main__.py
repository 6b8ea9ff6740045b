"""`python -m uda_core`: train, evaluate and measure without a notebook."""

import argparse
import dataclasses
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from uda_core import __version__, checkpoints, options
from uda_core.data import TASKS, load
from uda_core.errors import UserError, choose
from uda_core.evaluation import Evaluation, evaluate
from uda_core.methods import METHODS, Config, Run, with_target_statistics
from uda_core.training import fit


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for bad input (one line on stderr), 130 after Ctrl-C."""
    try:
        args = _parser().parse_args(argv)
        return args.command(args)
    except (UserError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


# -- tasks -------------------------------------------------------------------------------------------------------------


def tasks(args: argparse.Namespace) -> int:
    for name, entry in TASKS.items():
        defaults = [f"{entry.steps} steps", *(f"{field}={value}" for field, value in entry.config.items())]
        print(f"{name:20}{entry.about}\n{'':20}data: {entry.data}\n{'':20}defaults: {', '.join(defaults)}")
    return 0


# -- train -------------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> int:
    choose("method", args.method, METHODS)
    choose("task", args.task, TASKS)
    steps = TASKS[args.task].steps if args.steps is None else args.steps
    if steps < 1:
        raise UserError(f"--steps must be at least 1, got {steps}")
    config, settings = options.parse(args.set, args.method)
    config = Config(**(dict(TASKS[args.task].config) | {"seed": args.seed} | config))
    out = args.out or Path("runs", f"{args.method}-{args.task}-seed{config.seed}")
    if (out / "checkpoint.pt").exists():
        raise UserError(f"{out} holds a run already; give another --out, or delete the folder to train again")

    task = load(args.task)
    run = METHODS[args.method](task.pair, config)
    for name, value in settings.items():
        setattr(run.settings, name, value)
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "settings.json", _settings(args.task, steps, run))
    seconds = _train(run, steps, out / "metrics.jsonl")
    checkpoints.save(run, out / "checkpoint.pt")
    if run.steps < steps:
        print(f"interrupted: step {run.steps} of {steps} is saved in {out / 'checkpoint.pt'}", file=sys.stderr)
        return 130
    evaluation = evaluate(run, task)  # the first look at the target's labels
    _write_json(out / "summary.json", _summary(args.task, run, seconds, evaluation))
    print(evaluation, f"written to {out}", sep="\n")
    return 0


def _train(run: Run, steps: int, metrics: Path) -> float:
    """Train, one line of JSON per step; returns the seconds. Ctrl-C ends it after the step that is under way."""
    started = time.perf_counter()
    with metrics.open("w") as file, _interruption() as interrupted, tqdm(total=steps, unit="step") as bar:
        for record in fit(run, steps):
            file.write(json.dumps(dataclasses.asdict(record)) + "\n")
            bar.set_postfix({name: f"{value:.3f}" for name, value in record.losses.items()}, refresh=False)
            bar.update()
            if interrupted:
                break
    return time.perf_counter() - started


@contextmanager
def _interruption() -> Iterator[list]:
    """A list that the first Ctrl-C puts something into; the second one raises KeyboardInterrupt as usual.

    A step that is cut in two could not be taken up again bit for bit.
    """
    caught = []

    def catch(*signal_and_frame):
        caught.append(signal_and_frame)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, catch)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


def _settings(task: str, steps: int, run: Run) -> dict:
    config, settings = dataclasses.asdict(run.config), dataclasses.asdict(run.settings)
    return {"method": run.method, "task": task, "steps": steps, "config": config, "settings": settings}


def _summary(task: str, run: Run, seconds: float, evaluation: Evaluation) -> dict:
    return {
        "method": run.method,
        "variant": run.config.variant,
        "task": task,
        "seed": run.config.seed,
        "steps": run.steps,
        "seconds": round(seconds, 2),
        "metric": evaluation.metric,
        "split": evaluation.split,
        "source": {"score": evaluation.source_score, "split": evaluation.source_split},
        "target": {"score": evaluation.score, "per_class": evaluation.per_class},
        "versions": {"uda_core": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


# -- evaluate ----------------------------------------------------------------------------------------------------------


def evaluate_run(args: argparse.Namespace) -> int:
    path = args.run / "settings.json"
    if not path.is_file():
        raise UserError(f"{args.run}: no settings.json; give a folder that `train` wrote, such as runs/mcd-moons-seed0")
    try:
        saved = json.loads(path.read_text())
        method, name = choose("method", saved["method"], METHODS), choose("task", saved["task"], TASKS)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; train again, or put back the file that `train` wrote") from None
    task = load(name)
    run = METHODS[method](task.pair)
    checkpoints.load(args.run / "checkpoint.pt", run)
    if args.target_statistics:
        run = with_target_statistics(run)
    print(f"{method} ({run.config.variant}), seed {run.config.seed}, {run.steps} steps")
    if args.target_statistics:
        print("batch-norm statistics re-estimated on the target")
    print(evaluate(run, task))
    return 0


# -- bench -------------------------------------------------------------------------------------------------------------


def bench_speed(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import speed  # each benchmark brings its own imports

    return speed.main(args.out)


def bench_accuracy(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import accuracy

    choose("table", args.table, accuracy.TABLES)
    accuracy.main(_seeds(args.seeds), args.out, args.table)
    return 0


def bench_board(args: argparse.Namespace) -> int:
    checkout = Path(__file__).parents[1]
    tests = checkout / "tests" / "browser"
    if not tests.is_dir():
        raise UserError("bench board drives tests/browser, which only a checkout of the repository has; run it there")
    command = [sys.executable, "-m", "pytest", str(tests), "--figures", str(args.out.absolute())]
    return subprocess.run(command, cwd=checkout).returncode


def _seeds(text: str) -> list[int]:
    """ "0-9" or "0,3,4" as a list."""
    first, _, last = text.partition("-")
    try:
        seeds = list(range(int(first), int(last) + 1)) if last else [int(seed) for seed in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds:
        raise UserError(f"--seeds takes a range such as 0-9 or a list such as 0,3,4, got {text!r}")
    return seeds


# -- arguments ---------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "python -m uda_core",
        description="Train, score and measure methods of unsupervised domain adaptation, without a notebook.",
        epilog=_example("train cgdm moons"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _command(commands, "tasks", "list the tasks and whether their data is there", "tasks").set_defaults(command=tasks)

    p = _command(
        commands, "train", "train a method on a task, then score it", "train cgdm moons --seed 1 --set beta=0.2 k=6"
    )
    p.set_defaults(command=train)
    p.description += (
        "\nWrites settings.json, metrics.jsonl (one line per step), checkpoint.pt and summary.json (the scores).\n"
        "The target's labels are opened only after the last step. Ctrl-C ends after the step under way and saves."
    )
    p.epilog += f"\n\nwhat --set takes, by method (default, range):\n{options.describe()}"
    p.add_argument("method", metavar="METHOD", help=", ".join(METHODS))
    p.add_argument("task", metavar="TASK", help=", ".join(TASKS))
    p.add_argument("--seed", type=int, default=0, metavar="N", help="network start, data order, dropout (default: 0)")
    p.add_argument("--steps", type=int, metavar="N", help="training steps (default: the task's; see `tasks`)")
    p.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="settings, listed below")
    p.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: runs/METHOD-TASK-seedN)")

    p = _command(
        commands, "evaluate", "score a trained run again", "evaluate runs/cgdm-moons-seed1 --target-statistics"
    )
    p.set_defaults(command=evaluate_run)
    p.add_argument("run", type=Path, metavar="RUN_DIR", help="folder that `train` wrote")
    p.add_argument("--target-statistics", action="store_true", help="batch norm re-estimated on the unlabelled target")

    about = "measure speed, accuracy over seeds, or the live board"
    benches = _command(commands, "bench", about, "bench speed").add_subparsers(required=True, metavar="WHAT")
    p = _command(benches, "speed", "the gradient discrepancy, fast against naive forms", "bench speed")
    p.set_defaults(command=bench_speed)
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    p = _command(benches, "accuracy", "every method, seed by seed", "bench accuracy --seeds 0-9 --out accuracy.json")
    p.set_defaults(command=bench_accuracy)
    p.add_argument("--seeds", default="0-9", metavar="A-B", help="a range, or a list such as 0,3,4 (default: 0-9)")
    p.add_argument(
        "--table",
        default="fonts-handwriting",
        metavar="NAME",
        help="fonts-handwriting (default), imbalanced, rehearsal",
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="results file: what it holds is kept")
    p = _command(benches, "board", "the live board in headless Chromium", "bench board --out board.json")
    p.set_defaults(command=bench_board)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write the times to")
    return parser


def _command(commands, name: str, about: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=_example(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _example(words: str) -> str:
    return f"example:\n  python -m uda_core {words}"


if __name__ == "__main__":
    sys.exit(main())
