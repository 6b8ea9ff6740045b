"""`python -m data_download`: list the public data sets, or get one."""

import argparse
import os
import sys
from pathlib import Path

from .counts import found
from .disk import in_gb
from .errors import DownloadError
from .source import NAMES, load


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 2 if it cannot be done (one line on stderr), 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
    try:
        data = data_folder(args.to)
        if args.name == "list":
            show(data)
        else:
            _engine()(args.name, data)
        return 0
    except (DownloadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what has arrived is kept, the same command goes on from there", file=sys.stderr)
        return 130


def data_folder(to: str | None) -> Path:
    """The folder that holds the data sets: `to`, else the environment variable UDA_DATA, else `data`.

    Raises:
        DownloadError: if UDA_DATA names a folder that does not exist; `to` may name a new one.
    """
    given = os.environ.get("UDA_DATA")
    if given and not to and not Path(given).is_dir():
        raise DownloadError(f"{given}: no such folder; UDA_DATA names the folder with the data sets")
    return Path(to or given or "data")


def show(data: Path) -> None:
    """Print every set, with its size, its terms and whether it is in the data folder."""
    for name in NAMES:
        source = load(name)
        sizes = [file.size for file in source.files]
        size = in_gb(sum(size or 0 for size in sizes)) if any(sizes) else "size not stated"
        there = "found" if found(source, data) else "not there"
        print(f"{name:12}{size:>16}  {there:11}{source.terms}")


def _engine():
    try:
        from .get import get
    except ModuleNotFoundError as error:
        if error.name not in ("requests", "filelock"):
            raise
        raise DownloadError(f'{error.name} is not installed: python3 -m pip install -e ".[download]"') from error
    return get


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_download", description=__doc__)
    parser.add_argument("name", nargs="?", default="list", help="a set, or list (default) to see which there are")
    parser.add_argument("--to", metavar="DIR", help="the data folder; by default UDA_DATA, else data")
    return parser


if __name__ == "__main__":
    sys.exit(main())
