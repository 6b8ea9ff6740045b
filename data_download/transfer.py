"""Downloads one file over HTTP; each attempt continues where the last one broke off.

Written on top of requests, because no maintained download package does this: pooch 1.9 and parfive 2.3 cannot resume a
file, pypdl 1.5 started over after a broken connection, kept nothing and gave no reason when it gave up, and the
`http_get` of huggingface_hub names the hub in its errors and takes its time limits from there.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError as Broken  # raised while the answer is read

from .disk import check_space
from .errors import Unreachable

PASSING = (429, 500, 502, 503, 504)  # errors of a host that may be gone in a moment
OTHER_PART = "the host sent another part of the file than was requested"


@dataclass(frozen=True)
class Patience:
    """Seconds without a byte until an attempt fails, attempts in a row without progress, first pause in seconds."""

    timeout: float = 30.0
    tries: int = 5
    pause: float = 2.0


def transfer(url: str, path: Path, patience: Patience) -> None:
    """Downloads url to path; until it is complete, `path.part` holds what has arrived and `path.version` its version.

    Raises:
        Unreachable: if it cannot be downloaded; what has arrived is kept.
        DownloadError: if there is not enough free space for the rest of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, version = _part(path), path.with_name(path.name + ".version")
    failures = 0
    while True:
        before = _size(part)
        try:
            _try(url, part, version, patience.timeout)
            break
        except requests.HTTPError as error:
            problem = "the host answers " + str(error).split(" for url")[0]
            if error.response.status_code not in PASSING:
                raise Unreachable(f"{url}: {problem}") from error
        except (requests.Timeout, requests.ConnectionError, Broken) as error:
            problem = _reason(error, patience)
        except requests.RequestException as error:
            raise Unreachable(f"{url}: {error}") from error
        failures = 1 if _size(part) > before else failures + 1
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


def _try(url: str, part: Path, version: Path, timeout: float) -> None:
    """Makes one request, for the whole file or for the rest of it."""
    have = _size(part)
    mark = version.read_text() if have and version.exists() else ""
    headers = {"Accept-Encoding": "identity"}  # so that a range counts bytes of the file itself, uncompressed
    if have:
        headers["Range"] = f"bytes={have}-"
    if mark:
        headers["If-Range"] = mark  # asks for the whole file if the host has another version now
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416 or (answer.status_code == 206 and not _goes_on(answer, have, mark)):
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # it is complete already
            part.unlink()
            raise requests.ConnectionError(OTHER_PART)
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").startswith("text/html"):  # a login, or the domain has a new owner
            raise Unreachable(f"{url}: the host sends a web page instead of the file")
        if answer.status_code != 206:  # the whole file
            part.unlink(missing_ok=True)
            have = 0
            version.write_text(_mark(answer))
        rest = int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
        check_space(part.parent, rest or 0)
        total = rest and have + rest
        with part.open("ab") as file, tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True) as bar:
            for chunk in answer.raw.stream(1 << 16, decode_content=False):  # some hosts call a .gz file an encoding
                file.write(chunk)
                bar.update(len(chunk))
    if rest is not None and _size(part) < have + rest:  # urllib3 1 raises nothing
        raise Broken


def _goes_on(answer: requests.Response, have: int, mark: str) -> bool:
    """Whether the answer is the rest of the same version of the file: some hosts ignore If-Range."""
    same = not mark or _mark(answer) in ("", mark)
    return same and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _mark(answer: requests.Response) -> str:
    """Returns what identifies this version of the file; empty if the host does not state it."""
    marks = [answer.headers.get(name, "") for name in ("ETag", "Last-Modified")]
    return next((mark for mark in marks if mark and not mark.startswith("W/")), "")


def _reason(error: Exception, patience: Patience) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "the certificate of the host is not valid"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return f"no data for {patience.timeout:g} seconds"
    if isinstance(error, Broken):
        return "the connection broke"
    return text if text == OTHER_PART else "the host cannot be reached"


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
