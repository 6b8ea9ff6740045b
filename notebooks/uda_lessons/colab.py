"""Each lesson opens alone in Colab. The address it installs from stands here and nowhere else; a fork rewrites it with

    uda colab --repository YOU/YOUR-FORK --tag v0.1.0

which also rewrites the first cell of every notebook and every Colab badge.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda_core.errors import UserError
from uda_core.lab.main import add_command

PUBLISHED = "OWNER/uda-lessons@v0.1.0"  # repository and tag; OWNER is a placeholder, replaced by the command above

NAME = r"[\w.-]+"
CONSTANT = re.compile(rf'^PUBLISHED = "{NAME}/{NAME}@{NAME}"', re.MULTILINE)
ARCHIVE = re.compile(rf"https://github\.com/{NAME}/{NAME}/archive/{NAME}\.zip")
BADGE = re.compile(rf"https://colab\.research\.google\.com/github/{NAME}/{NAME}/blob/{NAME}/notebooks/")


def first_cell() -> str:
    """The first code cell of every notebook: installs uda_core and uda_lessons, one package, where they are missing.

    Never torch. UDA_CORE_SOURCE, a path or an address, overrides where it comes from. In Colab the second pip line
    finds what the board needs installed and does nothing.
    """
    return f"""\
# In Colab this cell fetches the lesson's package and leaves torch alone. Where uda_core is installed it does nothing.
import os
from importlib.util import find_spec

if not find_spec("uda_core"):
    source = os.environ.get("UDA_CORE_SOURCE", "{_archive(PUBLISHED)}")
    %pip install --quiet --no-deps "{{source}}"
    %pip install --quiet anywidget umap-learn"""


def badge(notebook: str) -> str:
    """Markdown for a badge that opens a notebook in Colab; `notebook` is its name without folder and ending."""
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({image})]({_badge_base(PUBLISHED)}{notebook}.ipynb)"


def rewrite(root: Path, published: str) -> list[Path]:
    """Point the constant, the notebooks and README.md in `root` to `published` ("owner/name@tag").

    Returns the files that changed.

    Raises:
        UserError: if `published` is not of that form, or `root` is not a clone of the lessons.
    """
    if not re.fullmatch(rf"{NAME}/{NAME}@{NAME}", published):
        raise UserError(f"expected --repository OWNER/NAME and a --tag without slashes or spaces, got {published!r}")
    notebooks = root / "notebooks"
    files = [notebooks / "uda_lessons" / "colab.py", root / "README.md", *sorted(notebooks.glob("[0-9]*.ipynb"))]
    if missing := [path for path in files if not path.is_file()]:
        raise UserError(f"{missing[0]} is not there; run this inside a clone of the lessons")
    changed = []
    for path in files:
        old = path.read_bytes().decode()
        new = BADGE.sub(_badge_base(published), ARCHIVE.sub(_archive(published), old))
        if path.suffix == ".py":
            new = CONSTANT.sub(f'PUBLISHED = "{published}"', new)
        if new != old:
            path.write_bytes(new.encode())
            changed.append(path)
    return changed


def _archive(published: str) -> str:
    repository, tag = published.split("@")
    return f"https://github.com/{repository}/archive/{tag}.zip"


def _badge_base(published: str) -> str:
    repository, tag = published.split("@")
    return f"https://colab.research.google.com/github/{repository}/blob/{tag}/notebooks/"


def add(commands: Any) -> None:
    """Add `colab` to the subparsers of `uda`."""
    about, example = "point the lessons in a clone to your fork", "colab --repository you/your-fork --tag v0.1.0"
    _describe(add_command(commands, "colab", _rewrite_and_list, about, example))


def main(argv: Sequence[str] | None = None) -> int:
    """The same by `python -m uda_lessons.colab`; the exit status: 0, or 2 for bad input (one line on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m uda_lessons.colab", description="Point the lessons to your fork.")
    _describe(parser)
    try:
        return _rewrite_and_list(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME", help="your repository on GitHub")
    parser.add_argument("--tag", required=True, help="the tag, branch or commit to install from")
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="folder of the clone (default: here)")


def _rewrite_and_list(args: argparse.Namespace) -> int:
    changed = rewrite(args.root, f"{args.repository}@{args.tag}")
    print("\n".join(f"rewrote {path}" for path in changed) or "nothing to rewrite: everything points there already")
    return 0


if __name__ == "__main__":
    sys.exit(main())
