"""Gets a set: says what it will do, fetches, checks, unpacks, counts; goes on where an earlier run broke off."""

import errno
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from .counts import shortfall
from .disk import check_space, free_space, in_gb
from .errors import DownloadError, Unreachable
from .source import File, Source, load
from .transfer import Patience, arrived, transfer
from .unpack import unpack

RECORD = "downloaded.json"


def get(name: str, data: Path, patience: Patience | None = None) -> None:
    """Makes sure that the set is in the data folder; does nothing where it is.

    Raises:
        DownloadError: if it cannot be had, in one line; what has arrived is kept.
    """
    source = load(name)
    if _complete(name, source, data):  # without the lock: a shared folder may be read-only
        return
    folder = data / source.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(name, folder):
            if _complete(name, source, data):
                return
            record = Record(folder / RECORD)
            if all(record.done(file) for file in source.files):
                record.start_again()  # something was deleted since
            announce(name, source, data, record)
            _get(source, folder, record, patience or Patience())
            if lacking := shortfall(source, data):
                raise DownloadError(
                    f"{name}: {lacking}; run it again to unpack anew, or delete {folder} and get it again"
                )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(f"{folder}: no space left; what has arrived is kept, make room and run it again") from error
    print(*(f"  {n:>9,}  {pattern}" for pattern, n in source.counts.items()), sep="\n")
    print(f"{name}: all there, in {folder}")
    if kept := [file.path(folder) for file in source.files if file.unpack and file.path(folder).exists()]:
        print(f"you can delete the archives in {kept[0].parent}, {in_gb(sum(path.stat().st_size for path in kept))}")


def _complete(name: str, source: Source, data: Path) -> bool:
    """Whether the set is complete; says so if it is."""
    if shortfall(source, data):
        return False
    print(
        f"{name}: all there, in {data / source.folder}; nothing to do (a damaged file comes again once you delete it)"
    )
    return True


def announce(name: str, source: Source, data: Path, record: "Record") -> None:
    """Print host, size, terms and free space, before anything starts.

    Raises:
        DownloadError: if there is less free space than the set is known to need.
    """
    folder = data / source.folder
    unfinished = [file for file in source.files if not record.done(file)]
    to_come = [file for file in unfinished if not file.path(folder).exists()]
    size = sum(max((file.size or 0) - arrived(file.path(folder)), 0) for file in to_come)
    need = size + sum(file.size or 0 for file in unfinished if file.unpack)  # an archive of images unpacks to its size
    hosts = sorted({urlsplit(file.url).hostname or "" for file in source.files if file.url})
    sizes = ([in_gb(size)] if size else []) + [f"{file.name}, of unknown size" for file in to_come if not file.size]
    unsummed = [file.name for file in source.files if file.sum is None]
    lines = {
        "page": source.page,
        "host": ", ".join(hosts) or "none without a login or a click in a browser",
        "terms": source.terms,
        "size": " and ".join(sizes) or "nothing is left to fetch",
        "disk": f"{in_gb(free_space(folder))} free in {data}" + (f", {in_gb(need)} needed" if need else ""),
        "sums": f"published for {len(source.files) - len(unsummed)} of {len(source.files)} files",
        "note": source.note,
    }
    if unsummed:
        lines["sums"] += f"; the others are recorded on the first run, in {folder / RECORD}"
    print(name, *(f"  {key:7}{line}" for key, line in lines.items() if line), sep="\n", flush=True)
    check_space(folder, need)


class Record:
    """What is known of the files so far, in a file beside them: {name: {"sum": "sha256:...", "done": true}}."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.files = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except ValueError as error:
            raise DownloadError(f"{path}: damaged ({error}); delete it and run the same command again") from error

    def sum(self, file: File) -> str | None:
        return self.files.get(file.name, {}).get("sum")

    def done(self, file: File) -> bool:
        """Whether it was checked and is in its place, unpacked if it is an archive."""
        return self.files.get(file.name, {}).get("done", False)

    def finish(self, file: File, sum: str) -> None:
        self.files[file.name] = {"sum": sum, "done": True}
        self._save()

    def start_again(self) -> None:
        for known in self.files.values():
            known["done"] = False
        self._save()

    def _save(self) -> None:
        unfinished = self.path.with_name(self.path.name + ".part")
        unfinished.write_text(json.dumps(self.files, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.path)


@contextmanager
def _alone(name: str, folder: Path) -> Iterator[None]:
    """One download into the folder at a time; a second one says that it waits."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{name}: another download into {folder} is under way; waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _get(source: Source, folder: Path, record: Record, patience: Patience) -> None:
    fetch = source.fetch or partial(_fetch, patience=patience)
    for file in source.files:
        if record.done(file):
            continue
        if not file.path(folder).exists():
            try:
                fetch(file, file.path(folder))
            except Unreachable as error:
                raise _by_hand(source, folder, record, error) from error
        found = _check(file, folder, record)
        if file.unpack:
            unpack(file, folder)
        record.finish(file, found)


def _fetch(file: File, path: Path, patience: Patience) -> None:
    if file.url is None:
        raise Unreachable(f"{file.name} is not served without a click in a browser")
    transfer(file.url, path, patience)


def _by_hand(source: Source, folder: Path, record: Record, error: Unreachable) -> DownloadError:
    """The error, after a list of what is still to be fetched and where it goes."""
    print("to fetch by hand, each into its place:")
    for file in source.files:
        if not record.done(file) and not file.path(folder).exists():
            print(f"  {file.by_hand or file.url or source.page}\n    -> {file.path(folder)}")
    return DownloadError(f"{error}; fetch by hand what is listed above, then run the same command again")


def _check(file: File, folder: Path, record: Record) -> str:
    """The file's sum, as published, else as it was on the first run, else the first one.

    Raises:
        DownloadError: if it is another one; the file is put aside then.
    """
    path, expected = file.path(folder), file.sum or record.sum(file)
    method = expected.split(":")[0] if expected else "sha256"
    with path.open("rb") as content:
        found = f"{method}:{hashlib.file_digest(content, method).hexdigest()}"
    if expected in (None, found):
        return found
    aside = path.with_name(path.name + ".wrong")
    path.replace(aside)
    whose = "the published sum" if file.sum else "that of the first run"
    mend = (
        "run it again" if file.sum else f"run it again; if the host has a new version, delete {folder / RECORD} first"
    )
    raise DownloadError(f"{aside}: not the right file, its sum is {found} and {whose} {expected}; {mend}")
