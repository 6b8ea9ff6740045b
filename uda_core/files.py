"""Files that are written whole or not at all, and files of tensors: checkpoints, and weights that others published."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def write_whole(path: Path, data: bytes | memoryview, before: Path | None = None) -> None:
    """Write `path` whole or not at all, even if the disk is full or the power fails; what it held goes to `before`."""
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            path.replace(before)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new names reach the disk as well; Windows has no such call
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_tensors(path: str | Path) -> Any:
    """What torch.save wrote to `path`: tensors and plain values, on the CPU. No code in the file is run.

    Raises:
        ValueError: if the file is damaged or cut short, holds other objects, or is packed tighter than torch.save
            packs: it might expand to any size.
    """
    try:
        with Path(path).open("rb") as file:
            packed = file.read(2) == b"PK"  # not so before torch 1.6, as some published weights are
        if packed:
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type for member in archive.infolist()) or archive.testzip():
                    raise zipfile.BadZipFile("compressed, or a wrong checksum, at which torch.load does not look")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # half a dozen kinds, for a file that is damaged or not torch's own
        raise ValueError(f"{path}: damaged, cut short, or no file of tensors that torch.save wrote") from error


def finite(state: object) -> bool:
    """Whether every number in nested dicts and lists of tensors is finite."""
    if isinstance(state, dict | list):
        return all(map(finite, state.values() if isinstance(state, dict) else state))
    return not isinstance(state, Tensor) or bool(state.isfinite().all())
