"""Cityscapes: German streets, finely labelled, fetched by the official tool with your own login."""

import shutil
import subprocess
import sys
from pathlib import Path

from .errors import Unreachable
from .source import File, Source

PAGE = "https://www.cityscapes-dataset.com/downloads/"


def cs_download(file: File, path: Path) -> None:
    """csDownload of cityscapesscripts: asks for the login, goes on with a part of a file, compares the md5."""
    tool = shutil.which("csDownload") or shutil.which("csDownload", path=Path(sys.executable).parent)
    if tool is None:
        raise Unreachable("csDownload is not installed: python3 -m pip install cityscapesscripts")
    part = path.with_name("csDownload") / path.name
    part.parent.mkdir(parents=True, exist_ok=True)
    go_on = ["--resume"] if part.exists() else []
    done = subprocess.run([tool, "--destination_path", part.parent, *go_on, file.name])
    if done.returncode or not part.exists():
        raise Unreachable(f"csDownload failed with status {done.returncode}; if it repeats, delete {part}")
    part.replace(path)


SOURCE = Source(
    folder="cityscapes",
    page=PAGE,
    terms="free registration, non-commercial research",
    files=(
        File("leftImg8bit_trainvaltest.zip", None, 11_000_000_000, unpack={"leftImg8bit": "leftImg8bit"}, by_hand=PAGE),
        File("gtFine_trainvaltest.zip", None, 241_000_000, unpack={"gtFine": "gtFine"}, by_hand=PAGE),
    ),
    counts={
        "leftImg8bit/train/*/*_leftImg8bit.png": 2_975,
        "leftImg8bit/val/*/*_leftImg8bit.png": 500,
        "gtFine/train/*/*_gtFine_labelIds.png": 2_975,
        "gtFine/val/*/*_gtFine_labelIds.png": 500,
    },
    note="csDownload compares the packages with the md5 sums that the host gives it",
    fetch=cs_download,
)
