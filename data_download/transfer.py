"""One file over HTTP, in as many tries as it takes: each goes on where the last one broke off.

On requests, because no well-kept download package does this: pooch 1.9 and parfive 2.3 cannot go on with a part of a
file, pypdl 1.5 began again after a cut line, kept nothing and told no reason when it gave up, and huggingface_hub's
`http_get` speaks of the hub in its errors and takes its time limits from there.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError as Broken  # what reading the answer raises

from .disk import check_space
from .errors import Unreachable

PASSING = (429, 500, 502, 503, 504)  # answers that may be another one in a moment


@dataclass(frozen=True)
class Patience:
    """Seconds without a byte before a try is given up, tries in a row without progress, seconds before the second."""

    timeout: float = 30.0
    tries: int = 5
    pause: float = 2.0


def transfer(url: str, path: Path, patience: Patience) -> None:
    """Fetches url into path; what has arrived waits in `path.part`, and its version in `path.version`.

    Raises:
        Unreachable: if it cannot be had; what has arrived is kept.
        DownloadError: if there is not enough space for the rest of it.
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
    """How many bytes of the file an earlier run has left."""
    return _size(_part(path))


def _try(url: str, part: Path, version: Path, timeout: float) -> None:
    """One request, for all of the file or for the rest of it."""
    have = _size(part)
    mark = version.read_text() if have and version.exists() else ""
    headers = {"Accept-Encoding": "identity"}  # a range counts bytes of the file, not of its compressed form
    if have:
        headers["Range"] = f"bytes={have}-"
    if mark:
        headers["If-Range"] = mark  # all of it again, if the host has another version now
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416 or (answer.status_code == 206 and not _goes_on(answer, have, mark)):
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # it was whole already
            part.unlink()
            raise requests.ConnectionError("the host sent another part than asked for")
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").startswith("text/html"):  # a login, or the name was sold
            raise Unreachable(f"{url}: the host sends a web page instead of the file")
        if answer.status_code != 206:  # all of it
            part.unlink(missing_ok=True)
            have = 0
            version.write_text(_mark(answer))
        rest = int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
        check_space(part.parent, rest or 0)
        with (
            part.open("ab") as file,
            tqdm(
                desc=part.stem, initial=have, total=rest and have + rest, unit="B", unit_scale=True, unit_divisor=1000
            ) as bar,
        ):
            for chunk in answer.raw.stream(1 << 16, decode_content=False):  # some hosts call a .gz file an encoding
                file.write(chunk)
                bar.update(len(chunk))
    if rest is not None and _size(part) < have + rest:  # urllib3 1 does not tell
        raise Broken


def _goes_on(answer: requests.Response, have: int, mark: str) -> bool:
    """Whether it is the rest, and of the same version: some hosts do not look at If-Range."""
    same = not mark or _mark(answer) in ("", mark)
    return same and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _mark(answer: requests.Response) -> str:
    """What tells this version of the file from another one; empty if the host does not say."""
    marks = [answer.headers.get(name, "") for name in ("ETag", "Last-Modified")]
    return next((mark for mark in marks if mark and not mark.startswith("W/")), "")


def _reason(error: Exception, patience: Patience) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "the host's certificate is not accepted"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return f"nothing came for {patience.timeout:g} seconds"
    if isinstance(error, Broken):
        return "the line broke"
    return text if "another part" in text else "the host cannot be reached"


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
