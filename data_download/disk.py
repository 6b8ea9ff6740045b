"""Free space on the disk, and how sizes are printed."""

import shutil
from pathlib import Path

from .errors import DownloadError


def in_gb(size: int) -> str:
    """Returns a number of bytes as hosts state sizes, where 1 GB is 10^9 bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def free_space(folder: Path) -> int:
    """Returns how many bytes are free on the disk of the folder."""
    return shutil.disk_usage(folder).free


def check_space(folder: Path, need: int) -> None:
    """Makes sure that `need` bytes fit on the disk of the folder.

    Raises:
        DownloadError: if fewer bytes are free.
    """
    free = free_space(folder)
    if need > free:
        sizes = f"{in_gb(need)} are needed and {in_gb(free)} are free"
        raise DownloadError(f"{folder}: {sizes}; free some space, or choose another folder with --to")
