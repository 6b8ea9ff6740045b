"""Downloads a data set: announces it, fetches and checks its files, unpacks them, and counts the samples.

An interrupted download continues with what has arrived.
"""

import errno
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from .counts import shortfall
from .disk import check_space, free_space, in_gb
from .errors import DownloadError, Unreachable
from .source import File, Source, load
from .transfer import Patience, answers, arrived, transfer
from .unpack import unpack

RECORD = "downloaded.json"
SUM = re.compile("(md5|sha1|sha256):[0-9a-f]{32,64}")


def get(name: str, data: Path, patience: Patience | None = None, mirror: str | None = None) -> None:
    """Makes sure that the set is in the data folder; downloads nothing if it is complete.

    Its files are fetched from their hosts, or by their names from the address of a mirror, and held to the same sums.

    Raises:
        DownloadError: if it cannot be downloaded; what has arrived is kept.
    """
    source = _source(name, mirror)
    if _complete(name, source, data):  # checked without the lock, because a shared folder may be read-only
        return
    folder = data / source.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(name, folder):
            if _complete(name, source, data):
                return
            record = Record(folder / RECORD)
            if all(record.done(file) for file in source.files):
                record.start_again()  # something has been deleted since then
            announce(name, source, data, record)
            _get(source, folder, record, patience or Patience())
            if lacking := shortfall(source, data):
                mend = f"run the command again to unpack the archives again, or delete {folder} first to start over"
                raise DownloadError(f"{name}: {lacking}; {mend}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        mend = "free some space and run the command again; it continues with what has arrived"
        raise DownloadError(f"{folder}: no space left; {mend}") from error
    print(*(f"  {n:>9,}  {pattern}" for pattern, n in source.counts.items()), sep="\n")
    print(f"{name}: complete, in {folder}")
    if kept := [file.path(folder) for file in source.files if file.unpack and file.path(folder).exists()]:
        print(f"you can delete the archives in {kept[0].parent}, {in_gb(sum(path.stat().st_size for path in kept))}")


def _complete(name: str, source: Source, data: Path) -> bool:
    """Whether the set is complete; prints a line if it is."""
    if shortfall(source, data):
        return False
    print(f"{name}: complete, in {data / source.folder}; to download a damaged file again, delete it first")
    return True


def _source(name: str, mirror: str | None) -> Source:
    return load(name) if mirror is None else load(name).mirrored(mirror)


def announce(name: str, source: Source, data: Path, record: "Record") -> None:
    """Prints host, terms, size and free space, before anything is downloaded.

    Raises:
        DownloadError: if the disk has less free space than the set needs, as far as its sizes are known.
    """
    folder = data / source.folder
    unfinished = [file for file in source.files if not record.done(file)]
    to_come = [file for file in unfinished if not file.path(folder).exists()]
    size = sum(max((file.size or 0) - arrived(file.path(folder)), 0) for file in to_come)
    need = size + sum(file.size or 0 for file in unfinished if file.unpack)  # unpacked, images are about as large
    hosts = sorted({urlsplit(file.url).hostname or "" for file in source.files if file.url})
    sizes = ([in_gb(size)] if size else []) + [f"{file.name}, of unknown size" for file in to_come if not file.size]
    unsummed = source.unsummed()
    unproved = [file.name for file in unsummed if record.sum(file) is None and (file.url or "").startswith("http:")]
    lines = {
        "page": source.page,
        "host": ", ".join(hosts) or "none that serves it without a login or a click in a browser",
        "terms": source.terms,
        "size": " and ".join(sizes) or "nothing left to download",
        "disk": f"{in_gb(free_space(folder))} free in {data}" + (f", {in_gb(need)} needed" if need else ""),
        "sums": f"published for {len(source.files) - len(unsummed)} of {len(source.files)} files",
        "note": source.note,
    }
    if unsummed:
        lines["sums"] += f"; the others are recorded on the first run in {folder / RECORD}, and hold from then on"
    if unproved:
        lines["trust"] = f"http, and no sum: nothing shows that these are the authors' files: {', '.join(unproved)}"
    print(name, *(f"  {key:7}{line}" for key, line in lines.items() if line), sep="\n", flush=True)
    check_space(folder, need)


class Record:
    """The state of each file, kept in a JSON file beside them: {name: {"sum": "sha256:...", "done": true}}.

    Raises:
        DownloadError: if the JSON file is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.files = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if not all(SUM.fullmatch(known["sum"]) and known["done"] in (True, False) for known in self.files.values()):
                raise ValueError("not the sums of files")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DownloadError(f"{path}: damaged ({error}); delete it and run the same command again") from error

    def sum(self, file: File) -> str | None:
        """Returns the sum that the file had when it first arrived; None if it has not arrived yet."""
        return self.files.get(file.name, {}).get("sum")

    def done(self, file: File) -> bool:
        """Whether the file has been checked, and unpacked if it is an archive."""
        return self.files.get(file.name, {}).get("done", False)

    def finish(self, file: File, sum: str) -> None:
        """Records the file as done, with its sum."""
        self.files[file.name] = {"sum": sum, "done": True}
        self._save()

    def start_again(self) -> None:
        """Records no file as done; the sums stay."""
        for known in self.files.values():
            known["done"] = False
        self._save()

    def _save(self) -> None:
        unfinished = self.path.with_name(self.path.name + ".part")
        unfinished.write_text(json.dumps(self.files, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.path)


def probe(names: Iterable[str], mirror: str | None = None) -> None:
    """Prints a line for each host of these sets, or the mirror: whether it answers, asked for a byte of one file."""
    urls: dict[str, str] = {}
    for file in (file for name in names for file in _source(name, mirror).files if file.url):
        urls.setdefault(urlsplit(file.url).hostname, file.url)
    with ThreadPoolExecutor(len(urls) or 1) as pool:
        for host, answer in zip(urls, pool.map(answers, urls.values()), strict=True):
            print(f"{host:40}{answer}", flush=True)
    if not urls:
        print("no host serves it without a login or a click in a browser")


@contextmanager
def _alone(name: str, folder: Path) -> Iterator[None]:
    """Holds the lock of the folder: only one process downloads into it, another one prints a line and waits."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except NotImplementedError as error:
        raise DownloadError(f"{folder}: {error}; choose a folder on another disk with --to") from error
    except Timeout:
        print(f"{name}: another download into {folder} is running; waiting until it ends", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _get(source: Source, folder: Path, record: Record, patience: Patience) -> None:
    fetch = source.fetch or partial(_fetch, patience=patience, most=source.most)
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
            unpack(file, folder, source.most)
        record.finish(file, found)


def _fetch(file: File, path: Path, patience: Patience, most: int) -> None:
    if file.url is None:
        raise Unreachable(f"{file.name} cannot be downloaded without a click in a browser")
    transfer(file.url, path, patience, most)


def _by_hand(source: Source, folder: Path, record: Record, error: Unreachable) -> DownloadError:
    """Prints which files are still to be downloaded and where they go; returns the error."""
    print("to download by hand, each to the path below it:")
    for file in source.files:
        if not record.done(file) and not file.path(folder).exists():
            print(f"  {file.by_hand or file.url or source.page}\n    -> {file.path(folder)}")
    return DownloadError(f"{error}; download the files listed above by hand, then run the same command again")


def _check(file: File, folder: Path, record: Record) -> str:
    """Returns the sum of the file, which must be the published one, or else that of the first run, if there is one.

    Raises:
        DownloadError: if the sum is a different one; the file is renamed.
    """
    path, expected = file.path(folder), file.sum or record.sum(file)
    method = expected.split(":")[0] if expected else "sha256"
    with path.open("rb") as content:
        found = f"{method}:{hashlib.file_digest(content, method).hexdigest()}"
    if expected is None:
        print(f"{file.name}: {found}, the sum of this first download, to which later ones are held", flush=True)
    if expected in (None, found):
        return found
    aside = path.with_name(path.name + ".wrong")
    path.replace(aside)
    whose, mend = "the published sum", "run the command again"
    if not file.sum:
        whose, mend = "that of the first run", f"{mend}; if the host has a new version, delete {folder / RECORD} first"
    raise DownloadError(f"{aside}: not the right file, its sum is {found} and {whose} is {expected}; {mend}")
