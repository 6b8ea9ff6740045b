"""`train`: a method on a task, into a folder that tells everything about the run."""

import argparse
import dataclasses
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from tqdm import tqdm

from uda_core import __version__, checkpoints, distributed
from uda_core.data.catalog import Entry, entry_of
from uda_core.errors import UserError, choose
from uda_core.evaluation import Evaluation, evaluate, label_qualities
from uda_core.lab import options
from uda_core.lab.commands import arguments
from uda_core.lab.commands.resume import resumed
from uda_core.lab.presets import preset
from uda_core.lab.run_folder import RunFolder
from uda_core.methods import CLASSIFY, METHODS, SEGMENT, Config, SegmentationConfig
from uda_core.run import Run, RunConfig
from uda_core.task import Task
from uda_core.training import fit


def add(commands) -> None:
    about, example = "train a method on a task, then score it", "train cgdm moons --seed 1 --set beta=0.2 k=6"
    p = arguments.add(commands, "train", train, about, example)
    p.description += (
        "\nWrites settings.json, metrics.jsonl (one line per step), checkpoint.pt and summary.json (the scores).\n"
        "The target's labels are opened only after the last step. Ctrl-C ends after the step under way and saves;\n"
        "--resume goes on after that, or after a kill, as if nothing had happened (on a CPU to the last bit)."
    )
    p.epilog += f"\n\nwhat --set takes, by method (default, range):\n{options.describe()}"
    p.add_argument("method", nargs="?", metavar="METHOD", help=", ".join(METHODS))
    arguments.add_task(p, required=False)
    p.add_argument("--seed", type=int, metavar="N", help="network start, data order, dropout (default: 0)")
    p.add_argument("--steps", type=int, metavar="N", help="training steps (default: the phases of cag, or the task's)")
    about = "a published configuration, one of those that `presets` lists; --set and the other options go before it"
    p.add_argument("--preset", metavar="NAME", help=about)
    p.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="settings, listed below")
    about = "that a large network starts from: none, a file, or a name such as ResNet101_Weights.IMAGENET1K_V2"
    p.add_argument("--weights", metavar="W", help=about)
    about = "of the network: fp32 (default) or bf16; what compares, and the weights, stay in float32"
    p.add_argument("--precision", metavar="P", help=about)
    about = "GPUs (with --set device=cuda) or processes that share the work; batch_size is per device (default: 1)"
    p.add_argument("--devices", type=int, metavar="N", help=about)
    folder = p.add_mutually_exclusive_group()
    folder.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: runs/METHOD-TASK-seedN)")
    about = "go on with the run in this folder; --set may change what is no fixed part of it, --steps may grow"
    folder.add_argument("--resume", type=Path, metavar="RUN_DIR", help=about)
    about = "between two checkpoints; 0: one after every step (default: 10)"
    p.add_argument("--checkpoint-minutes", type=float, default=10, metavar="M", help=about)


def train(args: argparse.Namespace) -> int:
    if args.steps is not None and args.steps < 1:
        raise UserError(f"--steps must be at least 1, got {args.steps}")
    if not args.checkpoint_minutes >= 0:
        raise UserError(f"--checkpoint-minutes must be at least 0, got {args.checkpoint_minutes}")
    folder, what, config, settings = resumed(args) if args.resume else _new(args)
    steps = args.steps or folder.read("settings.json").get("steps")
    if steps and folder.read("summary.json").get("steps") == steps:
        print(f"{folder.path}: finished, {steps} steps, scores in summary.json; a larger --steps trains on")
        return 0
    work = folder, what, config, settings, steps, args.checkpoint_minutes, args.data
    try:
        return distributed.launch(what["devices"], config.device, _train_and_score, *work)
    except ChildProcessError as error:
        raise UserError(f"{error}; go on with: {folder.resume_command()}") from error


def _train_and_score(
    folder: RunFolder,
    what: dict,
    config: RunConfig,
    settings: dict,
    steps: int | None,
    minutes: float,
    data: Path | None,
) -> int:
    """Train, in this process and those that it may be together with; then the first one scores. The exit status."""
    with distributed.together(config.device):
        first = distributed.rank() == 0
        task = arguments.task_on_record(what, data)
        run = METHODS[what["method"]](task.pair, config)
        if folder.has_checkpoint():
            folder.load(run)
        if what["preset"]:
            published, published_steps = preset(what["preset"]).resolve(
                task.pair, config.batch_size * distributed.ranks()
            )
            settings, steps = published | settings, steps or published_steps
        for name, value in settings.items():
            setattr(run.settings, name, value)
        steps = steps or run.planned_steps or entry_of(what["task"]).steps
        if first:
            folder.write_settings(what, run, steps)
        caught = _train(run, steps, folder, minutes)
    if run.steps < steps:
        if first:
            print(f"interrupted: step {run.steps} of {steps} is saved in {folder.checkpoint}", file=sys.stderr)
            print(f"go on with: {folder.resume_command()}", file=sys.stderr)
        return 128 + caught
    if not first:
        return 0
    evaluation = evaluate(run, task)  # the first look at the target's labels
    reached = {name: _score_milestone(folder.path / f"{name}.pt", run, task) for name in folder.milestones}
    folder.write("summary.json", _summary(what["task"], run, folder.seconds, evaluation, reached))
    for name, scores in reached.items():
        print(f"target, {evaluation.split}, after {name}: {scores['target']['score']:.1%}")
        for why in ("classes_without_anchor", "classes_shut_out"):
            if scores.get(why):
                print(f"  {why.replace('_', ' ')}: {', '.join(scores[why])}")
    print(evaluation, f"written to {folder.path}", sep="\n")
    return 0


def _new(args: argparse.Namespace) -> tuple[RunFolder, dict, RunConfig, dict]:
    """A folder that holds no run yet; method and task, configuration and settings, as the options have them."""
    missing = [name.upper() for name in ("method", "task") if getattr(args, name) is None]
    if missing:
        what = ", ".join(missing)
        raise UserError(f"the following arguments are required: {what}; see python -m uda_core train --help")
    choose("method", args.method, METHODS)
    entry = entry_of(args.task)
    choose(f"method for {args.task}", args.method, SEGMENT if entry.dense else CLASSIFY)
    config, settings = _values(args, entry)
    name = f"{args.method}-{args.task.replace(':', '-')}-seed{config.seed}"
    folder = RunFolder(args.out or Path("runs", name))
    if folder.holds_run():
        what = f"{folder.path} holds a run already"
        raise UserError(f"{what}; go on with --resume {folder.path}, give another --out, or delete the folder")
    devices = distributed.started() if args.devices is None else args.devices
    what = {"method": args.method, **arguments.record_of(args), "preset": args.preset, "devices": devices}
    return folder, what, config, settings


def _values(args: argparse.Namespace, entry: Entry) -> tuple[RunConfig, dict]:
    """The run's configuration and settings: the method's defaults, changed by the task's, changed by the options.

    A preset stands in for the task's; its settings are known when the data is, since some of them count in epochs.
    """
    config, settings = options.parse(args.set, args.method, entry.dense)
    task_config, task_settings = options.of_task(entry, args.method)
    if args.preset:
        published = preset(args.preset)
        published.check(args.method, args.task)
        task_config, task_settings = {name: value.value for name, value in published.config.items()}, {}
    config |= {name: value for name in ("weights", "precision") if (value := getattr(args, name)) is not None}
    config = task_config | {"seed": args.seed or 0} | config
    settings = task_settings | settings
    return (SegmentationConfig if entry.dense else Config)(**config), settings


def _train(run: Run, steps: int, folder: RunFolder, minutes: float) -> int:
    """Train up to step `steps`, or until a signal comes; returns its number, or 0.

    A line of JSON per step, a checkpoint every so many minutes, at each of the run's milestones, and at the end. Of
    several processes the first one writes, and all end after the same step, whichever caught the signal.
    """
    first, number = distributed.rank() == 0, 0
    with (
        folder.recording(run) if first else nullcontext(),
        _interruption() as caught,
        tqdm(initial=run.steps, total=steps, unit="step") as bar,
    ):
        for record in fit(run, steps - run.steps):
            if first:
                folder.record(record, run, minutes)
            bar.set_postfix({name: f"{value:.3f}" for name, value in record.losses.items()}, refresh=False)
            bar.update()
            if number := distributed.largest(caught[0] if caught else 0):
                break
        if first:
            folder.save(run)
    return number


def _score_milestone(path: Path, finished: Run, task: Task) -> dict:
    """What a segmentation run was worth at one of its milestones, and the labels it had learnt from; on its device."""
    run = METHODS[finished.method](task.pair, dataclasses.replace(finished.config, weights="none"))
    checkpoints.load(path, run)
    scores = _scores(evaluate(run, task)) | {"made_from": run.made_from}
    if run.stage:
        scores |= run.left_out(run.settings) | {"labels": label_qualities(run, task)}
    return scores


@contextmanager
def _interruption() -> Iterator[list[int]]:
    """A list that the first Ctrl-C, or the SIGTERM of a cluster, is put into; the second one acts as usual.

    A step that is cut in two could not be taken up again bit for bit.
    """
    caught, before = [], {}

    def catch(number, _):
        caught.append(number)
        release()

    def release():
        for number, handler in before.items():
            signal.signal(number, handler)

    before |= {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        release()


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
