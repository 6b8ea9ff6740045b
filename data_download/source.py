"""What a set's module declares."""

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
    """One file to fetch, an archive if `unpack` says what to take from it.

    name: its name in the set's folder, in `downloads/` there if it is an archive.
    url: the address that serves it; None where only a person can fetch it, from the set's page or `by_hand`.
    size: bytes, as its page states them, rounded there; None where no page does.
    sum: "md5:..." or "sha1:..." as published; None where none is: it is recorded then when the file first arrives.
    unpack: what to take from the archive -> where it goes in the set's folder; one folder around it may be left out.
    """

    name: str
    url: str | None
    size: int | None
    sum: str | None = None
    unpack: dict[str, str] = field(default_factory=dict)
    by_hand: str = ""

    def path(self, folder: Path) -> Path:
        return folder / "downloads" / self.name if self.unpack else folder / self.name


@dataclass(frozen=True)
class Source:
    """A data set: its folder in the data folder, its page, its terms, its files, and what a complete copy contains.

    counts: a pattern -> how many files match it, or a file -> how many samples it holds (see `counts.count`).
    also: patterns that must match something too, where the counts do not cover it.
    note: where the addresses and sums come from, if not from the page.
    fetch: what fetches a file (and into which path), where the host has a tool of its own.
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
        DownloadError: if no set has this name; it names the sets, and the one that is spelled most alike.
    """
    if name not in NAMES:
        close = "".join(f" Did you mean {known!r}?" for known in difflib.get_close_matches(name, NAMES, 1))
        raise DownloadError(f"unknown data set {name!r}; known: {', '.join(NAMES)}.{close}")
    return importlib.import_module(f".{name.replace('-', '_')}", __package__).SOURCE
