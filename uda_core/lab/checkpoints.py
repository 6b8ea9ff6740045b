"""Save a run, take it up again bit for bit, refuse what does not belong to it."""

import io
import sys
from pathlib import Path
from typing import Any

import torch

from uda_core import files
from uda_core.errors import UserError
from uda_core.files import finite, write_whole
from uda_core.run import Run

OPTIONAL = ("pseudo_labels", "anchors")  # fields that may be None


class DamagedCheckpoint(UserError):
    """A file that is cut short or has wrong bytes, or that never was a checkpoint."""


def save(run: Run, path: str | Path, before: Path | None = None) -> None:
    """Write the run's state to `path`, whole or not at all; what `path` held goes to `before`, if that is given.

    Equal states give equal bytes, whatever the file is called.

    Raises:
        FloatingPointError: if weights or optimisers are no longer finite; nothing is written then.
    """
    state = run.state_dict()
    for name in run.NETWORK_NAMES + run.OPTIMIZER_NAMES:
        if not finite(state[name]):
            raise FloatingPointError(f"step {run.steps}: {name} is no longer finite; lower learning_rate")
    buffer = io.BytesIO()  # given a path, torch.save would write the file's name into the archive
    torch.save(_canonical(state), buffer)
    write_whole(Path(path), buffer.getbuffer(), before)


def load(path: str | Path, run: Run) -> None:
    """Put the state saved in `path` into `run`, which goes on from there as if it had never stopped.

    The run stays on its own device: a laptop can evaluate, and train on, what a GPU trained.

    Raises:
        UserError: if the file is missing, damaged (`DamagedCheckpoint`), or of another method, task or version; the
            run then stays as it was.
    """
    state = _read(Path(path))
    if not isinstance(state, dict) or (missing := run.state_dict().keys() - state.keys()):
        what = f"lacks {', '.join(sorted(missing))}" if isinstance(state, dict) else f"holds a {type(state).__name__}"
        raise UserError(f"{path}: not a checkpoint of a run ({what}); give the checkpoint.pt that `train` wrote")
    before = run.state_dict()
    if odd := _odd(state, before):
        raise UserError(f"{path}: {odd} is of another kind than in a checkpoint of this version; train again")
    theirs, ours = _identity(state), _identity(before)
    for field, value in ours.items():
        if theirs[field] != value:
            raise UserError(
                f"{path}: {field} is {theirs[field]!r}, but this run has {value!r}; load it into a run like its own"
            )
    try:
        if state["config"]["device"] != run.config.device:  # a GPU has random numbers of its own, which stay there
            state["config"]["device"] = run.config.device
            state["random_state"] = [state["random_state"][0], *before["random_state"][1:]]
        for name in run.NETWORK_NAMES + run.OPTIMIZER_NAMES:
            if not finite(state[name]):
                raise UserError(f"{name} holds NaN or infinity")
        run.load_state_dict(state)
    except Exception as error:  # shapes, names, kinds or ranges that differ
        run.load_state_dict(before)
        why = f" ({error})" if isinstance(error, UserError) else ""
        raise UserError(f"{path}: does not fit this version's networks and settings{why}; train again") from error


def _read(path: Path) -> object:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; `train` writes one")
    try:
        return files.read_tensors(path)
    except ValueError as error:
        what = "damaged, cut short, or no checkpoint"
        raise DamagedCheckpoint(f"{path}: {what}; train again or give another file") from error


def _canonical(state: Any) -> Any:
    """Equal plain values as equal objects: a pickle writes an object that it has met before as a reference to it."""
    if isinstance(state, str):
        return sys.intern(state)
    if type(state) is dict:
        return {_canonical(key): _canonical(value) for key, value in state.items()}
    return type(state)(map(_canonical, state)) if type(state) in (list, tuple) else state


def _odd(theirs: object, ours: object, name: str = "") -> str:
    """The first field of nested dicts that is of another kind than ours, where both have it; "" if there is none."""
    if ours is None or (theirs is None and name in OPTIONAL) or name.startswith("config"):  # which checks itself
        return ""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if name.startswith("batches") and theirs.keys() != ours.keys():
            return name
        fields = (_odd(theirs[key], ours[key], f"{name}.{key}".lstrip(".")) for key in ours if key in theirs)
        return next(filter(None, fields), "")
    same = type(theirs) is type(ours) and getattr(theirs, "dtype", None) == getattr(ours, "dtype", None)
    if name.startswith("batches"):  # whose length is asked for soon
        same = same and getattr(theirs, "ndim", None) == getattr(ours, "ndim", None)
    return "" if same else name


def _identity(state: dict) -> dict:
    """What a checkpoint and a run must have in common."""
    return {
        "method": state["method"],
        "task": state["pair"],
        "classes": state["classes"],
        "number of source samples": len(state["batches"]["source"]["order"]),
        "number of target samples": len(state["batches"]["target"]["order"]),
    }
