"""Save a run, take it up again bit for bit, refuse what does not belong to it."""

import io
import zipfile
from pathlib import Path

import torch

from uda_core.errors import UserError
from uda_core.methods import Run


def save(run: Run, path: str | Path) -> None:
    """Write the run's state to `path`, whole or not at all.

    Equal states give equal bytes, whatever the file is called.
    """
    path = Path(path)
    buffer = io.BytesIO()  # handed a path, torch.save would write the file's name into the archive
    torch.save(run.state_dict(), buffer)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(buffer.getbuffer())
    unfinished.replace(path)


def load(path: str | Path, run: Run) -> None:
    """Put the state saved in `path` into `run`, which goes on from there as if it had never stopped.

    The run stays on its own device: what a GPU trained can be looked at, and carried on, on a laptop.

    Raises:
        UserError: if the file is missing, damaged, no checkpoint, or of another method, task or version; the run then
            stays as it was.
    """
    state = _read(Path(path))
    if not isinstance(state, dict) or (missing := run.state_dict().keys() - state.keys()):
        what = f"lacks {', '.join(sorted(missing))}" if isinstance(state, dict) else f"holds a {type(state).__name__}"
        raise UserError(f"{path}: not a checkpoint of a run ({what}); give the checkpoint.pt that `train` wrote")
    before = run.state_dict()
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
        run.load_state_dict(state)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:  # shapes, names or ranges that differ
        run.load_state_dict(before)
        why = f" ({error})" if isinstance(error, UserError) else ""
        raise UserError(f"{path}: does not fit this version's networks and settings{why}; train again") from error


def _read(path: Path) -> object:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; `train` writes one")
    try:
        with zipfile.ZipFile(path) as archive:  # what torch.save writes
            if archive.testzip():  # torch.load does not look at the checksums
                raise zipfile.BadZipFile("checksum")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # half a dozen kinds, for a file that is damaged or not torch's own
        raise UserError(f"{path}: damaged, cut short, or no checkpoint; train again or give another file") from error


def _identity(state: dict) -> dict:
    """What a checkpoint and a run must have in common."""
    return {
        "method": state["method"],
        "task": state["pair"],
        "classes": state["classes"],
        "number of source samples": len(state["batches"]["source"]["order"]),
        "number of target samples": len(state["batches"]["target"]["order"]),
    }
