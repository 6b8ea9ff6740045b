"""Each lesson opens alone in Colab. The repository it comes from stands here and nowhere else; a fork names its own by

    uda colab --repository YOU/YOUR-FORK --tag v0.1.0

which rewrites the first cell of every notebook, the badges, README's addresses and the links in pyproject.toml. As long
as none is named there are no badges, and the first cell takes a wheel that lies beside the notebook.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda_core.errors import UserError
from uda_core.files import write_whole
from uda_core.lab.main import add_command

PUBLISHED = "OWNER/uda-lessons@v0.1.0"  # repository and tag; as long as the owner is OWNER, none is named

NAME = r"[\w.-]+"
CONSTANT = re.compile(rf'^PUBLISHED = "({NAME}/{NAME}@{NAME})"', re.MULTILINE)
BADGE = re.compile(r"\s*\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
ROW = re.compile(r"^\| \[[^]]*\]\(notebooks/(\S+)\.ipynb\)", re.MULTILINE)  # of a lesson, in README's table
LINK = re.compile(r"(!?)(\[[^]]*\])\(([^)\s#]+)")

CELL = """\
# In Colab this cell installs the lesson's package and leaves torch alone. Where uda_core is installed it does nothing.
import os
from importlib.util import find_spec
from pathlib import Path

if not find_spec("uda_core"):
    found = max(Path().glob("uda_core-*-any.whl"), default="{address}")
    source = os.environ.get("UDA_CORE_SOURCE") or found
{otherwise}\
    %pip install --quiet --no-deps "{{source}}"
    %pip install --quiet anywidget umap-learn"""
FILE = "https://github.com/{repository}/blob/{tag}/"
PICTURE = "https://raw.githubusercontent.com/{repository}/{tag}/"
ARCHIVE = "https://github.com/{repository}/archive/{tag}.zip"
HOW = """\
    if not source:
        raise SystemExit(
            "Put uda_core-...-any.whl beside this notebook; in a clone 'pip wheel --no-deps .' makes it.\\n"
            "In Colab: click the folder on the left, drop the wheel there (in /content), and run this cell again."
        )
"""
URLS = """\
[project.urls]
Source = "https://github.com/{repository}"
Issues = "https://github.com/{repository}/issues"
Changelog = "https://github.com/{repository}/blob/{tag}/CHANGELOG.md"

"""


def is_named(published: str) -> bool:
    """Whether `published` ("owner/name@tag") is a repository, and not the placeholder."""
    return not published.startswith("OWNER/")


def first_cell(published: str = PUBLISHED) -> str:
    """The first code cell of every notebook: installs uda_core and uda_lessons, one package, where they are missing.

    Never torch. From the variable UDA_CORE_SOURCE, a path or an address; else from a wheel in the notebook's folder;
    else from the repository. In Colab the second pip line finds what the board needs installed and does nothing.
    """
    named = is_named(published)
    return CELL.format(address=_fill(ARCHIVE, published) if named else "", otherwise="" if named else HOW)


def badge(notebook: str, published: str = PUBLISHED) -> str:
    """Markdown for a badge that opens a notebook in Colab; `notebook` is its path in notebooks/, without the ending."""
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    address = "https://colab.research.google.com/github/{repository}/blob/{tag}/notebooks/" + notebook + ".ipynb"
    return f"[![Open in Colab]({image})]({_fill(address, published)})"


def rewrite(root: Path, published: str) -> list[Path]:
    """Point the constant, the notebooks, README.md and pyproject.toml in `root` to `published` ("owner/name@tag").

    Returns the files that changed. The placeholder as `published` takes badges and addresses out again.

    Raises:
        UserError: if `published` is not of that form, `root` is not a clone of the lessons, or a notebook is broken.
    """
    if not re.fullmatch(rf"{NAME}/{NAME}@{NAME}", published):
        raise UserError(f"expected --repository OWNER/NAME and a --tag without slashes or spaces, got {published!r}")
    notebooks = root / "notebooks"
    own, readme, project = notebooks / "uda_lessons" / "colab.py", root / "README.md", root / "pyproject.toml"
    if missing := [path for path in (own, readme, project) if not path.is_file()]:
        raise UserError(f"{missing[0]} is not there; run this inside a clone of the lessons")
    lessons = [path for path in sorted(notebooks.rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    before = {path: _read(path) for path in (own, readme, project, *lessons)}
    if not (constant := CONSTANT.search(before[own])):
        raise UserError(f'{own} has no line PUBLISHED = "OWNER/NAME@TAG"; restore it')
    after = {
        path: _notebook(text, path, path.relative_to(notebooks).with_suffix("").as_posix(), published)
        for path, text in before.items()
        if path.suffix == ".ipynb"
    }
    after[own] = CONSTANT.sub(f'PUBLISHED = "{published}"', before[own])
    after[readme] = _readme(before[readme], root, constant[1], published)
    after[project] = _project(before[project], constant[1], published)
    changed = [path for path in before if after[path] != before[path]]
    for path in changed:
        write_whole(path, after[path].encode())
    return changed


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; repair it or take it away") from None


def _fill(text: str, published: str) -> str:
    repository, tag = published.split("@")
    return text.format(repository=repository, tag=tag)


def _notebook(text: str, path: Path, name: str, published: str) -> str:
    """One with the setup cell gets that cell and its badge, below the title; another one stays as it is.

    Raises:
        UserError: if it is not a notebook.
    """
    try:
        notebook = json.loads(text)
        setup = [cell for cell in notebook["cells"] if 'find_spec("uda_core")' in "".join(cell["source"])][:1]
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{path} is not a notebook; repair it or take it away") from None
    for cell in setup:
        cell["source"] = first_cell(published).splitlines(keepends=True)
        title = notebook["cells"][0]
        top, gap, rest = BADGE.sub("", "".join(title["source"])).partition("\n")
        top += f"\n\n{badge(name, published)}" if is_named(published) else ""
        title["source"] = (top + gap + rest).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n" if setup else text


def _readme(text: str, root: Path, old: str, published: str) -> str:
    """Badges in the table; links to the repository's own files by their address, so that they work elsewhere too."""
    text = BADGE.sub("", text).replace(_fill(FILE, old), "").replace(_fill(PICTURE, old), "")
    if not is_named(published):
        return text
    text = ROW.sub(lambda row: f"{row[0]} {badge(row[1], published)}", text)

    def absolute(link: re.Match) -> str:
        base = _fill(PICTURE if link[1] else FILE, published) if (root / link[3]).exists() else ""
        return f"{link[1]}{link[2]}({base}{link[3]}"

    return LINK.sub(absolute, text)


def _project(text: str, old: str, published: str) -> str:
    """Links for the page of a package index; [project.urls] that somebody else wrote stay as they are."""
    text = text.replace(_fill(URLS, old), "")
    if not is_named(published) or "[project.urls]" in text:
        return text
    return text.replace("[project.scripts]", _fill(URLS, published) + "[project.scripts]")


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
