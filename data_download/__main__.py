"""The command that lists the public data sets and downloads them."""

import argparse
import os
import sys
from pathlib import Path

from .counts import found
from .disk import in_gb
from .errors import DownloadError
from .source import NAMES, load

COMMAND = "uda download" if __package__ == "uda_core.download" else "python -m data_download"


def main(argv: list[str] | None = None) -> int:
    """Runs `python -m data_download` and returns its exit status, which is that of `run`."""
    parser = _Parser(prog=COMMAND)
    add(parser.add_subparsers())
    args = parser.parse_args(["download", *(sys.argv[1:] if argv is None else argv)])
    return args.command(args)


def add(commands) -> None:
    """Adds the command `download` to the subparsers of a command line."""
    about = "list the public data sets, or download one"
    parser = commands.add_parser("download", prog=COMMAND, help=about, description=f"{about.capitalize()}.")
    parser.add_argument("name", nargs="?", default="list", metavar="NAME", help="a data set, or list (the default)")
    parser.add_argument("--to", metavar="DIR", help="the data folder (default: $UDA_DATA, else data)")
    about = "a mirror: the set's files are taken from this address by their names, and held to the same sums and counts"
    parser.add_argument("--from", dest="mirror", metavar="URL", help=about)
    about = "print which hosts answer (of all sets, or of NAME's), a line each; nothing is downloaded"
    parser.add_argument("--probe", action="store_true", help=about)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Lists the data sets or downloads one.

    Returns the exit status: 0 if it succeeds, 2 after an error, which is one line on stderr, 130 after Ctrl-C.
    """
    try:
        data = data_folder(args.to)
        if args.probe:
            _engine().probe(NAMES if args.name == "list" else (args.name,), args.mirror)
        elif args.name == "list" and args.mirror is None:
            show(data)
        else:
            _engine().get(args.name, data, mirror=args.mirror)
        return 0
    except (DownloadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues with what has arrived", file=sys.stderr)
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
    """Prints a line for each data set: its size, whether it is in the data folder, its terms, and if it lacks sums."""
    for name in NAMES:
        source = load(name)
        sizes = [file.size for file in source.files]
        size = in_gb(sum(size or 0 for size in sizes)) if any(sizes) else "size not stated"
        there = "found" if found(source, data) else "not there"
        trust = "; no published sum: the first download is trusted" if source.unsummed() else ""
        print(f"{name:12}{size:>16}  {there:11}{source.terms}{trust}")


def _engine():
    try:
        from urllib3 import HTTPResponse

        from . import get
    except ModuleNotFoundError as error:
        if error.name not in ("requests", "filelock", "urllib3"):
            raise
        raise DownloadError(f"{error.name} is not installed: python3 -m pip install {error.name}") from error
    if not hasattr(HTTPResponse, "read1"):
        raise DownloadError("urllib3 is too old: python3 -m pip install 'urllib3>=2.2'")
    return get


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """Prints the mistake in one line, without the usage above it, and exits with status 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


if __name__ == "__main__":
    sys.exit(main())
