"""The declaration of a data set, which each set has in a module of its own."""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from .errors import DownloadError

NAMES = (
    "mnist", "usps", "svhn", "mnist-m", "office31", "office-home", "imageclef", "visda2017", "domainnet", "camvid",
    "gta5", "synthia", "cityscapes",
)  # fmt: skip


@dataclass(frozen=True)
class File:
    """One file to download; it is an archive if `unpack` is not empty.

    name: the name of the file in the set's folder; archives are kept in `downloads/` there.
    url: the address of the file; None if only a person can download it, from the set's page or `by_hand`.
    size: number of bytes as the page states it, rounded; None if no page does.
    sum: "md5:...", "sha1:..." or "sha256:..." as published; None if no sum is: then it is recorded when the file first
        arrives.
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

    most: number of bytes that no file of the set exceeds, and no archive unpacked: a limit on hosts and archives
        that never end.
    counts: pattern -> number of files that match it, or file -> number of samples in it (see `counts.count`).
    also: further patterns that must each match a file.
    note: where the addresses and sums come from, if not from the page.
    fetch: a function that downloads a file to a path, if the host has a tool of its own.
    """

    folder: str
    page: str
    terms: str
    files: tuple[File, ...]
    most: int
    counts: dict[str, int]
    also: tuple[str, ...] = ()
    note: str = ""
    fetch: Callable[[File, Path], None] | None = None

    def unsummed(self) -> list[File]:
        """Returns the files for which no sum is published: the first download is trusted, and its sum recorded."""
        return [file for file in self.files if file.sum is None]

    def mirrored(self, base: str) -> "Source":
        """Returns the same set, whose files are fetched by their names from the address of a mirror.

        Raises:
            DownloadError: if the address is not one of http or https.
        """
        try:
            parts = urlsplit(base)
            good = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        except ValueError:
            good = False
        if not good:
            raise DownloadError(f"{base!r} is no address of a folder; give --from https://HOST/FOLDER")
        files = (replace(file, url=f"{base.rstrip('/')}/{quote(file.name)}") for file in self.files)
        return replace(self, files=tuple(files), fetch=None)


def load(name: str) -> Source:
    """Returns the declaration of a data set, by its name in NAMES.

    Raises:
        DownloadError: if no set has this name; the message lists the names and suggests the most similar one.
    """
    if name not in NAMES:
        close = "".join(f" Did you mean {known!r}?" for known in difflib.get_close_matches(name, NAMES, 1))
        raise DownloadError(f"unknown data set {name!r}; known: {', '.join(NAMES)}.{close}")
    return importlib.import_module(f".{name.replace('-', '_')}", __package__).SOURCE
