"""Frozen features as a task: two .npz files, such as `uda features` makes from class folders.

A file holds `features` [N, D] float16 or float32, `labels` [N] whole numbers from 0, if the classes have names,
`classes` [C] text, and, if samples are made of files, `paths` [N] text, from the folder that they are in. The target's
labels only score; a target file without them trains all the same, without a score.
"""

import math
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda_core.data.names import apart, fit
from uda_core.data.splits import tenth
from uda_core.errors import UserError, choose
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

KNOWN = ("features", "labels", "classes", "paths")
# An array above so many bytes may grow so many times when it is unpacked; features grow twice, half zeros four times.
LARGE, EXPANSION = 2**30, 200
STANDARDISE = ("none", "per-domain", "source")


@dataclass(frozen=True)
class FeatureFile:
    """The content of a file: features float32 [N, D], labels int64 [N], class names, paths; None where it has none."""

    features: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] | None
    paths: tuple[str, ...] | None


def load(source: Path, target: Path, standardise: str = "none") -> Task:
    """The task of a source and a target file; all of the target trains, without labels, and tests (transductive).

    The second, twelfth, 22nd ... sample of each class of the source validates, the others train. The classes are those
    that either file names (both must name the same, in the same order), else numbers up to the source's largest label;
    each needs a sample of the source, as each class folder needs an image.

    Args:
        source: the file with labels.
        target: the other one.
        standardise: "per-domain": each feature minus its mean over the domain's training samples, divided by its
            standard deviation there; "source": both domains with the source's numbers; "none": as it is in the file.

    Raises:
        UserError: if a file is not as this module describes it, the two are one, the source has no labels, they differ
            in the width of their features or in their classes, a label is too large, a class has no sample in the
            source, or `standardise` is unknown.
    """
    choose("standardise", standardise, STANDARDISE)
    source, target = Path(source), Path(target)
    apart(source, target)
    s, t = read(source), read(target)
    if s.labels is None:
        raise UserError(f"{source}: no array 'labels'; the source needs one label a sample")
    if s.features.shape[1] != t.features.shape[1]:
        widths = f"{s.features.shape[1]} and {t.features.shape[1]}"
        raise UserError(f"{source} and {target}: features of width {widths}; make both with one backbone")
    if s.classes and t.classes and s.classes != t.classes:
        raise UserError(f"{source} and {target}: {_difference(s.classes, t.classes)}")
    classes = s.classes or t.classes or tuple(map(str, range(_classes(s.labels, source))))
    for path, y in ((source, s.labels), (target, t.labels)):
        if y is not None and int(y.max()) >= len(classes):
            mend = "; subtract 1, for the first class is 0" if (y.min(), y.max()) == (1, len(classes)) else ""
            few = f"but there are {len(classes)} classes{mend}"
            raise UserError(f"{path}: labels run from {y.min()} to {y.max()}, {few}")
    known = set(s.labels.tolist())
    if lacking := [name for label, name in enumerate(classes) if label not in known]:
        mend = "leave it out of 'classes', in both files, and number the labels anew"
        raise UserError(f"{source}: no sample of class {', '.join(lacking[:5])}; {mend}")

    held_out = tenth(s.labels, source)
    x_s, x_t = s.features, t.features
    if standardise != "none":
        of_target = x_t if standardise == "per-domain" else x_s[~held_out]
        x_s, x_t = standardised(x_s, x_s[~held_out]), standardised(x_t, of_target)
    train, val = (Labelled(x_s[chosen], s.labels[chosen]) for chosen in (~held_out, held_out))
    name = f"features:{source.stem}-{target.stem}"
    truth = None if t.labels is None else Truth(t.labels, t.labels)
    target_x = Unlabelled(x_t)
    val_paths = s.paths and [s.paths[i] for i in held_out.nonzero()]
    paths = {split: of for split, of in (("source_val", val_paths), ("target_test", t.paths)) if of}
    return Task(Pair(name, classes, train, val, target_x, target_x), truth, paths=paths)


def standardised(x: Tensor, of: Tensor) -> Tensor:
    """Features x [N, D], each minus its mean and divided by its deviation over `of` [M, D]; by 1 if it is constant."""
    from sklearn.preprocessing import StandardScaler  # not at the top: it takes a second to import

    return torch.from_numpy(StandardScaler().fit(of.numpy()).transform(x.numpy()))


def read(path: Path) -> FeatureFile:
    """The checked content of one file.

    Raises:
        UserError: if it is not as this module describes it: missing, damaged, of other types or shapes, with NaN or
            what float32 cannot hold, negative labels, two classes of one name, or names that fit no table; if an
            array of more than `LARGE` bytes has grown more than `EXPANSION` times, or all to more than the free memory.
    """
    path = Path(path)
    fit(path, path.parent)
    arrays = _arrays(path)
    x, y, names, files = (arrays.get(name) for name in KNOWN)
    if x.ndim != 2 or x.dtype.kind != "f" or 0 in x.shape:
        raise UserError(f"{path}: features must be floating point [N, D], got {x.dtype} of shape {list(x.shape)}")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, order="C")
    if not (finite := np.isfinite(x).all(1)).all():
        raise UserError(f"{path}: features hold NaN or infinity, first in sample {_first(~finite)}")
    if y is not None:
        if y.ndim != 1 or y.dtype.kind not in "iu":
            mend = "labels.ravel().astype(int) makes them"
            raise UserError(f"{path}: labels must be whole numbers [N], got {y.dtype} of shape {list(y.shape)}; {mend}")
        if len(y) != len(x):
            raise UserError(f"{path}: {len(x)} features but {len(y)} labels")
        if y.min() < 0:
            raise UserError(f"{path}: label {y.min()} of sample {_first(y < 0)}; labels are whole numbers from 0")
        if y.max() > np.iinfo(np.int64).max:
            raise UserError(f"{path}: label {y.max()} of sample {y.argmax()} is no class; labels count them from 0")
    return FeatureFile(
        torch.from_numpy(x),
        None if y is None else torch.from_numpy(y.astype(np.int64)),
        None if names is None else _text(path, "classes", names),
        None if files is None else _text(path, "paths", files, len(x)),
    )


def _text(path: Path, what: str, names: np.ndarray, n: int | None = None) -> tuple[str, ...]:
    """Names [C], each once, or paths [n]; both fit tables."""
    if names.ndim != 1 or names.dtype.kind != "U" or not names.size:
        letter = "C" if n is None else "N"
        raise UserError(f"{path}: {what} must be text [{letter}], got {names.dtype} of shape {list(names.shape)}")
    if n is None and len(set(names)) < len(names):
        raise UserError(f"{path}: two classes have the same name")
    if n is not None and n != len(names):
        raise UserError(f"{path}: {n} features but {len(names)} paths")
    return tuple(fit(name, path) for name in names.tolist())


def _classes(y: Tensor, path: Path) -> int:
    """How many classes labels y [N] without names number; each must have a sample."""
    low, high, different = int(y.min()), int(y.max()), y.unique()
    if high == 0:
        raise UserError(f"{path}: all labels are 0; a classifier needs two classes")
    if low == 1 and high == len(different):
        raise UserError(f"{path}: labels run from 1 to {high}; subtract 1, for the first class is 0")
    if high >= len(different):
        known = set(different.tolist())
        lacking = ", ".join(map(str, islice((label for label in range(high) if label not in known), 5)))
        mend = "number them anew: np.unique(labels, return_inverse=True)[1]"
        raise UserError(f"{path}: labels run from {low} to {high}, but none is {lacking}; {mend}")
    return high + 1


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays `KNOWN` of an .npz file, by name; none may be a pickled object."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise UserError(f"{path}: not an .npz file, or cut short; np.savez_compressed writes one")
            with np.load(file, allow_pickle=False) as held:
                _check_sizes(path, held.zip)
                if "features" not in held:
                    listed = ", ".join(repr(name)[1:-1] for name in held.files[:5]) or "nothing"
                    raise UserError(f"{path}: no array 'features', only {listed}")
                return {name: np.asanyarray(held[name]) for name in KNOWN if name in held}
    except UserError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds for damaged files
        why = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in why:
            why = "an array of Python objects; text is saved as np.array(names, dtype=str)"
        raise UserError(f"{path}: cannot be read ({why})") from None


def _check_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse arrays that would fill the memory, before they are unpacked, and two of one name."""
    members = [member for member in archive.infolist() if member.filename.removesuffix(".npy") in KNOWN]
    for name, count in Counter(member.filename.removesuffix(".npy") for member in members).items():
        if count > 1:
            raise UserError(f"{path}: {count} arrays are called {name!r}; keep one")
    for member in members:
        if member.file_size > max(LARGE, EXPANSION * member.compress_size):
            grows = f"grows from {member.compress_size:,} to {member.file_size:,} bytes"
            raise UserError(f"{path}: {member.filename} {grows}, which features never do; save them anew")
    needs, free = 2 * sum(member.file_size for member in members), _free_memory()  # once as it is, once in float32
    if needs > free:
        raise UserError(f"{path}: needs {needs / 2**30:.1f} GiB of memory, but {free / 2**30:.1f} GiB are free")


def _free_memory() -> float:
    """Bytes that can be had without swapping; infinity where the system does not say."""
    says = Path("/proc/meminfo")  # Linux
    found = re.search(r"MemAvailable:\s+(\d+) kB", says.read_text()) if says.exists() else None
    return 1024 * int(found[1]) if found else math.inf


def _first(found: np.ndarray) -> int:
    """Index of the first True of booleans [N]."""
    return int(found.argmax())


def _difference(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    """How two lists of classes differ, in words."""
    only = [f"only in the {which}: {', '.join(sorted(names))}" for which, names in (
        ("source", set(ours) - set(theirs)), ("target", set(theirs) - set(ours)),
    ) if names]  # fmt: skip
    return f"classes differ; {'; '.join(only) or 'the same names, but in another order'}"
