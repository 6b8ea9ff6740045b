"""Downloads one file over HTTP; each attempt continues where the last one broke off.

Written on top of requests, because no maintained download package does this: pooch 1.9 and parfive 2.3 cannot resume a
file, pypdl 1.5 started over after a broken connection, kept nothing and gave no reason when it gave up, and the
`http_get` of huggingface_hub names the hub in its errors and takes its time limits from there.
"""

import math
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import responses
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from urllib.parse import urljoin, urlsplit

import requests
from requests.cookies import extract_cookies_to_jar
from tqdm import tqdm
from urllib3.exceptions import HTTPError  # raised while the answer is read

from .disk import check_space, in_gb
from .errors import DownloadError, Unreachable

PASSING = (429, 500, 502, 503, 504)  # errors of a host that may be gone in a moment
REDIRECTS = 10
MARK = re.compile(r'"[!#-~]{0,200}"|[A-Z][ -~]{0,40} GMT')  # an ETag that is not weak, or a date
LENGTH = re.compile("[0-9]{1,18}")
RANGE = re.compile("bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True)
class Patience:
    """When an attempt fails, and when a host is given up.

    timeout: seconds without a byte until an attempt fails.
    tries: attempts in a row that bring less than rate * window bytes, until the download fails.
    pause: seconds before the second attempt.
    rate: bytes per second that an attempt must bring over each `window` of seconds, of which the first begins with the
        request: a host that drips headers or a body is given up.
    """

    timeout: float = 30.0
    tries: int = 5
    pause: float = 2.0
    rate: float = 1000.0
    window: float = 60.0


class _Broken(Exception):
    """An attempt failed, and another one may succeed; the text says why it failed."""


def transfer(url: str, path: Path, patience: Patience, most: float = math.inf) -> None:
    """Downloads url to path; until it is complete, `path.part` holds what has arrived and `path.version` its version.

    Raises:
        Unreachable: if it cannot be downloaded, or is larger than `most` bytes; what has arrived is kept.
        DownloadError: if there is not enough free space for the rest of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, version = _part(path), path.with_name(path.name + ".version")
    failures = 0
    while True:
        before = _size(part)
        try:
            _try(url, part, version, patience, most)
            break
        except _Broken as error:
            problem = error
        failures = 1 if _size(part) - before >= patience.rate * patience.window else failures + 1
        if failures >= patience.tries:
            raise Unreachable(f"{url}: {problem}, {failures} times in a row; {_size(part):,} bytes have arrived")
        wait = min(patience.pause * 2 ** (failures - 1), 60)
        print(f"{path.name}: {problem}; trying again in {wait:g} seconds", flush=True)
        time.sleep(wait)
    version.unlink(missing_ok=True)
    part.replace(path)


def arrived(path: Path) -> int:
    """Returns how many bytes of an unfinished file have arrived."""
    return _size(_part(path))


def answers(url: str, seconds: float = 5.0) -> str:
    """Returns how a host answers within some seconds to a request for one byte, in a line; downloads nothing."""
    try:
        with closing(_arriving(url, {"Range": "bytes=0-0"}, Patience(seconds, rate=1, window=seconds))) as come:
            return _status(next(come))
    except (_Broken, DownloadError) as error:
        return f"no answer: {error}"


def _try(url: str, part: Path, version: Path, patience: Patience, most: float) -> None:
    """Makes one request, for the whole file or for the rest of it."""
    mark, total = _known(version)
    have = _size(part) if mark else 0  # without a mark nothing says which version of the file has arrived
    if have and have == total:
        return
    headers = {"Accept-Encoding": "identity"}  # so that a range counts bytes of the file itself, uncompressed
    if 0 < have < (total or math.inf):
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}  # the whole file, if the host has another version now
    with closing(_arriving(url, headers, patience)) as arriving:
        answer = next(arriving)
        status, length = answer.status_code, _length(url, answer)
        if status in (206, 416):
            start, end, whole = _range(answer)
            fits = "Range" in headers and _mark(answer) == mark and start == have <= end < whole == (total or whole)
            if status == 416 or not fits or length not in (None, end + 1 - start):
                version.unlink(missing_ok=True)  # some hosts ignore If-Range: start over
                raise _Broken("the host sent another part of the file than was requested")
            upto, total = end + 1, whole
        elif status == 200:
            _accept(url, part, answer)
            have, upto, total, mark = 0, length, length, _mark(answer)
        else:
            problem = f"the host answers {_status(answer)}"
            raise _Broken(problem) if status in PASSING else Unreachable(f"{url}: {problem}")
        if (total or 0) > most:
            raise Unreachable(f"{url}: the host announces {in_gb(total)}, and the whole set has {in_gb(most)} at most")
        if not have:
            part.unlink(missing_ok=True)
            version.write_text(f"{mark}\n{'' if total is None else total}", encoding="ascii")
        check_space(part.parent, (upto or have) - have)
        with part.open("ab") as file, tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True) as bar:
            for chunk in arriving:
                have += len(chunk)
                if have > (most if upto is None else upto):
                    version.unlink(missing_ok=True)  # no part of it can be trusted
                    limit = f"more than the {in_gb(most)} of the set" if upto is None else "more than it announced"
                    raise Unreachable(f"{url}: the host sends {limit}")
                file.write(chunk)
                bar.update(len(chunk))
    if have < (total or 1):  # an empty file is none
        raise _Broken("the connection broke")


def _arriving(url: str, headers: dict[str, str], patience: Patience) -> Iterator:
    """Yields the answer of the host, then its body as it arrives.

    A thread reads, for no limit of a socket ends headers, or a chunk's header, of which a byte arrives now and then.
    """
    queue, gone = Queue(16), Event()

    def put(item: object) -> None:
        while not gone.is_set():
            try:
                return queue.put(item, timeout=1)
            except Full:
                pass

    def read() -> None:
        try:
            with _answer(url, headers, patience.timeout) as answer:
                put(answer)
                while not gone.is_set() and (chunk := answer.raw.read1(1 << 16, decode_content=False)):
                    put(chunk)  # not decoded: some hosts call a .gz file an encoding
            put(None)
        except BaseException as error:
            put(error)

    Thread(target=read, daemon=True).start()
    end, got = time.monotonic() + patience.window, 0
    try:
        while True:
            try:
                item = queue.get(timeout=max(end - time.monotonic(), 0))
            except Empty:
                item = b""
            got += len(item) if isinstance(item, bytes) else 0
            if item is None:
                return
            if isinstance(item, BaseException):
                raise _translated(url, item, patience) from item
            if item != b"":
                yield item
            if time.monotonic() >= end:
                if got < patience.rate * patience.window:
                    raise _Broken(f"less than {patience.rate:g} bytes a second for {patience.window:g} seconds")
                end, got = time.monotonic() + patience.window, 0
    finally:
        gone.set()


def _answer(url: str, headers: dict[str, str], timeout: float) -> requests.Response:
    """Returns the answer of the host; of redirects the bodies are not read, which requests itself reads whole."""
    session = requests.Session()
    for _ in range(REDIRECTS + 1):
        request = session.prepare_request(requests.Request("GET", url, headers))
        settings = session.merge_environment_settings(request.url, {}, True, None, None)
        answer = session.get_adapter(request.url).send(request, timeout=timeout, **settings)
        extract_cookies_to_jar(session.cookies, request, answer.raw)
        location = session.get_redirect_target(answer)
        if location is None:
            return answer
        answer.close()
        before, url = url, urljoin(url, location)
        if urlsplit(url).scheme not in ("https", urlsplit(before).scheme):
            raise Unreachable(f"{before}: the host redirects to {url[:200]!r}, which is not followed")
    raise Unreachable(f"{url}: the host redirects more than {REDIRECTS} times")


def _translated(url: str, error: BaseException, patience: Patience) -> BaseException:
    """Returns the error of a request as one of this module; one that has nothing to do with the host as it is."""
    text = str(error)
    if isinstance(error, DownloadError) or not isinstance(error, Exception):
        return error
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _Broken("the certificate of the host is not valid")
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return _Broken(f"no data for {patience.timeout:g} seconds")
    if isinstance(error, requests.ConnectionError):
        return _Broken("the host cannot be reached")
    if isinstance(error, (requests.RequestException, ValueError)):
        return Unreachable(f"{url}: no answer that can be read ({' '.join(text.split())[:200]})")
    return _Broken("the connection broke") if isinstance(error, HTTPError) else error


def _accept(url: str, part: Path, answer: requests.Response) -> None:
    """Makes sure that a whole file is what was asked for."""
    if answer.headers.get("Content-Type", "").lower().startswith("text/html"):  # a login, or the domain has a new owner
        raise Unreachable(f"{url}: the host sends a web page instead of the file")
    packed = answer.headers.get("Content-Encoding", "identity")
    if packed != "identity" and not part.stem.endswith(("gz", "bz2")):
        raise Unreachable(f"{url}: the host sends the file packed ({packed[:20]!r}), against the request")


def _length(url: str, answer: requests.Response) -> int | None:
    text = answer.headers.get("Content-Length")
    if text is not None and not LENGTH.fullmatch(text):
        raise Unreachable(f"{url}: the host states {text[:40]!r} as the length of the file, which is no number")
    return None if text is None else int(text)


def _range(answer: requests.Response) -> tuple[int, int, int]:
    """First and last byte that the answer holds, and how many the file has; -1 each if it does not say so."""
    stated = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    start, end, whole = map(int, stated.groups()) if stated else (-1, -1, -1)
    return start, end, whole


def _status(answer: requests.Response) -> str:
    return f"{answer.status_code} {responses.get(answer.status_code, '')}".rstrip()


def _mark(answer: requests.Response) -> str:
    """Returns what identifies this version of the file; empty if the host does not state it."""
    marks = (answer.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    return next((mark for mark in marks if MARK.fullmatch(mark)), "")


def _known(version: Path) -> tuple[str, int | None]:
    """The mark of the version that has begun to arrive, and its length if known; an empty mark if nothing says so."""
    try:
        mark, total = version.read_text(encoding="ascii").split("\n")
    except (OSError, ValueError):  # not there, or damaged
        return "", None
    fits = MARK.fullmatch(mark) and (not total or LENGTH.fullmatch(total))
    return (mark, int(total) if total else None) if fits else ("", None)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
