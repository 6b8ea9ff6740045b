"""Hostile hosts, archives and leftovers: each ends in the right result or in one line; none hangs."""

import dataclasses
import gzip
import io
import os
import re
import socketserver
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from test_data_download import names, needs_scripts, tar, tool, zipped

from data_download.errors import DownloadError, Unreachable
from data_download.get import Record
from data_download.source import File, load
from data_download.transfer import Patience, answers, transfer
from data_download.unpack import unpack

QUICK = Patience(timeout=0.5, tries=2, pause=0.001, rate=1000, window=0.6)
BODY = bytes(range(256)) * 40
ETAG = '"one"'
MOST = 4 * len(BODY)
ZEROS = 30_000


# -- a host that sends what it is given, byte by byte if need be -------------------------------------------------------


class Script(socketserver.ThreadingTCPServer):
    """Gives each request the next of its answers, or else the last: bytes, or pieces, a part of a second apart."""

    daemon_threads = allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Speaker)
        self.answers: list[bytes | Callable[[], Iterator[bytes]]] = []
        self.asked: list[str] = []
        self.sent = 0
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Speaker(socketserver.StreamRequestHandler):
    server: Script

    def handle(self):
        asked = b"".join(iter(self.rfile.readline, b"\r\n")).decode("latin-1")
        self.server.asked.append(asked)
        answer = self.server.answers[min(len(self.server.asked), len(self.server.answers)) - 1]
        with suppress(OSError):  # whoever asked has gone
            for piece in [answer] if isinstance(answer, bytes) else answer():
                self.server.sent += len(piece)
                self.wfile.write(piece.replace(b"HERE", self.server.address.encode()))


@pytest.fixture
def host():
    server = Script()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def reply(status="200 OK", body=BODY, length: str | None = "", **headers: str) -> bytes:
    """An answer with an ETag; its length is that of the body, or as given, or not stated (None)."""
    fields = {"ETag": ETAG} | {name.replace("_", "-"): value for name, value in headers.items()}
    if length is not None:
        fields["Content-Length"] = length or str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def chunks(*sizes_and_bodies: tuple[str, bytes], end=b"0\r\n\r\n", **headers) -> bytes:
    body = b"".join(f"{size}\r\n".encode() + chunk + b"\r\n" for size, chunk in sizes_and_bodies) + end
    return reply(body=body, length=headers.pop("length", None), Transfer_Encoding="chunked", **headers)


def drip(start: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    """Something at once, and then a small piece ten times a second for a while: no socket times out."""

    def pieces() -> Iterator[bytes]:
        yield start
        for _ in range(60):
            time.sleep(0.1)
            yield piece

    return pieces


def flood(start: bytes, piece: bytes = b"x" * 4096) -> Callable[[], Iterator[bytes]]:
    """Something, and then more of it than anyone wants."""

    def pieces() -> Iterator[bytes]:
        yield start
        for _ in range(100_000):
            yield piece

    return pieces


def part_of(answer: bytes, size: int) -> bytes:
    return answer[: len(answer) - size]


def moved(to: str, status="302 Found") -> bytes:
    return reply(status, b"", Location=to)


FAIL = {  # answers that a host gives to each request -> the line that says what is wrong
    "length abc": (reply(length="abc"), "states 'abc' as the length"),
    "length -5": (reply(length="-5"), "states '-5' as the length"),
    "length +5": (reply(length="+5"), "states '.5' as the length"),
    "length 1_000": (reply(length="1_000"), "states '1_000' as the length"),
    "length 1e3": (reply(length="1e3"), "states '1e3' as the length"),
    "length 0x10": (reply(length="0x10"), "states '0x10' as the length"),
    "length of 5000 digits": (reply(length="9" * 5000), "states '9+' as the length"),
    "length superscript": (reply(length="\xb2\xb3"), "as the length"),
    "length twice": (reply(length="5, 6"), "no answer that can be read .Content-Length contained multiple"),
    "length 0 and nothing": (reply(body=b"", length="-0"), "states '-0' as the length"),
    "announces too much": (reply(length=str(MOST + 1)), "announces 0.0 MB, and the whole set has 0.0 MB at most"),
    "announces a planet": (reply(length="9" * 18), "announces 1000000000.0 GB"),
    "chunks, more than announced": (chunks(("2800", BODY), length="10"), "sends more than it announced"),
    "chunks without end": (flood(chunks(end=b""), b"1000\r\n" + b"x" * 4096 + b"\r\n"), "sends more than the 0.0 MB"),
    "a body without end": (flood(reply(length=None)), "sends more than the 0.0 MB of the set"),
    "chunks of no number": (chunks(("zz", BODY)), "the connection broke"),
    "chunks below zero": (chunks(("-28", BODY)), "the connection broke"),
    "chunks without an end": (chunks(("2800", BODY), end=b""), "the connection broke"),
    "too little": (reply(length=str(len(BODY) + 1)), "the connection broke, 2 times in a row"),
    "nothing of it": (reply(body=b"", length="9"), "the connection broke"),
    "page": (reply(Content_Type="text/html"), "a web page instead of the file"),
    "page in capitals": (reply(Content_Type="TEXT/HTML; charset=UTF-8"), "a web page instead of the file"),
    "gzip": (reply(body=gzip.compress(BODY), Content_Encoding="gzip"), "packed .'gzip'"),
    "br": (reply(Content_Encoding="br"), "packed .'br'"),
    "gzip without end": (reply(body=gzip.compress(bytes(10**6)), Content_Encoding="deflate"), "packed .'deflate'"),
    "201": (reply("201 Created"), "the host answers 201 Created$"),
    "202": (reply("202 Accepted"), "the host answers 202 Accepted$"),
    "203": (reply("203 Whatever"), "the host answers 203 Non-Authoritative"),
    "204": (reply("204 No Content", b"", None), "the host answers 204 No Content$"),
    "205": (reply("205 Reset Content", b""), "the host answers 205 Reset Content$"),
    "206, not asked for": (reply("206 Partial Content", Content_Range="bytes 0-10239/10240"), "another part"),
    "300": (reply("300 Multiple Choices"), "the host answers 300 Multiple Choices$"),
    "304": (reply("304 Not Modified", b"", None), "the host answers 304 Not Modified$"),
    "401": (reply("401 Unauthorized"), "the host answers 401 Unauthorized$"),
    "403 with an escape": (reply("403 \x1b[31mred"), "the host answers 403 Forbidden$"),
    "404": (reply("404 Not Found"), "the host answers 404 Not Found$"),
    "416, not asked for": (reply("416 Range Not Satisfiable", b"", Content_Range="bytes */9"), "another part"),
    "429": (reply("429 Too Many Requests"), "the host answers 429 Too Many Requests, 2 times in a row"),
    "500": (reply("500 Internal Server Error"), "500 Internal Server Error, 2 times in a row"),
    "501": (reply("501 Not Implemented"), "the host answers 501 Not Implemented$"),
    "599": (reply("599 Ours"), "the host answers 599$"),
    "no status": (reply("abc OK"), "the host cannot be reached"),
    "HTTP/0.9": (BODY, "the host cannot be reached"),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", "the host cannot be reached"),
    "nothing at all": (b"", "the host cannot be reached"),
    "half a status": (b"HTTP/1.1 2", "the host cannot be reached"),
    "half the headers": (b"HTTP/1.1 200 OK\r\nContent-Le", "the connection broke"),
    "nothing, of length 0": (reply(body=b""), "the connection broke"),
    "200 headers": (reply(**{f"X{i}": "1" for i in range(200)}), "the host cannot be reached"),
    "a header of 100 kB": (reply(X="x" * 100_000), "the host cannot be reached"),
    "headers without end": (flood(b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 60_000 + b"\r\n"), "cannot be reached"),
    "status that drips": (drip(b"", b"H"), "less than 1000 bytes a second|cannot be reached"),
    "headers that drip": (drip(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"), "less than 1000 bytes a second for 0.6 seconds"),
    "one header that drips": (drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "less than 1000 bytes a second"),
    "interim answers that drip": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "less than 1000 bytes a second"),
    "a body that drips": (drip(reply(body=b"", length="9999"), b"x"), "less than 1000 bytes a second"),
    "a chunk's length that drips": (drip(chunks(end=b""), b"0"), "less than 1000 bytes a second"),
    "a chunk that drips": (drip(chunks(end=b"2800\r\n"), b"x"), "less than 1000 bytes a second"),
    "trailers that drip": (drip(chunks(("2800", BODY), end=b"0\r\n"), b"X: 1\r\n"), "less than 1000 bytes a second"),
    "a redirect that drips": (drip(b"HTTP/1.1 302 Found\r\nLocation: ", b"x"), "less than 1000 bytes a second"),
    "silence after the headers": (drip(reply(body=b"", length="9"), b""), "no data for 0.5 seconds, 2 times in a row"),
    "redirect to itself": (moved("HERE/a.zip"), "redirects more than 10 times"),
    "redirect to nothing": (moved(" "), "redirects more than 10 times"),
    "redirect without end": (moved("x/y"), "redirects more than 10 times"),
    "redirect to a file": (moved("file:///etc/passwd"), "redirects to 'file:///etc/passwd', which is not followed"),
    "redirect to ftp": (moved("ftp://127.0.0.1/a"), "redirects to 'ftp://127.0.0.1/a', which is not followed"),
    "redirect to data": (moved("data:text/plain,abc"), "redirects to 'data:text/plain,abc', which is not followed"),
    "redirect to a scheme of none": (moved("x:y"), "redirects to 'x:y', which is not followed"),
    "redirect to half an address": (moved("http://[::1"), "no answer that can be read"),
    "redirect to no host": (moved("http://"), "redirects more than 10 times"),
    "redirect to dots": (moved("http://a..b/"), "no answer that can be read"),
    "redirect to no port": (moved("http://127.0.0.1:99999999/"), "no answer that can be read|cannot be reached"),
    "redirect to no letters": (moved("http://127.0.0.1/\xff\xfe"), "no answer that can be read"),
    "redirect to an escape": (moved("\x1b://a"), "redirects|answers 302|redirects more"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAIL)
def test_a_host_is_given_up_in_one_line(case, host, tmp_path):
    answer, says = FAIL[case]
    host.answers = [answer]
    started = time.monotonic()
    once = dataclasses.replace(QUICK, tries=1) if says.startswith("less than") else QUICK
    with pytest.raises(Unreachable, match=says) as error:
        transfer(f"{host.address}/a.zip", tmp_path / "a.zip", once, MOST)
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()
    assert not (tmp_path / "a.zip").exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= MOST + 200
    assert time.monotonic() - started < 5


WORK = {  # answers one after the other -> the whole file
    "a redirect with a body without end": [flood(reply("302 Found", b"", None, Location="/b")), reply()],
    "a redirect with packed zeros": [reply("302 Found", gzip.compress(bytes(10**6)), Location="/b",
                                           Content_Encoding="gzip"), reply()],
    "ten redirects": [*(moved(f"/{i}") for i in range(10)), reply()],
    "a relative redirect": [moved("../b?c"), reply()],
    "308": [moved("/b", "308 Permanent Redirect"), reply()],
    "no length": [reply(length=None)],
    "chunks": [chunks(("1400", BODY[:5120]), ("1400;x=y", BODY[5120:]))],
    "trailers": [chunks(("2800", BODY), end=b"0\r\nX: 1\r\n\r\n")],
    "an interim answer": [b"HTTP/1.1 100 Continue\r\n\r\n" + reply()],
    "hints": [reply(Link="</a>; rel=preload")],
    "HTTP/1.0": [reply().replace(b"HTTP/1.1", b"HTTP/1.0")],
    "no reason": [reply("200 ")],
    "more bytes behind the announced ones": [reply(body=BODY + b"more", length=str(len(BODY)))],
    "identity": [reply(Content_Encoding="identity")],
    "an ETag of 500 signs": [part_of(reply(ETag='"' + "x" * 500 + '"'), 99), reply()],
    "an ETag with a line break inside": [part_of(reply(ETag='"a\r\n b"'), 99), reply()],
    "an ETag that is not ASCII": [part_of(reply(ETag='"\xe9"'), 99), reply()],
    "a cut, no version stated": [part_of(reply(ETag=""), 99), reply(ETag="")],
    "a cut, a weak version": [part_of(reply(ETag='W/"1"'), 99), reply(ETag='W/"1"')],
    "a cut and 503": [part_of(reply(), 99), reply("503 Busy", b"")],
}  # fmt: skip


@pytest.mark.parametrize("case", WORK)
def test_what_is_allowed_works(case, host, tmp_path):
    """After a cut of an answer without a usable version, the rest is not asked for."""
    host.answers = [*WORK[case], reply()]
    transfer(f"{host.address}/a.zip", tmp_path / "a.zip", Patience(5, 3, 0.001), MOST)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert names(tmp_path) == ["a.zip"]
    assert host.sent < 50_000_000  # of a flood no more than what lies in buffers
    assert not any("Range" in asked for asked in host.asked) or case == "a cut and 503"


def test_https_is_not_left(monkeypatch, tmp_path):
    def send(_, request, **__):
        answer = requests.Response()
        answer.status_code, answer.raw, answer.url = 302, io.BytesIO(), request.url
        answer.headers["Location"] = "http://127.0.0.1:9/a"
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    monkeypatch.setattr("data_download.transfer.extract_cookies_to_jar", lambda *_: None)
    with pytest.raises(Unreachable, match=r"redirects to 'http://127\.0\.0\.1:9/a', which is not followed"):
        transfer("https://127.0.0.1:9/a", tmp_path / "a", QUICK)


def test_drops_of_a_file_do_not_count_as_progress(host, tmp_path):
    """A host that sends a little and breaks off, each time, would else be asked for ever."""
    host.answers = [
        reply(body=BODY[:9], length=str(len(BODY))),
        *(reply("206 Partial Content", BODY[n:n + 9], str(len(BODY) - n), Content_Range=f"bytes {n}-10239/10240")
          for n in range(9, 99, 9)),
    ]  # fmt: skip
    with pytest.raises(Unreachable, match="the connection broke, 3 times in a row; 27 bytes have arrived"):
        transfer(f"{host.address}/a.zip", tmp_path / "a.zip", Patience(1, 3, 0.001))


# -- the rest of a file ------------------------------------------------------------------------------------------------

HAVE = 1000
END = len(BODY) - 1


def rest(start=HAVE, end=END, whole: object = len(BODY), body: bytes | None = None, unit="bytes", **headers) -> bytes:
    headers = {"Content_Range": f"{unit} {start}-{end}/{whole}"} | headers
    return reply("206 Partial Content", BODY[start:end + 1] if body is None else body, **headers)  # fmt: skip


OTHER = BODY[::-1]
REST = {  # the first answer to a request for the rest -> whether what it brings is kept
    "the rest": (rest(), True),
    "the rest in chunks": (rest(body=b"2418\r\n" + BODY[HAVE:] + b"\r\n0\r\n\r\n", length=None,
                                Transfer_Encoding="chunked"), True),
    "a piece of the rest": (rest(end=HAVE + 99), True),
    "no ETag": (rest(ETag="", body=OTHER[HAVE:]), False),
    "another ETag": (rest(ETag='"two"', body=OTHER[HAVE:]), False),
    "a weak ETag": (rest(ETag='W/"one"', body=OTHER[HAVE:]), False),
    "a date in place of the ETag": (rest(ETag="", Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT"), False),
    "too early": (rest(start=HAVE - 1), False),
    "too late": (rest(start=HAVE + 1), False),
    "from the start": (rest(start=0), False),
    "beyond the end": (rest(end=END + 1), False),
    "ends before it starts": (rest(end=HAVE - 1, body=b""), False),
    "a file of another length": (rest(whole=len(BODY) + 1), False),
    "a file of unknown length": (rest(whole="*"), False),
    "lines as units": (rest(unit="lines"), False),
    "no range": (rest(Content_Range=""), False),
    "a range without numbers": (rest(Content_Range="bytes a-b/c"), False),
    "a range below zero": (rest(Content_Range=f"bytes -{HAVE}-{END}/{len(BODY)}"), False),
    "a range of 5000 digits": (rest(Content_Range=f"bytes {'9' * 5000}-{END}/{len(BODY)}"), False),
    "parts of a multipart": (rest(Content_Range="", Content_Type="multipart/byteranges; boundary=x"), False),
    "a length that is not the range's": (rest(body=BODY[HAVE:] + b"x"), False),
    "too little for its range": (rest(body=BODY[HAVE:-1]), False),
    "the whole file": (reply(), True),
    "416 with the length": (reply("416 Range Not Satisfiable", b"", Content_Range=f"bytes */{len(BODY)}"), False),
    "416 as if it were whole": (reply("416 Range Not Satisfiable", b"", Content_Range=f"bytes */{HAVE}"), False),
    "416 without a range": (reply("416 Range Not Satisfiable", b""), False),
}  # fmt: skip


def begun(folder: Path, version: bytes | None, part: bytes = BODY[:HAVE]) -> Path:
    (folder / "a.zip.part").write_bytes(part)
    if version is not None:
        (folder / "a.zip.version").write_bytes(version)
    return folder / "a.zip"


@pytest.mark.parametrize("case", REST)
def test_the_rest_is_of_the_same_file_or_it_starts_over(case, host, tmp_path):
    first, kept = REST[case]
    host.answers = [first, rest(start=HAVE + 100) if case == "a piece of the rest" else reply()]
    path = begun(tmp_path, f"{ETAG}\n{len(BODY)}".encode())
    transfer(f"{host.address}/a.zip", path, Patience(2, 3, 0.001, rate=1))
    assert path.read_bytes() == BODY
    assert names(tmp_path) == ["a.zip"]
    assert f"Range: bytes={HAVE}-" in host.asked[0]
    assert f"If-Range: {ETAG}" in host.asked[0]
    assert len(host.asked) == (1 if kept and case != "a piece of the rest" else 2)
    assert ("Range" in host.asked[-1]) == kept


VERSIONS = {
    "none": None,
    "empty": b"",
    "of before": ETAG.encode(),
    "no text": b"\xff\xfe\x00",
    "three lines": b'"one"\n10240\n\n',
    "a header of its own": b'"one"\r\nX: y\n10240',
    "no ETag": b"one\n10240",
    "weak": b'W/"one"\n10240',
    "a length of letters": b'"one"\nabc',
    "a length below zero": b'"one"\n-1',
    "a length of 5000 digits": b'"one"\n' + b"9" * 5000,
    "shorter than the part": b'"one"\n999',
}


@pytest.mark.parametrize("case", VERSIONS)
def test_a_part_of_no_known_version_starts_over(case, host, tmp_path):
    host.answers = [reply()]
    path = begun(tmp_path, VERSIONS[case], b"x" * HAVE)
    transfer(f"{host.address}/a.zip", path, QUICK)
    assert path.read_bytes() == BODY
    assert len(host.asked) == 1
    assert "Range" not in host.asked[0]


def test_a_part_that_is_whole_is_not_asked_for_again(host, tmp_path):
    transfer(f"{host.address}/a.zip", begun(tmp_path, f"{ETAG}\n{len(BODY)}".encode(), BODY), QUICK)
    assert names(tmp_path) == ["a.zip"]
    assert host.asked == []


# -- archives ----------------------------------------------------------------------------------------------------------


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "", pax=None) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.pax_headers = kind, size, link, pax or {}
    return info


def of(name: str, content: bytes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    return member(name, size=len(content)), io.BytesIO(content)


def tar_of(path: Path, *members: tarfile.TarInfo | tuple[tarfile.TarInfo, io.BytesIO]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member("a/good"))
        for info in members:
            archive.addfile(*(info if isinstance(info, tuple) else (info,)))


def raw_tar(path: Path, **fields: bytes) -> None:
    """A tar file of one member, whose header has these bytes at these places."""
    tar_of(path)
    header = bytearray(path.read_bytes()[:512])
    for place, content in fields.items():
        header[int(place[1:]) : int(place[1:]) + len(content)] = content
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(bytes(header) + bytes(40_960))


def zip_of(path: Path, *entries: tuple[str, bytes], mode: int = 0o100644, **changes: object) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/good", b"")
        for name, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr = name, mode << 16
            archive.writestr(info, content)


def patched(path: Path, old: bytes, new: bytes, name: str, times: int = -1) -> None:
    """A zip file of one file of zeros, and then with other bytes in it."""
    zip_of(path, (name, bytes(ZEROS)))
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, times))


UNSAFE, LIMIT, DAMAGED = "leads out of the folder; nothing was unpacked", "unpacked, the limit of this set", "damaged"
BLOCKED = "cannot be unpacked|damaged archive"
ARCHIVES = {  # what is in it -> what is said
    "zip ..": (".zip", lambda p: zip_of(p, ("..", b"x")), UNSAFE),
    "zip ../x": (".zip", lambda p: zip_of(p, ("../x", b"x")), UNSAFE),
    "zip a/../x, which stays inside": (".zip", lambda p: zip_of(p, ("a/../x", b"x")), UNSAFE),
    "zip a/../../x": (".zip", lambda p: zip_of(p, ("a/../../x", b"x")), UNSAFE),
    "zip /x": (".zip", lambda p: zip_of(p, ("/x", b"x")), UNSAFE),
    "zip //x": (".zip", lambda p: zip_of(p, ("//x", b"x")), UNSAFE),
    "zip without a name": (".zip", lambda p: zip_of(p, ("", b"x")), UNSAFE),
    "zip .": (".zip", lambda p: zip_of(p, (".", b"x")), UNSAFE),
    "zip /": (".zip", lambda p: zip_of(p, ("/", b"")), UNSAFE),
    "zip ../": (".zip", lambda p: zip_of(p, ("../", b"")), UNSAFE),
    "zip a link": (".zip", lambda p: zip_of(p, ("a/x", b"/etc/passwd"), mode=0o120777), UNSAFE),
    "zip a name of 300 signs": (".zip", lambda p: zip_of(p, ("a/" + "x" * 300, b"x")), BLOCKED),
    "zip a file that is a folder too": (".zip", lambda p: zip_of(p, ("a/x", b"x"), ("a/x/y", b"y")), BLOCKED),
    "zip a folder that is a file too": (".zip", lambda p: zip_of(p, ("a/x/y", b"y"), ("a/x", b"x")), BLOCKED),
    "zip a bomb": (".zip", lambda p: zip_of(p, ("a/x", bytes(2 * MOST))), LIMIT),
    "zip many nothings": (".zip", lambda p: zip_of(p, *((f"a/{i}", b"") for i in range(99))), LIMIT),
    "zip that says 0 bytes": (".zip", lambda p: patched(p, ZEROS.to_bytes(4, "little"), bytes(4), "a/x"), DAMAGED),
    "zip a name that is no text": (".zip", lambda p: patched(p, b"\xc3\xa9", b"\xff\xfe", "a/\xe9"), DAMAGED),
    "zip of two names": (".zip", lambda p: patched(p, b"a/x", b"a/y", "a/x", 1), DAMAGED),
    "zip of nothing": (".zip", lambda p: p.write_bytes(b"PK\5\6" + bytes(18)), "it contains no a"),
    "tar ..": (".tar", lambda p: tar_of(p, member("..")), UNSAFE),
    "tar ../x": (".tar", lambda p: tar_of(p, member("../x")), UNSAFE),
    "tar a/../x, which stays inside": (".tar", lambda p: tar_of(p, member("a/../x")), UNSAFE),
    "tar /x": (".tar", lambda p: tar_of(p, member("/x")), UNSAFE),
    "tar .": (".tar", lambda p: tar_of(p, member(".")), UNSAFE),
    "tar without a name": (".tar", lambda p: raw_tar(p, _0=bytes(99)), UNSAFE),
    "tar a name from pax": (".tar", lambda p: tar_of(p, member("x", pax={"path": "../../x"})), UNSAFE),
    "tar a null in the name": (".tar", lambda p: tar_of(p, member("x", pax={"path": "a/x\0y"})), BLOCKED),
    "tar a name of 300 signs": (".tar", lambda p: tar_of(p, member("a/" + "x" * 300)), BLOCKED),
    "tar a link": (".tar", lambda p: tar_of(p, member("a/x", tarfile.SYMTYPE, link="good")), UNSAFE),
    "tar a hard link": (".tar", lambda p: tar_of(p, member("a/x", tarfile.LNKTYPE, link="a/good")), UNSAFE),
    "tar a hard link to itself": (".tar", lambda p: tar_of(p, member("a/x", tarfile.LNKTYPE, link="a/x")), UNSAFE),
    "tar a fifo": (".tar", lambda p: tar_of(p, member("a/x", tarfile.FIFOTYPE)), UNSAFE),
    "tar a device": (".tar", lambda p: tar_of(p, member("a/x", tarfile.CHRTYPE)), UNSAFE),
    "tar a disk": (".tar", lambda p: tar_of(p, member("a/x", tarfile.BLKTYPE)), UNSAFE),
    "tar a file that is a folder too": (".tar", lambda p: tar_of(p, member("a/x"), member("a/x/y")), BLOCKED),
    "tar a folder that is a file too": (".tar", lambda p: tar_of(p, member("a/x/y"), member("a/x")), BLOCKED),
    "tar of size -512": (".tar", lambda p: raw_tar(p, _124=b"\xff" * 10 + b"\xfe\x00"), "has -512 bytes"),
    "tar of pax size -1": (".tar", lambda p: tar_of(p, member("a/x", pax={"size": "-1"})), "has -1 bytes|damaged"),
    "tar of pax size 10**30": (".tar", lambda p: tar_of(p, member("a/x", pax={"size": "1" + "0" * 30})), LIMIT),
    "tar of octal letters": (".tar", lambda p: raw_tar(p, _124=b"zzzz"), DAMAGED),
    "tar a bomb": (".tar.gz", lambda p: tar(p, {"a/x": bytes(2 * MOST)}), LIMIT),
    "tar many nothings": (".tar", lambda p: tar_of(p, *(member(f"a/{i}") for i in range(99))), LIMIT),
    "tar that is a zip": (".tar", lambda p: zip_of(p), DAMAGED),
    "tar of zeros": (".tar", lambda p: p.write_bytes(bytes(20_480)), "it contains no a"),
    "tar.gz cut": (".tar.gz", lambda p: p.write_bytes(tar(p, {"a/x": BODY}) or p.read_bytes()[:-99]), DAMAGED),
    "tgz that is a page": (".tgz", lambda p: p.write_bytes(b"<html>"), DAMAGED),
    "gz a bomb": (".gz", lambda p: p.write_bytes(gzip.compress(bytes(2 * MOST))), LIMIT),
    "gz of nothing": (".gz", lambda p: p.write_bytes(b""), "it contains no a"),
    "gz with another sum": (".gz", lambda p: p.write_bytes(gzip.compress(b"x")[:-8] + bytes(8)), DAMAGED),
    "7z": (".7z", lambda p: p.write_bytes(b"7z"), "no way to unpack it"),
}  # fmt: skip


def prepared(folder: Path, ending: str, write: Callable[[Path], object]) -> File:
    file = File(f"set{ending}", None, None, unpack={"a": "a"})
    file.path(folder).parent.mkdir(parents=True)
    write(file.path(folder))
    return file


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_is_refused_in_one_line_and_leaves_nothing(case, tmp_path):
    ending, write, says = ARCHIVES[case]
    folder = tmp_path / "1" / "set"
    file = prepared(folder, ending, write)
    started = time.monotonic()
    with pytest.raises(DownloadError, match=says) as error:
        unpack(file, folder, MOST)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 5
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["1", "set", "downloads", file.name]


GOOD = {
    "zip with ./": (".zip", lambda p: zip_of(p, ("./", b""), ("./a/x", b"x"))),
    "zip with a/./x": (".zip", lambda p: zip_of(p, ("a/./x", b"x"))),
    "zip twice the same, the last counts": (".zip", lambda p: zip_of(p, ("a/x", b"y"), ("a/x", b"x"))),
    "zip a device, as a file": (".zip", lambda p: zip_of(p, ("a/x", b"x"), mode=stat.S_IFCHR | 0o644)),
    "tar with ./": (".tar", lambda p: tar_of(p, member("./", tarfile.DIRTYPE), of("./a/x", b"x"))),
    "tar twice the same, the last counts": (".tar", lambda p: tar_of(p, of("a/x", b"y"), of("a/x", b"x"))),
    "tar of a wrong pax size": (".tar", lambda p: tar_of(p, of("a/x", b"x"), member("a/y", pax={"size": "abc"}))),
    "tar.gz": (".tar.gz", lambda p: tar(p, {"a/x": b"x"})),
    "tgz": (".tgz", lambda p: tar(p, {"a/x": b"x"})),
    "a folder around": (".zip", lambda p: zipped(p, {"set/a/x": b"x"})),
    "Apple's own folder": (".zip", lambda p: zipped(p, {"__MACOSX/a/._x": b"y", "set/a/x": b"x"})),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", GOOD)
def test_an_odd_archive_is_unpacked(case, tmp_path):
    unpack(prepared(tmp_path, *GOOD[case]), tmp_path, MOST)
    assert (tmp_path / "a" / "x").read_bytes() == b"x"
    assert names(tmp_path) == ["a", "downloads"]


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_names_that_differ_in_case_or_composition_stay_apart(ending, tmp_path):
    kinds = {name: name.encode() for name in ("A.png", "a.png", "\xe9.png", "e\u0301.png", "\u202egnp.x", "\U0001f600")}
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        pytest.skip("this disk does not tell case apart: the count of the files does")
    write, members = {".zip": zipped, ".tar": tar}[ending], {f"a/{name}": content for name, content in kinds.items()}
    file = prepared(tmp_path, ending, lambda path: write(path, members))
    unpack(file, tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == kinds


RARS = {  # what a program does -> what is said
    "a link": ("os.symlink('/', 'a/x')", UNSAFE),
    "a link that goes nowhere": ("os.symlink('nowhere', 'a/x')", UNSAFE),
    "a hard link": ("open('a/x', 'w').close(); os.link('a/x', 'a/y')", UNSAFE),
    "a fifo": ("os.mkfifo('a/x')", UNSAFE),
    "../x": ("open('../x', 'w').close()", UNSAFE),
    "../../../x": ("open('../../../x', 'w').close()", UNSAFE),
    "a bomb": (f"open('a/x', 'wb').write(bytes({2 * MOST}))", LIMIT),
    "many nothings": ("[open(f'a/{i}', 'w').close() for i in range(99)]", LIMIT),
    "a bomb without end": (f"open('a/x', 'wb').write(bytes({2 * MOST})); import time; time.sleep(60)", LIMIT),
    "a question": ("input('password? ')", "unrar cannot unpack it: EOFError"),
    "a question on its terminal": ("open('/dev/tty').read()", "unrar cannot unpack it: OSError"),
    "no last word": ("sys.exit(3)", "unrar cannot unpack it: status 3"),
    "words that are no text": ("sys.stdout.buffer.write(b'\\xff bad'); sys.exit(3)", "unrar cannot unpack it: . bad"),
    "killed": ("os.kill(os.getpid(), 9)", "unrar cannot unpack it: status -9"),
    "another folder": ("os.rename('a', 'b')", "it contains no a"),
}  # fmt: skip


@needs_scripts
@pytest.mark.parametrize("case", RARS)
def test_what_a_program_unpacks_is_looked_at(case, tmp_path, monkeypatch):
    code, says = RARS[case]
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    tool(tmp_path / "programs", "unrar", f"os.mkdir('a'); {code}")
    file = prepared(tmp_path / "set", ".rar", lambda path: path.write_bytes(b"Rar!"))
    started = time.monotonic()
    with pytest.raises(DownloadError, match=says) as error:
        unpack(file, tmp_path / "set", MOST)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 10
    assert names(tmp_path / "set") == ["downloads"]
    assert names(tmp_path) == ["programs", "set"]


@needs_scripts
def test_a_program_gets_nothing_to_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tool(tmp_path, "unrar", "os.mkdir('a'); os.getsid(0) == os.getpid() or sys.exit('a terminal'); input('password? ')")
    file = prepared(tmp_path / "set", ".rar", lambda path: path.write_bytes(b"Rar!"))
    before, (read, write) = os.dup(0), os.pipe()
    try:
        os.write(write, b"what is typed\n")
        os.dup2(read, 0)
        with pytest.raises(DownloadError, match="unrar cannot unpack it: EOFError"):
            unpack(file, tmp_path / "set")
    finally:
        os.dup2(before, 0)
        for number in (before, read, write):
            os.close(number)


# -- what lies in the folder already -----------------------------------------------------------------------------------

RECORDS = {
    "a list": "[]",
    "a number": "1",
    "nothing": "null",
    "a text": '"x"',
    "numbers": '{"a": 1}',
    "empty ones": '{"a": {}}',
    "a sum of numbers": '{"a": {"sum": 5, "done": true}}',
    "a sum of no kind": f'{{"a": {{"sum": "crc:{"0" * 32}", "done": true}}}}',
    "a sum of letters": f'{{"a": {{"sum": "md5:{"z" * 32}", "done": true}}}}',
    "done by words": f'{{"a": {{"sum": "md5:{"0" * 32}", "done": "no"}}}}',
    "no end": "{",
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_of_another_form_is_named(case, tmp_path):
    content = RECORDS[case]
    (tmp_path / "downloaded.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DownloadError, match=r"downloaded\.json: damaged .*; delete it and run"):
        Record(tmp_path / "downloaded.json")


# -- mirrors, and which hosts answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base",
    ["", " ", "here", "/data", "file:///data", "ftp://a.b/c", "http://", "https:///c", "http://[::1", "http://a.b/c?d=e",
     "http://a.b/c#d", "http:a.b"],
)  # fmt: skip
def test_a_mirror_has_an_address(base):
    with pytest.raises(DownloadError, match="is no address of a folder; give --from https://HOST/FOLDER"):
        load("usps").mirrored(base)


ANSWERS = {
    "a byte": (rest(0, 0), "206 Partial Content"),
    "the whole file": (reply(), "200 OK"),
    "a refusal": (reply("403 Forbidden", b""), "403 Forbidden"),
    "a file of this machine": (moved("file:///etc/passwd"), "no answer: .* which is not followed"),
    "nothing": (b"", "no answer: the host cannot be reached"),
    "silence": (drip(b"HTTP/1.1 200 OK\r\n", b""), "no answer: (no data|less than 1 bytes a second) for 0.3 seconds"),
    "drops": (drip(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"), "no answer: less than 1 bytes a second for 0.3 seconds"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_host_answers_or_does_not(case, host):
    answer, says = ANSWERS[case]
    host.answers = [answer]
    assert re.fullmatch(says, answers(f"{host.address}/a", 0.3))
    assert "Range: bytes=0-0" in host.asked[0]
