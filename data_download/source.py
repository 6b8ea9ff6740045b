"""The declaration of a data set, which each set has in a module of its own."""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import DownloadError

NAMES = (
    "mnist", "usps", "svhn", "mnist-m", "office31", "imageclef", "visda2017", "domainnet", "camvid", "gta5", "synthia",
    "cityscapes",
)  # fmt: skip


@dataclass(frozen=True)
class File:
    """One file to download; it is an archive if `unpack` is not empty.

    name: the name of the file in the set's folder; archives are kept in `downloads/` there.
    url: the address of the file; None if only a person can download it, from the set's page or `by_hand`.
    size: number of bytes as the page states it, rounded; None if no page does.
    sum: "md5:..." or "sha1:..." as published; None if no sum is: then it is recorded when the file first arrives.
    unpack: path in the archive -> path in the set's folder; one folder around everything in it may be left out.
    by_hand: where a person can download the file, if that is not the set's page.
    """

    name: str
    url: str | None
    size: int | None
    sum: str | None = None
    unpack: dict[str, str] = field(default_factory=dict)
    by_hand: str = ""

    def path(self, folder: Path) -> Path:
        """Returns the path at which the file is kept in the set's folder."""
        return folder / "downloads" / self.name if self.unpack else folder / self.name


@dataclass(frozen=True)
class Source:
    """A data set: its folder in the data folder, its page, its terms, its files, and what a complete copy contains.

    counts: pattern -> number of files that match it, or file -> number of samples in it (see `counts.count`).
    also: further patterns that must each match a file.
    note: where the addresses and sums come from, if not from the page.
    fetch: a function that downloads a file to a path, if the host has a tool of its own.
    """

    folder: str
    page: str
    terms: str
    files: tuple[File, ...]
    counts: dict[str, int]
    also: tuple[str, ...] = ()
    note: str = ""
    fetch: Callable[[File, Path], None] | None = None


def load(name: str) -> Source:
    """Returns the declaration of a data set, by its name in NAMES.

    Raises:
        DownloadError: if no set has this name; the message lists the names and suggests the most similar one.
    """
    if name not in NAMES:
        close = "".join(f" Did you mean {known!r}?" for known in difflib.get_close_matches(name, NAMES, 1))
        raise DownloadError(f"unknown data set {name!r}; known: {', '.join(NAMES)}.{close}")
    return importlib.import_module(f".{name.replace('-', '_')}", __package__).SOURCE
