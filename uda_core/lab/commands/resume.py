"""`train --resume`: which run a folder holds, and what of it may change."""

import argparse
import dataclasses

from uda_core.data.catalog import entry_of
from uda_core.errors import UserError
from uda_core.lab import options
from uda_core.lab.commands import arguments
from uda_core.lab.run_folder import RunFolder
from uda_core.methods import Config, SegmentationConfig
from uda_core.run import RunConfig


def resumed(args: argparse.Namespace) -> tuple[RunFolder, dict, RunConfig, dict]:
    """The folder; its method and task, configuration and settings as settings.json has them.

    Options may change the settings and the device and raise the number of steps; what else they say must agree.
    """
    folder = RunFolder(args.resume)
    saved = folder.settings()
    method, entry = saved["method"], entry_of(saved["task"])
    config, settings = options.parse(args.set, method, entry.dense)
    names = ("method", "preset", "devices", "seed", "weights", "precision")
    options_given = {name: getattr(args, name) for name in names}
    given = options_given | arguments.record_of(args) | config
    saved = {"devices": 1, "preset": None} | saved
    own = {name: tuple(v) if isinstance(v, list) else v for name, v in (saved | saved["config"]).items()}
    for name, value in given.items():
        if value is not None and name != "device" and value != own.get(name):
            differs = f"{name} is {own.get(name)!r} there, not {value!r}"
            raise UserError(f"{folder.path}: {differs}; a run keeps it, so give --out for another run")
    if args.steps is not None and args.steps < saved["steps"]:
        raise UserError(f"{folder.path}: --steps may grow from {saved['steps']}, not shrink to {args.steps}")
    kind = SegmentationConfig if entry.dense else Config
    if unknown := saved["config"].keys() - {f.name for f in dataclasses.fields(kind)}:
        what = f"settings.json has {', '.join(sorted(unknown))}, which this version does not know"
        raise UserError(f"{folder.path}: {what}; go on with the version that wrote it")
    config = kind(**{name: own[name] for name in saved["config"]} | config)
    if folder.has_checkpoint():
        config = dataclasses.replace(config, weights="none")  # the checkpoint holds what became of them
    what = {name: saved[name] for name in ("method", "task", "source", "target", "preset", "devices") if name in saved}
    return folder, what, config, saved["settings"] | settings
