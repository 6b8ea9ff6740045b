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

from uda_core import __version__, checkpoints
from uda_core.data import TASKS, load
from uda_core.errors import UserError, choose
from uda_core.evaluation import Evaluation, evaluate
from uda_core.methods import METHODS, Config, Run, with_target_statistics
from uda_core.methods.cgdm import CGDMSettings
from uda_core.methods.mcd import MCDSettings
from uda_core.methods.source_only import SourceOnlySettings
from uda_core.methods.swd import SWDSettings
from uda_core.training import fit

SETTINGS = {"source_only": SourceOnlySettings, "mcd": MCDSettings, "swd": SWDSettings, "cgdm": CGDMSettings}
CONFIG = {f.name: f for f in dataclasses.fields(Config)}
CONFIG_HELP = {
    "seed": "the same as --seed",
    "variant": "of cgdm: code (the authors' repository, mended) or paper (the published formulas)",
    "batch_size": "samples per domain and step",
    "features": "width of the feature vector",
    "hidden": "widths of the heads' hidden layers, such as 64,64",
    "dropout": "in the heads, from 0 to below 1",
    "device": "cpu, cuda or cuda:1",
    "precision": "of the feature extractor: fp32 or bf16",
    "fast": "true: cgdm's gradient discrepancy in closed form, the same numbers sooner",
}


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
        print(f"{name:20} {entry.about}\n{'':20} data: {entry.data}; {entry.steps} steps unless --steps says otherwise")
    return 0


# -- train -------------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> int:
    choose("method", args.method, METHODS)
    choose("task", args.task, TASKS)
    steps = TASKS[args.task].steps if args.steps is None else args.steps
    if steps < 1:
        raise UserError(f"--steps must be at least 1, got {steps}")
    config, settings = _assignments(args.set, args.method)
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


def _assignments(pairs: list[str], method: str) -> tuple[dict, dict]:
    """`name=value` texts, sorted into values for `Config` and for the method's settings."""
    config, settings = {}, {}
    known = [*(f.name for f in dataclasses.fields(SETTINGS[method])), *CONFIG]
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes name=value, got {pair!r}")
        if choose("setting", name, known) in CONFIG:
            config[name] = _config_value(name, text)
        else:
            settings[name] = _number_or_text(text)  # Settings itself refuses what is no number
    return config, settings


def _config_value(name: str, text: str) -> object:
    """`text` as the type that `Config` declares for `name`."""
    kind = CONFIG[name].type
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float, str):
            return kind(text)
        return tuple(int(width) for width in text.split(","))  # hidden: tuple[int, ...]
    except (ValueError, KeyError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(
            kind, "whole numbers, such as 64,64"
        )
        raise UserError(f"setting {name} must be {wanted}, got {text!r}") from None


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


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
    except (json.JSONDecodeError, KeyError, TypeError):
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
    seeds = _seeds(args.seeds)
    from uda_core.benchmarks import accuracy

    accuracy.main(seeds, args.out)
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
    try:
        if "-" in text:
            first, last = map(int, text.split("-"))
            return list(range(first, last + 1))
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds takes a range such as 0-9 or a list such as 0,3,4, got {text!r}") from None


# -- arguments ---------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python -m uda_core", description="Unsupervised domain adaptation from the command line.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _command(commands, "tasks", tasks, "list the tasks and whether their data is there", "tasks")

    p = _command(
        commands,
        "train",
        train,
        "train a method on a task and score it",
        "train cgdm fonts-handwriting --seed 1 --set beta=0.2 k=6",
        _settings_help(),
    )
    p.add_argument("method", metavar="METHOD", help=", ".join(METHODS))
    p.add_argument("task", metavar="TASK", help=", ".join(TASKS))
    p.add_argument("--seed", type=int, default=0, metavar="N", help="network start, data order, dropout (default: 0)")
    p.add_argument("--steps", type=int, metavar="N", help="training steps (default: the task's; see `tasks`)")
    p.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="see below")
    p.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: runs/METHOD-TASK-seedN)")

    p = _command(commands, "evaluate", evaluate_run, "score a trained run again", "evaluate runs/cgdm-moons-seed0")
    p.add_argument("run", type=Path, metavar="RUN_DIR", help="folder that `train` wrote")
    p.add_argument(
        "--target-statistics", action="store_true", help="first re-estimate batch norm on the unlabelled target"
    )

    about = "measure speed, accuracy over seeds, or the live board"
    benches = commands.add_parser("bench", help=about, description=about.capitalize() + ".")
    benches = benches.add_subparsers(required=True, metavar="WHAT")
    p = _command(benches, "speed", bench_speed, "gradient discrepancy, fast against naive, as ratios", "bench speed")
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    p = _command(
        benches,
        "accuracy",
        bench_accuracy,
        "every method over several seeds on fonts-handwriting",
        "bench accuracy --seeds 0-9 --out accuracy.json",
    )
    p.add_argument("--seeds", default="0-9", metavar="A-B", help="a range, or a list such as 0,3,4 (default: 0-9)")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="results file to write")
    p = _command(benches, "board", bench_board, "the live board in headless Chromium", "bench board --out figures.json")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write the times to")
    return parser


def _command(commands, name: str, function, about: str, example: str, more: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"example:\n  python -m uda_core {example}\n{more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def _settings_help() -> str:
    lines = ["", "what --set takes, by method (default, range):"]
    for method, settings in SETTINGS.items():
        lines.append(f"  {method}")
        for f in dataclasses.fields(settings):
            m = f.metadata
            unit = f" {m['unit']}" if m["unit"] else ""
            lines.append(f"    {f.name:16} {m['help']} ({f.default:g}{unit}, {m['low']:g} to {m['high']:g})")
    lines.append("  every method, fixed from the first step on")
    lines += [f"    {name:16} {CONFIG_HELP[name]} ({_shown(f.default)})" for name, f in CONFIG.items()]
    return "\n".join(lines)


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


if __name__ == "__main__":
    sys.exit(main())
