"""`uda train`: a method on a task, into a folder that describes the whole run."""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from uda_core import __version__, distributed
from uda_core.errors import UserError
from uda_core.evaluation import Evaluation, label_qualities
from uda_core.lab import checkpoints, forecast, main
from uda_core.lab.fingerprint import same_data
from uda_core.lab.recipe import (
    BY_TASK,
    Recipe,
    all_methods,
    default_for,
    fields_of,
    load,
    method_for,
    method_help,
    parse,
)
from uda_core.lab.run_folder import RunFolder
from uda_core.lab.scoring import evaluate
from uda_core.lab.validators import RULE, RULES
from uda_core.methods import CGDMConfig
from uda_core.methods.cag import CAGRun
from uda_core.run import Method, Run
from uda_core.task import Task
from uda_core.training import fit

# of settings.json, when a run goes on
KEPT = (
    "method", "task", "source", "target", "plugin", "standardise", "recipe", "devices", "threads", "data", "restarts",
    "choose",
)  # fmt: skip
Then = Callable[[Any, RunFolder], None]  # what is done with a finished run


def add(commands) -> None:
    """The command `train`."""
    about, example = "train a method on a task, then score it", "train cgdm moons --seed 1 --set beta=0.2 k=6"
    p = main.add_command(commands, "train", train, about, example, conflict_handler="resolve")  # of two --help
    p.description += (
        "\nWrites settings.json, metrics.jsonl (one line per step), checkpoint.pt and summary.json (the scores).\n"
        "The target's labels are opened only after the last step. Ctrl-C ends after the step under way and saves;\n"
        "--resume goes on after that, or after a kill, as if nothing had happened: on a CPU to the last bit,\n"
        "with as many threads as before (OMP_NUM_THREADS). One process trains in a folder at a time.\n\n"
        "`uda train METHOD --help` lists the settings of a method."
    )
    p.add_argument("-h", "--help", action=Help, nargs=0, help="show this, or behind a METHOD its settings")
    p.add_argument("method", nargs="?", metavar="METHOD", help=", ".join(all_methods()))
    main.add_task(p, required=False)
    p.add_argument("--seed", type=int, metavar="N", help="network start, data order, dropout (default: 0)")
    p.add_argument("--steps", type=int, metavar="N", help="training steps (default: those of the recipe)")
    by_task = "; ".join(f"{name}, with the method {method}" for name, method in BY_TASK.items())
    about = f"one that `uda recipes` lists, such as a published one, or {by_task} (default: METHOD-TASK)"
    p.add_argument("--recipe", metavar="NAME", help=about)
    about = "changes of the recipe; `uda train METHOD --help` lists the names"
    p.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=about)
    about = "that a large network starts from: none, a file, or a name such as ResNet101_Weights.IMAGENET1K_V2"
    p.add_argument("--weights", metavar="W", help=about)
    about = "of the network: fp32 (default) or bf16; what compares, and the weights, stay in float32"
    p.add_argument("--precision", metavar="P", help=about)
    about = "GPUs (with --set device=cuda) or processes that share the work; batch_size is per device (default: 1)"
    p.add_argument("--devices", type=int, metavar="N", help=about)
    about = "train N runs, of seed and those after it; score the one that RULE chooses, which needs no target labels"
    p.add_argument("--restarts", type=int, metavar="N", help=about)
    about = f"{', '.join(RULES)}: by which number of the predictions on the target, the lowest (default: {RULE})"
    p.add_argument("--choose", metavar="RULE", help=about)
    main.add_plugin(p)
    folder = p.add_mutually_exclusive_group()
    folder.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: runs/METHOD-TASK-seedN)")
    about = "go on with the run in this folder; --set may change what is no fixed part of it, --steps may grow"
    folder.add_argument("--resume", type=Path, metavar="RUN_DIR", help=about)
    about = "between two checkpoints; 0: one after every step (default: 10)"
    p.add_argument("--checkpoint-minutes", type=float, default=10, metavar="M", help=about)


class Help(argparse.Action):
    """The help of `train`; behind a METHOD, the settings of that method."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Print it, and exit."""
        if namespace.method:
            print(method_help(namespace.method))
        else:
            parser.print_help()
        parser.exit()


def train(args: argparse.Namespace) -> int:
    """Train and score; the exit status.

    Raises:
        UserError: for options that do not fit, files that are missing, losses that are no longer finite.
    """
    if args.steps is not None and args.steps < 1:
        raise UserError(f"--steps must be at least 1, got {args.steps}")
    if not args.checkpoint_minutes >= 0:
        raise UserError(f"--checkpoint-minutes must be at least 0, got {args.checkpoint_minutes}")
    if args.restarts is not None or args.choose or (args.resume and RunFolder(args.resume).restarts()):
        from uda_core.lab import restarts  # which needs this module

        return restarts.train(args)
    if args.resume:
        folder, what, recipe = resumed_run(args)
        if folder.read("summary.json").get("steps") == recipe.steps:
            done = f"finished, {recipe.steps} steps, scores in summary.json"
            print(f"{folder.path}: {done}; a larger --steps trains on")
            return 0
    else:
        folder, what, recipe = new_run(args)
    work = folder, what, recipe, args.checkpoint_minutes, args.data
    first = os.environ.get("RANK", "0") == "0"  # torchrun sets it
    with folder.alone() if first else nullcontext():
        if first and not args.resume:
            folder.must_be_new()  # another process may have been faster
        if not several(what["devices"]):
            return train_run(*work)
        from uda_core.lab.launch import launch  # needed here alone

        try:
            return launch(what["devices"], recipe.config.get("device", "cpu"), train_run, *work)
        except ChildProcessError as error:
            way_on = f"; go on with: {folder.resume_command()}" if folder.holds_run() else ""
            raise UserError(f"{error}{way_on}") from error


def new_run(args: argparse.Namespace) -> tuple[RunFolder, dict, Recipe]:
    """A folder that holds no run yet; method, task and so on; and the recipe, with the changes of the options.

    Raises:
        UserError: if the folder holds one, or an option does not fit.
    """
    if missing := [name.upper() for name in ("method", "task") if getattr(args, name) is None]:
        raise UserError(f"the following arguments are required: {', '.join(missing)}; see uda train --help")
    recipe = default_for(args.method, args.task)
    if args.recipe:
        recipe = load(args.recipe, args.task)
        recipe.check(args.method, args.task)
    config, settings = _set(args, recipe.form)
    recipe = recipe.changed({"seed": 0} | config, settings, args.steps)
    record = main.record_of(args)
    own = main.names_of(args.source, args.target) if args.source and args.target else ()
    name = "-".join([args.method, args.task.replace(":", "-"), *own, f"seed{recipe.config['seed']}"])
    name += f"-restarts{args.restarts}" if args.restarts else ""
    folder = RunFolder(args.out or Path("runs", name))
    folder.must_be_new()
    devices = args.devices if args.devices is not None else distributed.started() if several(1) else 1
    what = {"method": args.method, **record, "recipe": recipe.name, "devices": devices}
    return folder, what, recipe


def resumed_run(args: argparse.Namespace) -> tuple[RunFolder, dict, Recipe]:
    """The folder; its method, task and so on; and the recipe of its run: that which it was started with, and changes.

    Options may change the settings and the device, raise the number of steps, and say where one's own data lie now, if
    their fingerprint is on record; what else they name must agree.

    Raises:
        UserError: if the folder holds no run, or an option does not agree.
    """
    folder = RunFolder(args.resume)
    saved = {"devices": 1, "recipe": None} | folder.settings()
    main.same_plugin(folder.path, saved, args)
    with folder.blaming("settings.json"):
        method = method_for(saved["method"], saved["task"])
        for values, fields in zip((saved["config"], saved["settings"]), fields_of(method), strict=True):
            if unknown := values.keys() - fields.keys():
                what = f"has {', '.join(sorted(unknown))}, which this version does not know"
                raise UserError(f"{what}; go on with the version that wrote it")
    config, settings = _set(args, method)
    here = {"device": config["device"]} if "device" in config else {}  # that of the file may be another machine's
    with folder.blaming("settings.json"):
        kept = saved["config"] | here, saved["settings"], saved["steps"]
        recipe = Recipe(saved["recipe"], str(folder.path), saved["method"], (saved["task"],), *kept)
    record = main.record_of(args)
    moved = {name: record.pop(name) for name in ("source", "target", "plugin") if "data" in saved and name in record}
    given = {name: getattr(args, name) for name in ("method", "recipe", "devices")} | record | config
    own = {name: tuple(v) if isinstance(v, list) else v for name, v in (saved | saved["config"]).items()}
    for name, value in given.items():
        if value is not None and name != "device" and value != own.get(name):
            differs = f"{name} is {own.get(name)!r} there, not {value!r}"
            raise UserError(f"{folder.path}: {differs}; a run keeps it, so give --out for another run")
    if args.steps is not None and args.steps < saved["steps"]:
        raise UserError(f"{folder.path}: --steps may grow from {saved['steps']}, not shrink to {args.steps}")
    if folder.has_checkpoint():
        config["weights"] = "none"  # the checkpoint holds what became of them
    values = {"config": {**recipe.config, **config}, "settings": {**recipe.settings, **settings}}
    recipe = replace(recipe, **values, steps=args.steps or saved["steps"])
    return folder, {name: saved[name] for name in KEPT if name in saved} | moved, recipe


def _set(args: argparse.Namespace, method: Method) -> tuple[dict[str, Any], dict[str, Any]]:
    """What --set changes of a configuration and of settings, and --seed, --weights and --precision, each said once."""
    config, settings = parse(args.set, method)
    for name in ("seed", "weights", "precision"):
        if (value := getattr(args, name)) is not None and config.setdefault(name, value) != value:
            raise UserError(f"--{name} {value} and --set {name}={config[name]} differ; leave one of them out")
    return config, settings


def several(devices: int) -> bool:
    """Whether several processes train together, or torchrun started this one."""
    return devices != 1 or "TORCHELASTIC_RUN_ID" in os.environ


def train_run(
    folder: RunFolder, what: dict, recipe: Recipe, minutes: float, sets: Path | None, then: Then | None = None
) -> int:
    """Train, in this process and those that it may be together with; the first one then scores. The exit status.

    `then` is called with the finished run instead of scoring it.
    """
    together = several(what["devices"])
    main.load_plugin(what.get("plugin"))  # in a process of its own, it is not there yet
    with distributed.together(recipe.config.get("device", "cpu")) if together else nullcontext():
        first = not together or distributed.rank() == 0
        task = main.task_of(what, sets)
        with folder.blaming("settings.json"):
            data, threads = same_data(what, task.pair), torch.get_num_threads()
        run = recipe.start(task.pair)
        if folder.has_checkpoint():
            settings = run.settings
            folder.load(run)
            run.settings = settings
            if first and run.config.device == "cpu" and what.get("threads", threads) != threads:
                differs = f"{folder.path}: trained with {what['threads']} threads so far, now with {threads}"
                same = f"OMP_NUM_THREADS={what['threads']} makes every bit equal"
                print(f"warning: {differs}; numbers differ by rounding; {same}", file=sys.stderr)
        steps = recipe.length(run)
        what = what | {"threads": threads, "data": data}
        caught = _train(run, steps, folder if first else None, what, minutes, together)
    if run.steps < steps:
        if first:
            print(f"interrupted: step {run.steps} of {steps} is saved in {folder.checkpoint}", file=sys.stderr)
            print(f"go on with: {folder.resume_command()}", file=sys.stderr)
        return 128 + caught
    if first:
        then(run, folder) if then else _score(run, task, folder, what, recipe)
    return 0


def _score(run: Run, task: Task, folder: RunFolder, what: dict, recipe: Recipe) -> None:
    """Write the scores of a finished run to its folder, and print them."""
    evaluation = evaluate(run, task)  # the first look at the target's labels
    reached = {}
    if isinstance(run, CAGRun):
        for name in folder.milestones:
            reached[name] = _score_milestone(folder.path / f"{name}.pt", recipe, task)
    folder.write("summary.json", _summary(what["task"], run, folder.seconds, evaluation, reached))
    for name, scores in reached.items():
        print(f"target, {evaluation.split}, after {name}: {scores['target']['score']:.1%}")
        for why in ("classes_without_anchor", "classes_shut_out"):
            if scores.get(why):
                print(f"  {why.replace('_', ' ')}: {', '.join(scores[why])}")
    print(evaluation, f"written to {folder.path}", sep="\n")


def _train(run: Run, steps: int, folder: RunFolder | None, what: dict, minutes: float, together: bool) -> int:
    """Train up to step `steps`, or until a signal comes; returns its number, or 0.

    Into the folder, if there is one, go a line of JSON per step, and a checkpoint every so many minutes, at each of the
    run's milestones, and at the end. Of several processes all end after the same step, whichever caught the signal.
    """
    number = 0
    with (
        folder.recording(run, what | {"steps": steps}) if folder else nullcontext(),
        _interruption() as caught,
        tqdm(initial=run.steps, total=steps, unit="step", disable=run.steps == steps) as bar,
    ):
        if folder and run.steps < steps and (text := forecast.on_cpu(run.config, what)):
            bar.write(text, file=sys.stderr)
        times = [time.perf_counter()]
        for record in fit(run, steps - run.steps):
            if folder and times:
                times.append(time.perf_counter())
                if text := forecast.of_training(times, steps - run.steps):
                    bar.write(text, file=sys.stderr)
            if folder:
                folder.record(record, run, minutes)
            bar.set_postfix({name: f"{value:.3f}" for name, value in record.losses.items()}, refresh=False)
            bar.update()
            number = caught[0] if caught else 0
            if together:
                number = distributed.largest(number)
            if number:
                break
        if folder:
            folder.save(run)
    return number


def _score_milestone(path: Path, recipe: Recipe, task: Task) -> dict:
    """The scores of a CAG run at one of its milestones, and the labels it had learnt from; on the device of the run."""
    run = recipe.start(task.pair, weights="none")
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
        **({"variant": run.config.variant} if isinstance(run.config, CGDMConfig) else {}),
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
