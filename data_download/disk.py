"""Space on the disk."""

import shutil
from pathlib import Path

from .errors import DownloadError


def in_gb(size: int) -> str:
    """A number of bytes, as hosts give them: 1 GB is 10^9."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def free_space(folder: Path) -> int:
    """Bytes free where the folder is."""
    return shutil.disk_usage(folder).free


def check_space(folder: Path, need: int) -> None:
    """
    Raises:
        DownloadError: if fewer bytes are free where the folder is.
    """
    free = free_space(folder)
    if need > free:
        raise DownloadError(
            f"{folder}: {in_gb(need)} are needed and {in_gb(free)} are free; make room, or give another --to"
        )
