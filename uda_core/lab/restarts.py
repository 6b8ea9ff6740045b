"""`uda train --restarts N`: the same with N seeds, and one of the runs chosen without target labels.

Two classes that a run exchanges early stay exchanged, however long it trains; another seed may not exchange them. The
runs are trained one after another, each into a folder that `--resume` and `evaluate` take like any other. The target's
labels are opened after the choice, for the scores of the chosen run.
"""

import argparse
import sys
from collections.abc import Mapping

from uda_core.data.catalog import entry_of
from uda_core.errors import UserError, choose
from uda_core.lab.recipe import Recipe
from uda_core.lab.run_folder import RunFolder
from uda_core.lab.train import new_run, resumed_run, several, train_run
from uda_core.lab.validators import RULE, RULES, of_target
from uda_core.methods import Clusters, LogisticRegression
from uda_core.methods.classification import ClassificationRun

Work = tuple[RunFolder, dict, Recipe]  # one run, as `train_run` takes it


def train(args: argparse.Namespace) -> int:
    """Train all runs, choose one, score it; the exit status.

    A run whose losses are no longer finite cannot be chosen; --resume tries it again from its last good checkpoint.

    Raises:
        UserError: for options that do not fit, or if no run is left to choose from.
    """
    whole, works = _resumed(args) if args.resume else _new(args)
    with whole.alone():
        if not args.resume:
            whole.must_be_new()
        return _train(args, whole, works)


def _train(args: argparse.Namespace, whole: RunFolder, works: list[Work]) -> int:
    """The same where no other process trains them."""
    numbers, failed = dict[str, dict[str, float]](), dict[str, dict[str, str]]()
    rules = _rules(works[0][1]["method"])

    def look(run: ClassificationRun, folder: RunFolder) -> None:
        numbers[folder.path.name] = of_target(run, *run.predict(run.pair.target_train.x))

    for work in works:
        name = work[0].path.name
        print(f"{name}:", file=sys.stderr)
        try:
            with work[0].alone():
                if status := train_run(*work, args.checkpoint_minutes, args.data, look):
                    return status
        except UserError as error:
            if not isinstance(error.__cause__, FloatingPointError):
                raise
            failed[name] = {"failed": str(error)}
            print(f"warning: {name} cannot be chosen: {error}", file=sys.stderr)
    if not numbers:
        raise UserError(f"{whole.path}: no run to choose from, for none kept finite losses; lower learning_rate")
    rule = works[0][1]["choose"]
    lowest = RULES[rule]
    chosen, *others = sorted(numbers, key=lambda name: numbers[name][lowest])
    tied = [name for name in others if numbers[name][lowest] == numbers[chosen][lowest]]
    why = f"its {lowest} is the lowest" + (f" (tied with {', '.join(tied)}: the first)" if tied else "")
    whole.write("choice.json", {"rule": rule, "chosen": chosen, "why": why, "runs": numbers | failed})
    for name, values in numbers.items():
        print(f"{name}: " + ", ".join(f"{number} {values[number]:.4f}" for number in rules.values()))
    print(f"chosen by {rule}: {chosen}, for {why}; the scores of that run:")
    [work] = (work for work in works if work[0].path.name == chosen)
    return train_run(*work, args.checkpoint_minutes, args.data)


def _new(args: argparse.Namespace) -> tuple[RunFolder, list[Work]]:
    """The folder of all runs, and each of them, none begun."""
    if args.restarts is None:
        raise UserError("--choose chooses between restarts; add --restarts 3")
    if args.restarts < 2:
        raise UserError(f"--restarts must be at least 2, got {args.restarts}")
    whole, what, recipe = new_run(args)
    if entry_of(what["task"]).dense:
        raise UserError(f"--restarts is for tasks that label whole samples, but {what['task']} labels pixels")
    if several(what["devices"]):
        raise UserError("--restarts trains in a single process; leave --devices out")
    if what["method"] == LogisticRegression.name:
        raise UserError(f"{what['method']} gives the same weights with every seed; leave --restarts out")
    seeds = [recipe.config["seed"] + i for i in range(args.restarts)]
    what |= {"restarts": seeds, "choose": _rule(args.choose or RULE, what["method"])}
    return whole, [(_folder(whole, seed), what, recipe.changed({"seed": seed})) for seed in seeds]


def _resumed(args: argparse.Namespace) -> tuple[RunFolder, list[Work]]:
    """The same of restarts that have begun: a run that has not is made like one that has."""
    whole, works = RunFolder(args.resume), list[Work]()
    begun = whole.restarts()
    if not begun:
        raise UserError(f"{whole.path}: no restarts to choose from; leave --restarts and --choose out")
    saved = RunFolder(begun[0]).settings()
    if args.restarts not in (None, len(saved["restarts"])):
        raise UserError(f"{whole.path}: {len(saved['restarts'])} restarts there, not {args.restarts}; leave it out")
    rule = _rule(args.choose or saved["choose"], saved["method"])
    for seed in saved["restarts"]:
        folder = _folder(whole, seed)
        path = folder.path if folder.path in begun else begun[0]
        _, what, recipe = resumed_run(argparse.Namespace(**vars(args) | {"resume": path}))
        if path != folder.path:
            recipe = recipe.changed({"seed": seed, "weights": saved["config"]["weights"]})
        works.append((folder, what | {"choose": rule}, recipe))
    return whole, works


def _rules(method: str) -> Mapping[str, str]:
    """Those that hold for a method's runs: clusters predicts the target by cosines, no probabilities."""
    return {RULE: RULES[RULE]} if method == Clusters.name else RULES


def _rule(name: str, method: str) -> str:
    if choose("rule", name, RULES) not in _rules(method):
        raise UserError(f"{method} predicts the target by cosines, of which {name} says nothing; use --choose {RULE}")
    return name


def _folder(whole: RunFolder, seed: int) -> RunFolder:
    return RunFolder(whole.path / f"seed{seed}", whole.path)
