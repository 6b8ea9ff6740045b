"""What a run saw, in a few letters: names and sizes of files, labels of the source, numbers of what lies in memory."""

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from uda_core.errors import UserError
from uda_core.samples import Samples
from uda_core.task import Pair

MOST = 2**26  # bytes of a tensor that are read; of a larger one, evenly spread samples


def fingerprint(pair: Pair) -> dict[str, str]:
    """One of each domain. Files may move as a whole; the target's labels are not looked at, for no run sees them."""
    s = (pair.source_train.x, pair.source_train.y, pair.source_val.x, pair.source_val.y)
    t = (pair.target_train.x, pair.target_test.x)
    return {name: _of(domain) for name, domain in (("source", s), ("target", t))}


def same_data(record: dict, pair: Pair) -> dict[str, str]:
    """The fingerprint of a pair, which is that of the record, the content of a settings.json, if it has one.

    Raises:
        UserError: if they differ.
    """
    now = fingerprint(pair)
    if changed := [domain for domain, of in now.items() if record.get("data", now).get(domain) != of]:
        what = f"the data of the {' and the '.join(changed)} are not those that this run has seen"
        raise UserError(f"{what}; put those back, or train another run")
    return now


def _of(domain: tuple[Samples, ...]) -> str:
    digest = hashlib.sha256()
    for samples in domain:
        if isinstance(samples, Tensor):
            every = max(1, samples.numel() * samples.element_size() // MOST)
            digest.update(f"{samples.dtype} {list(samples.shape)}".encode())
            digest.update(samples[::every].cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        else:
            paths: list[Path] = list(getattr(samples, "paths", ()))
            above = os.path.commonpath([path.parent for path in paths]) if paths else ""
            lines = (f"{path.relative_to(above).as_posix()} {path.stat().st_size}" for path in paths)
            digest.update("\n".join([str(len(samples)), *lines]).encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
