"""Whether a data set is complete: the number of samples in its folder."""

import bz2
import math
from pathlib import Path

from .source import Source


def found(source: Source, data: Path) -> bool:
    """Whether every part of the set is in the data folder; nothing is counted, so that this is quick."""
    return all(any((data / source.folder).glob(pattern)) for pattern in (*source.counts, *source.also))


def shortfall(source: Source, data: Path) -> str | None:
    """Returns a line that names the first part of the set that is incomplete, or None if there is no such part."""
    folder = data / source.folder
    for pattern, n in source.counts.items():
        have = count(folder, pattern)
        if have != n:
            return f"{have:,} of {n:,} in {folder / pattern}"
    for pattern in source.also:
        if not any(folder.glob(pattern)):
            return f"nothing matches {folder / pattern}"
    return None


def count(folder: Path, pattern: str) -> int:
    """Counts the files that match a pattern with `*`, or the samples in the one file that it names (0 if damaged).

    A list (.txt) counts those of its lines whose first word names an existing file. MNIST's files state their number
    of samples in the header, USPS's have one line for each sample, and SVHN's one label.
    """
    if pattern.endswith(".txt"):
        lists = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in folder.glob(pattern))
        return sum((folder / line.split()[0]).is_file() for lines in lists for line in lines if line.strip())
    if "*" in pattern:
        return sum(1 for _ in folder.glob(pattern))
    count_in = {".bz2": _lines, ".mat": _labels}.get(Path(pattern).suffix, _in_header)
    try:
        return count_in(folder / pattern)
    except Exception:  # missing, or damaged: each reader raises errors of its own
        return 0


def _lines(path: Path) -> int:
    with bz2.open(path) as lines:
        return sum(1 for _ in lines)


def _labels(path: Path) -> int:
    from scipy.io import whosmat

    return {name: shape for name, shape, _ in whosmat(path)}["y"][0]


def _in_header(path: Path) -> int:
    """IDX format: the fourth byte is the number of dimensions; their sizes follow, then the values, one byte each."""
    with path.open("rb") as file:
        sizes = [int.from_bytes(file.read(4), "big") for _ in range(file.read(4)[3])]
        return sizes[0] if path.stat().st_size == file.tell() + math.prod(sizes) else 0
