"""Frozen features as a task: two .npz files, such as `uda features` makes from class folders.

A file holds `features` [N, D] float16 or float32, `labels` [N] whole numbers from 0, and, if the classes have names,
`classes` [C] text. The target's labels only score; a target file without them trains all the same, without a score.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda_core.data.splits import tenth
from uda_core.errors import UserError, choose
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

KNOWN = ("features", "labels", "classes")
STANDARDISE = ("none", "per-domain", "source")


@dataclass(frozen=True)
class FeatureFile:
    """The content of a file: features float32 [N, D], labels int64 [N] and the class names; None if it has none."""

    features: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] | None


def load(source: Path, target: Path, standardise: str = "none") -> Task:
    """The task of a source and a target file; all of the target trains, without labels, and tests (transductive).

    The second, twelfth, 22nd ... sample of each class of the source validates, the others train. The classes are those
    that either file names (both must name the same, in the same order), else numbers up to the source's largest label.

    Args:
        source: the file with labels.
        target: the other one.
        standardise: "per-domain": each feature minus its mean over the domain's training samples, divided by its
            standard deviation there; "source": both domains with the source's numbers; "none": as it is in the file.

    Raises:
        UserError: if a file is not as this module describes it, the source has no labels, the two files differ in the
            width of their features or in their classes, a label is too large, or `standardise` is unknown.
    """
    choose("standardise", standardise, STANDARDISE)
    s, t = read(source), read(target)
    if s.labels is None:
        raise UserError(f"{source}: no array 'labels'; the source needs one label a sample")
    if s.features.shape[1] != t.features.shape[1]:
        widths = f"{s.features.shape[1]} and {t.features.shape[1]}"
        raise UserError(f"{source} and {target}: features of width {widths}; make both with one backbone")
    if s.classes and t.classes and s.classes != t.classes:
        raise UserError(f"{source} and {target}: {_difference(s.classes, t.classes)}")
    classes = s.classes or t.classes or tuple(str(label) for label in range(int(s.labels.max()) + 1))
    for path, y in ((source, s.labels), (target, t.labels)):
        if y is not None and int(y.max()) >= len(classes):
            raise UserError(f"{path}: labels run from {y.min()} to {y.max()}, but there are {len(classes)} classes")

    held_out = tenth(s.labels)
    x_s, x_t = s.features, t.features
    if standardise != "none":
        of_target = x_t if standardise == "per-domain" else x_s[~held_out]
        x_s, x_t = standardised(x_s, x_s[~held_out]), standardised(x_t, of_target)
    train, val = (Labelled(x_s[chosen], s.labels[chosen]) for chosen in (~held_out, held_out))
    name = f"features:{Path(source).stem}-{Path(target).stem}"
    truth = None if t.labels is None else Truth(t.labels, t.labels)
    target_x = Unlabelled(x_t)
    return Task(Pair(name, classes, train, val, target_x, target_x), truth)


def standardised(x: Tensor, of: Tensor) -> Tensor:
    """Features x [N, D], each minus its mean and divided by its deviation over `of` [M, D]; by 1 if it is constant."""
    from sklearn.preprocessing import StandardScaler  # not at the top: it takes a second to import

    return torch.from_numpy(StandardScaler().fit(of.numpy()).transform(x.numpy()))


def read(path: Path) -> FeatureFile:
    """The checked content of one file.

    Raises:
        UserError: if it is not as this module describes it: missing, damaged, of other types or shapes, with NaN,
            negative labels or two classes of one name.
    """
    arrays = _arrays(path)
    x, y, names = arrays["features"], arrays.get("labels"), arrays.get("classes")
    if x.ndim != 2 or x.dtype.kind != "f" or 0 in x.shape:
        raise UserError(f"{path}: features must be floating point [N, D], got {x.dtype} of shape {list(x.shape)}")
    if not np.isfinite(x).all():
        raise UserError(f"{path}: features hold NaN or infinity, first in sample {_first(~np.isfinite(x).all(1))}")
    if y is not None:
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise UserError(f"{path}: labels must be whole numbers [N], got {y.dtype} of shape {list(y.shape)}")
        if len(y) != len(x):
            raise UserError(f"{path}: {len(x)} features but {len(y)} labels")
        if y.min() < 0:
            raise UserError(f"{path}: label {y.min()} of sample {_first(y < 0)}; labels are whole numbers from 0")
    if names is not None:
        if names.ndim != 1 or names.dtype.kind != "U":
            raise UserError(f"{path}: classes must be text [C], got {names.dtype} of shape {list(names.shape)}")
        if len(set(names)) < len(names):
            raise UserError(f"{path}: two classes have the same name")
    return FeatureFile(
        torch.from_numpy(x.astype(np.float32)),
        None if y is None else torch.from_numpy(y.astype(np.int64)),
        None if names is None else tuple(names.tolist()),
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays `KNOWN` of an .npz file, by name; none may be a pickled object."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not an .npz file, or cut short; np.savez_compressed writes one")
    try:
        with np.load(path, allow_pickle=False) as held:
            if "features" not in held:
                raise UserError(f"{path}: no array 'features', only {', '.join(held.files) or 'nothing'}")
            return {name: held[name] for name in KNOWN if name in held}
    except UserError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds for damaged files
        if "allow_pickle" in str(error):
            error = "an array of Python objects; text is saved as np.array(names, dtype=str)"
        raise UserError(f"{path}: cannot be read ({error})") from None


def _first(found: np.ndarray) -> int:
    """Index of the first True of booleans [N]."""
    return int(found.argmax())


def _difference(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    """How two lists of classes differ, in words."""
    only = [f"only in the {which}: {', '.join(sorted(names))}" for which, names in (
        ("source", set(ours) - set(theirs)), ("target", set(theirs) - set(ours)),
    ) if names]  # fmt: skip
    return f"classes differ; {'; '.join(only) or 'the same names, but in another order'}"
