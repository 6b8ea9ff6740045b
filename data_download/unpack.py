"""Unpacks archives, and makes sure that nothing in them leaves the folder they are unpacked into, or fills the disk."""

import gzip
import lzma
import math
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from .disk import check_space, in_gb
from .errors import DownloadError
from .source import File

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, ValueError)
RAR_TOOLS = {"unrar": ["x", "-idq"], "bsdtar": ["-xf"], "7z": ["x", "-bd"], "unar": ["-q"]}
BLOCK = 4096  # bytes that a file takes at least, so that a limit on bytes is one on the number of files


def unpack(file: File, folder: Path, most: float = math.inf) -> None:
    """Unpacks the archive and moves the parts that `file.unpack` names into the folder of the set.

    Nothing is moved before the whole archive is unpacked.

    Raises:
        DownloadError: if the archive is damaged, its format is not supported, a part is missing, it is larger than
            `most` bytes unpacked, or it contains a link, a device, or a path that leads out of the folder.
    """
    archive, scratch = file.path(folder), folder / "unpacking"
    shutil.rmtree(scratch, ignore_errors=True)
    inner = scratch.joinpath(*"1234")  # so that what climbs out of it is still found and deleted
    inner.mkdir(parents=True)
    try:
        _extract(archive, inner, most)
        for part, place in file.unpack.items():
            _move(_find(archive, inner, part), folder / place)
    except DownloadError:
        raise
    except DAMAGED as error:
        why = str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        raise DownloadError(f"{archive}: damaged archive ({why}); delete it and run the command again") from error
    except RuntimeError as error:  # from zipfile: encrypted, or compressed by an unknown method
        what = " and ".join(f"{part} as {folder / place}" for part, place in file.unpack.items())
        raise DownloadError(f"{archive}: Python cannot unpack it ({error}); use another program: {what}") from error
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise
        raise DownloadError(f"{archive}: cannot be unpacked ({error}); delete it and run the command again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, scratch: Path, most: float) -> None:
    match archive.suffixes[-2:]:
        case [".tar", _] | [*_, ".tar" | ".tgz"]:
            if not hasattr(tarfile, "data_filter"):
                raise DownloadError("unpacking a tar file safely needs Python 3.11.4 or newer")
            with tarfile.open(archive) as tar:
                _extract_tar(archive, tar, scratch, most)
        case [*_, ".zip"]:
            with zipfile.ZipFile(archive) as content:
                _extract_zip(archive, content, scratch, most)
        case [*_, ".rar"]:
            _extract_rar(archive, scratch, most)
        case [*_, ".gz"]:
            with gzip.open(archive) as content, (scratch / archive.stem).open("wb") as file:
                while chunk := content.read(1 << 20):
                    _check_size(archive, file.tell() + len(chunk), most)
                    file.write(chunk)
        case _:
            raise DownloadError(f"{archive}: no way to unpack it")


def _extract_tar(archive: Path, tar: tarfile.TarFile, scratch: Path, most: float) -> None:
    size = 0

    def inside(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        """Python's own filter, and no links: a chain of long links can lead it out of the folder (CVE-2025-4517)."""
        nonlocal size
        _check_name(archive, member.name, member.isdir(), member.issym() or member.islnk())
        if member.size < 0:  # its next member would be itself, without end (CVE-2025-8194)
            raise tarfile.ReadError(f"{member.name} has {member.size} bytes")
        size += max(member.size, BLOCK)
        _check_size(archive, size, most)
        return tarfile.data_filter(member, path)

    try:
        tar.extractall(scratch, _bar(tar, archive), filter=inside)
    except tarfile.FilterError as error:
        raise _unsafe(archive, error.tarinfo.name) from error


def _extract_zip(archive: Path, content: zipfile.ZipFile, scratch: Path, most: float) -> None:
    for member in content.infolist():
        _check_name(archive, member.filename, member.filename.endswith("/"), stat.S_ISLNK(member.external_attr >> 16))
    size = sum(max(member.file_size, BLOCK) for member in content.infolist())  # zipfile reads no more than this
    _check_size(archive, size, most)
    check_space(scratch, sum(member.file_size for member in content.infolist()))
    for member in _bar(content.infolist(), archive):
        content.extract(member, scratch)


def _extract_rar(archive: Path, scratch: Path, most: float) -> None:
    tool = next((tool for tool in RAR_TOOLS if shutil.which(tool)), None)
    if tool is None:
        raise DownloadError(f"{archive}: unpacking a .rar file needs one of these programs: {', '.join(RAR_TOOLS)}")
    print(f"unpacking {archive.name} with {tool}")
    with subprocess.Popen(
        [tool, *RAR_TOOLS[tool], archive.resolve()],
        cwd=scratch,
        stdin=subprocess.DEVNULL,  # none of them waits for a password, or for leave to overwrite,
        start_new_session=True,  # not on a terminal either
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired, FileNotFoundError):  # files come and go
                    said, _ = process.communicate(timeout=1)
                    break
                _check_tree(archive, scratch, most)
        finally:
            process.kill()
    if process.returncode:
        lines = said.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), f"status {process.returncode}")
        raise DownloadError(f"{archive}: {tool} cannot unpack it: {last}")
    _check_tree(archive, scratch, most)


def _check_tree(archive: Path, scratch: Path, most: float) -> None:
    """Makes sure, after a program that cannot be asked beforehand, that there are but files and folders, in scratch."""
    size = 0
    for path in scratch.parents[3].rglob("*"):
        if path == scratch or path in scratch.parents:
            continue
        state = path.lstat()
        plain = stat.S_ISDIR(state.st_mode) or (stat.S_ISREG(state.st_mode) and state.st_nlink == 1)
        if not plain or not path.is_relative_to(scratch):
            raise _unsafe(archive, str(path.relative_to(scratch.parents[3])).removeprefix("1/2/3/4/"))
        size += max(state.st_size, BLOCK)
    _check_size(archive, size, most)


def _check_name(archive: Path, name: str, folder: bool, link: bool) -> None:
    parts = PurePosixPath(name).parts  # without "."
    if link or name.startswith("/") or ".." in parts or not (parts or folder):
        raise _unsafe(archive, name)


def _check_size(archive: Path, size: int, most: float) -> None:
    if size > most:
        raise DownloadError(f"{archive}: more than {in_gb(most)} unpacked, the limit of this set: do not trust it")


def _unsafe(archive: Path, name: str) -> DownloadError:
    what = "is a link, no plain file, or leads out of the folder; nothing was unpacked, do not trust this archive"
    return DownloadError(f"{archive}: {name!r} {what}")


def _bar(members, archive: Path) -> tqdm:
    return tqdm(members, desc=f"unpacking {archive.name}", unit=" files")


def _find(archive: Path, scratch: Path, part: str) -> Path:
    around = sorted(path for path in scratch.iterdir() if path.is_dir() and path.name != "__MACOSX")
    for found in (scratch / part, *(path / part for path in around)):
        if found.exists():
            return found
    raise DownloadError(f"{archive}: it contains no {part}; is it the right file?")


def _move(found: Path, place: Path) -> None:
    """Moves a file or a folder; a folder that exists already receives the files one by one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if found.is_dir() and place.exists():
        for path in found.iterdir():
            _move(path, place / path.name)
    else:
        found.replace(place)
