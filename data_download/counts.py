"""Whether a data set is complete: how many of its samples are in its folder."""

import bz2
import math
from pathlib import Path

from .source import Source


def found(source: Source, data: Path) -> bool:
    """Whether something of every part of the set is in the data folder: a quick look, without counting."""
    return all(any((data / source.folder).glob(pattern)) for pattern in (*source.counts, *source.also))


def shortfall(source: Source, data: Path) -> str | None:
    """What the set in the data folder lacks, in one line; None if it is complete."""
    folder = data / source.folder
    for pattern, n in source.counts.items():
        have = count(folder, pattern)
        if have != n:
            return f"{have:,} of {n:,} in {folder / pattern}"
    for pattern in source.also:
        if not any(folder.glob(pattern)):
            return f"nothing in {folder / pattern}"
    return None


def count(folder: Path, pattern: str) -> int:
    """How many files match the pattern (with `*`), or how many samples the one file that it names holds; 0 if damaged.

    Lists (.txt) hold those samples whose file is there, the first word of a line; MNIST's files say it in their
    header, USPS's have a line for each, SVHN's a label.
    """
    if pattern.endswith(".txt"):
        lists = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in folder.glob(pattern))
        return sum((folder / line.split()[0]).is_file() for lines in lists for line in lines if line.strip())
    if "*" in pattern:
        return sum(1 for _ in folder.glob(pattern))
    count_in = {".bz2": _lines, ".mat": _labels}.get(Path(pattern).suffix, _in_header)
    try:
        return count_in(folder / pattern)
    except Exception:  # not there, or damaged, which each reader tells in its own ways
        return 0


def _lines(path: Path) -> int:
    with bz2.open(path) as lines:
        return sum(1 for _ in lines)


def _labels(path: Path) -> int:
    from scipy.io import whosmat

    return {name: shape for name, shape, _ in whosmat(path)}["y"][0]


def _in_header(path: Path) -> int:
    """Of the IDX format: bytes, as the third byte says, in as many dimensions as the fourth says, then their sizes."""
    with path.open("rb") as file:
        sizes = [int.from_bytes(file.read(4), "big") for _ in range(file.read(4)[3])]
        return sizes[0] if path.stat().st_size == file.tell() + math.prod(sizes) else 0
