"""`python -m uda_core`: train, evaluate and measure without a notebook."""

import argparse
import dataclasses
import json
import platform
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from uda_core import __version__, checkpoints, options
from uda_core.data import TASKS, load, missing
from uda_core.data.catalog import Entry
from uda_core.data.task import Task
from uda_core.errors import UserError, choose
from uda_core.evaluation import Evaluation, evaluate, label_qualities
from uda_core.methods import (
    CLASSIFY,
    METHODS,
    SEGMENT,
    Config,
    Run,
    RunConfig,
    SegmentationConfig,
    with_target_statistics,
)
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
        there = missing(name, args.data) or ("found" if entry.files else "built in, nothing to download")
        defaults = [f"{entry.steps} steps", *(f"{k}={v}" for k, v in (entry.config | entry.settings).items())]
        lines = [
            entry.about,
            f"data: {there}",
            f"methods: {', '.join(SEGMENT if entry.dense else CLASSIFY)}",
            f"defaults: {', '.join(defaults)}",
        ]
        print(f"{name:24}" + textwrap.indent("\n".join(lines), " " * 24).lstrip())
    return 0


# -- train -------------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> int:
    choose("method", args.method, METHODS)
    entry = TASKS[choose("task", args.task, TASKS)]
    choose(f"method for {args.task}", args.method, SEGMENT if entry.dense else CLASSIFY)
    if args.steps is not None and args.steps < 1:
        raise UserError(f"--steps must be at least 1, got {args.steps}")
    config, settings = _values(args, entry)
    out = args.out or Path("runs", f"{args.method}-{args.task}-seed{config.seed}")
    if (out / "checkpoint.pt").exists():
        raise UserError(f"{out} holds a run already; give another --out, or delete the folder to train again")

    task = load(args.task, args.data)
    run = METHODS[args.method](task.pair, config)
    for name, value in settings.items():
        setattr(run.settings, name, value)
    steps = args.steps or run.planned_steps or entry.steps
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "settings.json", _settings(args.task, steps, run))
    seconds, milestones = _train(run, steps, out)
    checkpoints.save(run, out / "checkpoint.pt")
    if run.steps < steps:
        print(f"interrupted: step {run.steps} of {steps} is saved in {out / 'checkpoint.pt'}", file=sys.stderr)
        return 130
    evaluation = evaluate(run, task)  # the first look at the target's labels
    reached = {name: _score_milestone(out / f"{name}.pt", run, task) for name in milestones}
    _write_json(out / "summary.json", _summary(args.task, run, seconds, evaluation, reached))
    for name, scores in reached.items():
        print(f"target, {evaluation.split}, after {name}: {scores['target']['score']:.1%}")
        for why in ("classes_without_anchor", "classes_shut_out"):
            if scores.get(why):
                print(f"  {why.replace('_', ' ')}: {', '.join(scores[why])}")
    print(evaluation, f"written to {out}", sep="\n")
    return 0


def _values(args: argparse.Namespace, entry: Entry) -> tuple[RunConfig, dict]:
    """The run's configuration and settings: the method's defaults, changed by the task's, changed by the options."""
    config, settings = options.parse(args.set, args.method, entry.dense)
    if args.weights is not None:
        if not entry.dense:
            raise UserError(f"--weights is for tasks whose pixels have labels; {args.task} has a small network")
        config["weights"] = args.weights
    known = options.config_of(args.method, entry.dense)
    config = {k: v for k, v in entry.config.items() if k in known} | {"seed": args.seed} | config
    known = options.settings_of(args.method, entry.dense)
    settings = {k: v for k, v in entry.settings.items() if k in known} | settings
    return (SegmentationConfig if entry.dense else Config)(**config), settings


def _train(run: Run, steps: int, out: Path) -> tuple[float, list[str]]:
    """Train: a line of JSON per step, a checkpoint at each of the run's milestones; the seconds, and their names.

    Ctrl-C ends it after the step that is under way.
    """
    started, milestones = time.perf_counter(), []
    with (
        (out / "metrics.jsonl").open("w") as file,
        _interruption() as interrupted,
        tqdm(total=steps, unit="step") as bar,
    ):
        for record in fit(run, steps):
            file.write(json.dumps(dataclasses.asdict(record)) + "\n")
            bar.set_postfix({name: f"{value:.3f}" for name, value in record.losses.items()}, refresh=False)
            bar.update()
            if run.milestone:
                milestones.append(run.milestone)
                checkpoints.save(run, out / f"{run.milestone}.pt")
            if interrupted:
                break
    return time.perf_counter() - started, milestones


def _score_milestone(path: Path, finished: Run, task: Task) -> dict:
    """What a segmentation run was worth at one of its milestones, and the labels it had learnt from; on its device."""
    run = METHODS[finished.method](task.pair, dataclasses.replace(finished.config, weights="none"))
    checkpoints.load(path, run)
    scores = _scores(evaluate(run, task)) | {"made_from": run.made_from}
    if run.stage:
        scores |= run.left_out(run.settings) | {"labels": label_qualities(run, task)}
    return scores


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


def _summary(task: str, run: Run, seconds: float, evaluation: Evaluation, milestones: dict) -> dict:
    return {
        "method": run.method,
        **({} if run.pair.dense else {"variant": run.config.variant}),
        "task": task,
        "seed": run.config.seed,
        "steps": run.steps,
        "seconds": round(seconds, 2),
        "metric": evaluation.metric,
        "split": evaluation.split,
        **_scores(evaluation),
        **({"milestones": milestones} if milestones else {}),
        "versions": {"uda_core": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _scores(evaluation: Evaluation) -> dict:
    subsets = {"subsets": evaluation.subsets} if evaluation.subsets else {}
    return {
        "source": {"score": evaluation.source_score, "split": evaluation.source_split},
        "target": {"score": evaluation.score, "per_class": evaluation.per_class} | subsets,
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
    task = load(name, args.data)
    config = SegmentationConfig if task.pair.dense else Config
    run = METHODS[method](task.pair, config(device=args.device, batch_size=2))  # of the rest the checkpoint tells
    checkpoints.load(args.run / "checkpoint.pt", run)
    if args.target_statistics:
        run = with_target_statistics(run)
    variant = "" if run.pair.dense else f" ({run.config.variant})"
    print(f"{method}{variant}, seed {run.config.seed}, {run.steps} steps")
    if args.target_statistics:
        print("batch-norm statistics re-estimated on the target")
    print(evaluate(run, task))
    return 0


# -- bench -------------------------------------------------------------------------------------------------------------


def bench_speed(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import speed  # each benchmark brings its own imports

    return speed.main(args.out)


def bench_anchors(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import anchors

    return anchors.main(args.out)


def bench_accuracy(args: argparse.Namespace) -> int:
    from uda_core.benchmarks import accuracy

    choose("table", args.table, accuracy.TABLES)
    accuracy.main(_seeds(args.seeds), args.out, args.table, args.data)
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

    p = _command(commands, "tasks", "list the tasks and whether their data is there", "tasks --data sets")
    p.set_defaults(command=tasks)
    _add_data(p)

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
    p.add_argument("task", metavar="TASK", help="one of those that `tasks` lists, such as moons or streets")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="network start, data order, dropout (default: 0)")
    p.add_argument("--steps", type=int, metavar="N", help="training steps (default: the phases of cag, or the task's)")
    p.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="settings, listed below")
    about = "of the network that segments: none, a file, or a name such as ResNet101_Weights.IMAGENET1K_V2"
    p.add_argument("--weights", metavar="W", help=about)
    p.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: runs/METHOD-TASK-seedN)")
    _add_data(p)

    p = _command(
        commands, "evaluate", "score a trained run again", "evaluate runs/cgdm-moons-seed1 --target-statistics"
    )
    p.set_defaults(command=evaluate_run)
    p.add_argument("run", type=Path, metavar="RUN_DIR", help="folder that `train` wrote")
    p.add_argument("--target-statistics", action="store_true", help="batch norm re-estimated on the unlabelled target")
    p.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda, wherever it was trained")
    _add_data(p)

    about = "measure speed, accuracy over seeds, or the live board"
    benches = _command(commands, "bench", about, "bench speed").add_subparsers(required=True, metavar="WHAT")
    p = _command(benches, "speed", "the gradient discrepancy, fast against naive forms", "bench speed")
    p.set_defaults(command=bench_speed)
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    p = _command(benches, "anchors", "category anchors, vectorised against loops", "bench anchors")
    p.set_defaults(command=bench_anchors)
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the figures, as JSON")
    p = _command(benches, "accuracy", "every method, seed by seed", "bench accuracy --seeds 0-9 --out accuracy.json")
    p.set_defaults(command=bench_accuracy)
    p.add_argument("--seeds", default="0-9", metavar="A-B", help="a range, or a list such as 0,3,4 (default: 0-9)")
    p.add_argument(
        "--table",
        default="fonts-handwriting",
        metavar="NAME",
        help="fonts-handwriting (default), imbalanced, rehearsal, streets, streets-rehearsal, camvid-day-dusk",
    )
    _add_data(p)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="results file: what it holds is kept")
    p = _command(benches, "board", "the live board in headless Chromium", "bench board --out board.json")
    p.set_defaults(command=bench_board)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write the times to")
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the sets (default: $UDA_DATA, else data)")


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
