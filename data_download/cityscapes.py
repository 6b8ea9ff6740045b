"""Cityscapes: street scenes of German cities, finely labelled; the official tool downloads them with your own login."""

import shutil
import subprocess
import sys
from pathlib import Path

from .errors import Unreachable
from .source import File, Source

PAGE = "https://www.cityscapes-dataset.com/downloads/"
SPLITS = {"train": 2_975, "val": 500}


def cs_download(file: File, path: Path) -> None:
    """Runs csDownload of cityscapesscripts, which asks for the login, resumes a download and compares the md5 sum.

    Raises:
        Unreachable: if csDownload is not installed or fails.
    """
    tool = shutil.which("csDownload") or shutil.which("csDownload", path=Path(sys.executable).parent)
    if tool is None:
        raise Unreachable("csDownload is not installed: python3 -m pip install cityscapesscripts")
    part = path.with_name("csDownload") / path.name
    part.parent.mkdir(parents=True, exist_ok=True)
    resume = ["--resume"] if part.exists() else []
    done = subprocess.run([tool, "--destination_path", part.parent, *resume, file.name])
    if done.returncode or not part.exists():
        raise Unreachable(f"csDownload failed with status {done.returncode}; if it fails again, delete {part}")
    part.replace(path)


SOURCE = Source(
    folder="cityscapes",
    page=PAGE,
    terms="free registration, non-commercial research",
    files=(
        File("leftImg8bit_trainvaltest.zip", None, 11_000_000_000, unpack={"leftImg8bit": "leftImg8bit"}, by_hand=PAGE),
        File("gtFine_trainvaltest.zip", None, 241_000_000, unpack={"gtFine": "gtFine"}, by_hand=PAGE),
    ),
    most=20_000_000_000,
    counts={
        f"{folder}/{split}/*/*_{ending}.png": n
        for folder, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds"))
        for split, n in SPLITS.items()
    },
    note="csDownload compares the packages with the md5 sums of the host",
    fetch=cs_download,
)
