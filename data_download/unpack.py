"""Unpacks archives, and makes sure that nothing in them leaves the folder they are unpacked into."""

import gzip
import lzma
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from .errors import DownloadError
from .source import File

DAMAGED = (tarfile.ReadError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)
RAR_TOOLS = {"unrar": ["x", "-idq"], "bsdtar": ["-xf"], "7z": ["x", "-bd"], "unar": ["-q"]}


def unpack(file: File, folder: Path) -> None:
    """Unpacks the archive and moves the parts that `file.unpack` names into the folder of the set.

    Nothing is moved before the whole archive is unpacked.

    Raises:
        DownloadError: if the archive is damaged, its format is not supported, a part is missing, or it contains a link
            or a path that leads out of the folder.
    """
    archive, scratch = file.path(folder), folder / "unpacking"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _extract(archive, scratch)
        for part, place in file.unpack.items():
            _move(_find(archive, scratch, part), folder / place)
    except DAMAGED as error:
        why = str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        raise DownloadError(f"{archive}: damaged archive ({why}); delete it and run the command again") from error
    except RuntimeError as error:  # from zipfile: encrypted, or compressed by an unknown method
        what = " and ".join(f"{part} as {folder / place}" for part, place in file.unpack.items())
        raise DownloadError(f"{archive}: Python cannot unpack it ({error}); use another program: {what}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, scratch: Path) -> None:
    match archive.suffixes[-2:]:
        case [".tar", _] | [*_, ".tar" | ".tgz"]:
            if not hasattr(tarfile, "data_filter"):
                raise DownloadError("unpacking a tar file safely needs Python 3.11.4 or newer")
            with tarfile.open(archive) as tar:
                _extract_tar(archive, tar, scratch)
        case [*_, ".zip"]:
            with zipfile.ZipFile(archive) as content:
                _extract_zip(archive, content, scratch)
        case [*_, ".rar"]:
            _extract_rar(archive, scratch)
        case [*_, ".gz"]:
            with gzip.open(archive) as content, (scratch / archive.stem).open("wb") as file:
                shutil.copyfileobj(content, file)
        case _:
            raise ValueError(f"no way to unpack {archive}")


def _extract_tar(archive: Path, tar: tarfile.TarFile, scratch: Path) -> None:
    def inside(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        """Python's own filter, and no links: a chain of long links can lead it out of the folder (CVE-2025-4517)."""
        if member.name.startswith("/") or member.issym() or member.islnk():
            raise _unsafe(archive, member.name)
        return tarfile.data_filter(member, path)

    try:
        tar.extractall(scratch, _bar(tar, archive), filter=inside)
    except tarfile.FilterError as error:
        raise _unsafe(archive, error.tarinfo.name) from error


def _extract_zip(archive: Path, content: zipfile.ZipFile, scratch: Path) -> None:
    for member in content.infolist():
        path = (scratch / member.filename).resolve()
        if not path.is_relative_to(scratch.resolve()) or stat.S_ISLNK(member.external_attr >> 16):
            raise _unsafe(archive, member.filename)
    for member in _bar(content.infolist(), archive):
        content.extract(member, scratch)


def _extract_rar(archive: Path, scratch: Path) -> None:
    tool = next((tool for tool in RAR_TOOLS if shutil.which(tool)), None)
    if tool is None:
        raise DownloadError(f"{archive}: unpacking a .rar file needs one of these programs: {', '.join(RAR_TOOLS)}")
    print(f"unpacking {archive.name} with {tool}")
    done = subprocess.run([tool, *RAR_TOOLS[tool], archive.resolve()], cwd=scratch, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
        raise DownloadError(f"{archive}: {tool} cannot unpack it: {said}")
    for path in scratch.rglob("*"):
        if path.is_symlink():
            raise _unsafe(archive, path.relative_to(scratch))


def _unsafe(archive: Path, name: object) -> DownloadError:
    what = "is a link or leads out of the folder; nothing was unpacked, do not trust this archive"
    return DownloadError(f"{archive}: {name} {what}")


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
