"""`train`: a method on a task, into a folder that tells everything about the run."""

import argparse
import dataclasses
import json
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from uda_core import __version__, checkpoints, options
from uda_core.commands import arguments
from uda_core.data import TASKS, load
from uda_core.data.catalog import Entry
from uda_core.data.task import Task
from uda_core.errors import UserError, choose
from uda_core.evaluation import Evaluation, evaluate, label_qualities
from uda_core.methods import CLASSIFY, METHODS, SEGMENT, Config, Run, RunConfig, SegmentationConfig
from uda_core.training import fit


def add(commands) -> None:
    about, example = "train a method on a task, then score it", "train cgdm moons --seed 1 --set beta=0.2 k=6"
    p = arguments.add(commands, "train", train, about, example)
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
    about = "that a large network starts from: none, a file, or a name such as ResNet101_Weights.IMAGENET1K_V2"
    p.add_argument("--weights", metavar="W", help=about)
    p.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: runs/METHOD-TASK-seedN)")
    arguments.add_data(p)


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
