"""What a run saw of files, in a few letters: other data under the same names are noticed."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from uda_core.data import feature_files
from uda_core.data.catalog import entry_of
from uda_core.errors import UserError
from uda_core.samples import Samples
from uda_core.task import Pair

FEATURES = "features"  # the task of feature files


def fingerprint(record: Mapping, pair: Pair) -> dict[str, str]:
    """One of each domain, for the pair that the record, the content of a settings.json, names.

    Of files names and sizes, of labels all, of feature files also the features; of other numbers in memory shape and
    kind, for processors round them differently. Nothing for tasks that are made by rule. Files may move as a whole. The
    target's labels are not looked at, for no run sees them.
    """
    entry = entry_of(record["task"])
    if record["task"] == FEATURES:  # as they lie in the files, before they are standardised
        s, t = (feature_files.read(Path(record[domain])) for domain in ("source", "target"))
        return {"source": _of(s.features, s.labels), "target": _of(t.features)}
    if not (entry.own or entry.sets):
        return {}
    train, val, target = pair.source_train, pair.source_val, (pair.target_train.x, pair.target_test.x)
    return {"source": _of(train.x, train.y, val.x, val.y, exact=False), "target": _of(*target, exact=False)}


def same_data(record: Mapping, pair: Pair) -> dict[str, str]:
    """The fingerprint of a pair, which is that of the record, if it has one.

    Raises:
        UserError: if they differ.
    """
    now = fingerprint(record, pair)
    if changed := [domain for domain, of in now.items() if record.get("data", now).get(domain) != of]:
        what = f"the data of the {' and the '.join(changed)} are not those that this run has seen"
        raise UserError(f"{what}; put those back, or train another run")
    return now


def _of(*domain: Samples | None, exact: bool = True) -> str:
    digest = hashlib.sha256()
    for samples in domain:
        if isinstance(samples, Tensor):
            digest.update(f"{samples.dtype} {list(samples.shape)}".encode())
            if exact or not samples.is_floating_point():
                digest.update(samples.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif samples is not None:
            paths = [os.fspath(path) for path in getattr(samples, "paths", ())]
            above = len(os.path.commonprefix(paths))  # noqa: RUF071 - letters, as of two drives no folder is common
            lines = (f"{path[above:]} {Path(path).stat().st_size}".replace("\\", "/") for path in paths)
            digest.update("\n".join([str(len(samples)), *lines]).encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
