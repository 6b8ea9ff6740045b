"""`uda train --resume`: which run a folder holds, and what of it may change."""

import argparse

from uda_core.errors import UserError
from uda_core.lab.main import record_of
from uda_core.lab.recipe import Recipe, fields_of, method_for, parse
from uda_core.lab.run_folder import RunFolder

KEPT = ("method", "task", "source", "target", "recipe", "devices")  # of settings.json, as they are


def resumed(args: argparse.Namespace) -> tuple[RunFolder, dict, Recipe]:
    """The folder; its method, task and so on; and the recipe of its run: that which it was started with, and changes.

    Options may change the settings and the device and raise the number of steps; what else they name must agree.

    Raises:
        UserError: if the folder holds no run, or an option does not agree.
    """
    folder = RunFolder(args.resume)
    saved = {"devices": 1, "recipe": None} | folder.settings()
    method = method_for(saved["method"], saved["task"])
    config, settings = parse(args.set, method)
    names = ("method", "recipe", "devices", "seed", "weights", "precision")
    given = {name: getattr(args, name) for name in names} | record_of(args) | config
    own = {name: tuple(v) if isinstance(v, list) else v for name, v in (saved | saved["config"]).items()}
    for name, value in given.items():
        if value is not None and name != "device" and value != own.get(name):
            differs = f"{name} is {own.get(name)!r} there, not {value!r}"
            raise UserError(f"{folder.path}: {differs}; a run keeps it, so give --out for another run")
    if args.steps is not None and args.steps < saved["steps"]:
        raise UserError(f"{folder.path}: --steps may grow from {saved['steps']}, not shrink to {args.steps}")
    for values, fields in zip((saved["config"], saved["settings"]), fields_of(method), strict=True):
        if unknown := values.keys() - fields.keys():
            what = f"settings.json has {', '.join(sorted(unknown))}, which this version does not know"
            raise UserError(f"{folder.path}: {what}; go on with the version that wrote it")
    if folder.has_checkpoint():
        config["weights"] = "none"  # the checkpoint holds what became of them
    tasks, steps = (saved["task"],), args.steps or saved["steps"]
    values = saved["config"] | config, saved["settings"] | settings
    recipe = Recipe(saved["recipe"], str(folder.path), saved["method"], tasks, *values, steps)
    return folder, {name: saved[name] for name in KEPT if name in saved}, recipe
