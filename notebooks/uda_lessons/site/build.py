"""Builds the site: lays out what its pages are made of as Sphinx wants it, lets Sphinx build, and records its films."""

import argparse
import ast
import importlib.util
import io
import json
import os
import re
import shutil
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from PIL import Image

from uda_core.errors import UserError
from uda_core.lab import results
from uda_core.lab.main import add_command

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
FILMS = DOCS / "films"
RUNS = ("0", "0.1", "1")  # weights of the gradient discrepancy: docs/films/beta-0.film, and so on
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "latex2mathml", "ziamath", "fontTools")  # of the extra "site"
LINK = re.compile(r"(?<!!)\[([^]]+)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")  # to a file
BADGE = re.compile(r"^\[!\[Open in Colab\].*\n+", re.MULTILINE)
ONLY_IN_JUPYTER = re.compile(r" JupyterLab\s+opens this page at its top:[^.]*\.")
OWN = ".uda-site"  # names every file of a site that was built
TABLES = {"choices.summary(": "choices:rows", "validators.labels": "choices:labels"}  # lesson 08 makes these itself
HIDDEN = DOCS / "teaching" / "grading"  # cases of the graded exercises: never published


def add(commands: Any) -> None:
    """Add `site` to the subparsers of `uda`."""
    about = "build the lessons and their films as a static site (in a clone)"
    p = add_command(commands, "site", _build_or_record, about, "site --out build/site")
    p.add_argument("--out", type=Path, default=Path("build/site"), metavar="DIR", help="where to (default: build/site)")
    p.add_argument("--run", action="store_true", help="run the lessons, and show what they print and draw (slow)")
    p.add_argument("--record", action="store_true", help="record the front page's films anew instead (minutes)")


def _build_or_record(args: argparse.Namespace) -> int:
    _need_a_clone()
    if args.record:
        record()
        return 0
    build(args.out, args.run)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out / 'index.html'}: {size / 1e6:.1f} MB; open it, or serve the folder")
    return 0


def _need_a_clone() -> None:
    if not (DOCS / "conf.py").is_file():
        raise UserError(
            "uda site builds from the files of a clone; in one, run: python3 -m pip install -e '.[site]' && uda site"
        )


def build(out: Path, run: bool = False) -> None:
    """Build the site into `out`, whole or not at all, in place of one that was built there.

    Raises:
        UserError: if `out` holds something else, a package is not installed, or a page has a broken link.
    """
    out = out.resolve()
    _refuse_to_replace(out)
    if missing := [name for name in NEEDED if not importlib.util.find_spec(name)]:
        raise UserError(f"{missing[0]} is not installed; run: python3 -m pip install -e '.[site]'")
    from sphinx.cmd.build import build_main

    with TemporaryDirectory() as folder:
        source, made = Path(folder, "source"), Path(folder, "site")
        lay_out(source, run)
        words = ["-q", "-W", "--keep-going", "-c", str(DOCS), "-d", str(Path(folder, "trees"))]
        if run:
            os.environ["UDA_LIVE"] = "0"
            words += ["-D", "nb_execution_mode=force"]
        with redirect_stderr(io.StringIO()) as said:
            failed = build_main([*words, str(source), str(made)])
        if failed:
            raise UserError("the site has mistakes:\n" + said.getvalue().replace(f"{source}{os.sep}", "").rstrip())
        for path in [*made.rglob("*.map"), *made.rglob("*webpack-macros.html"), made / ".buildinfo"]:
            path.unlink()
        for page in made.glob("notebooks/*.html"):
            page.write_text(small_pictures(page.read_text(encoding="utf-8")), encoding="utf-8")
        (made / ".nojekyll").touch()  # or GitHub Pages would leave out what begins with _
        _add_licences(made / "_static" / "licenses")
        own = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
        (made / OWN).write_text("\n".join([*own, OWN]) + "\n", encoding="utf-8")
        _refuse_to_replace(out)  # it took a while
        out.parent.mkdir(parents=True, exist_ok=True)
        whole = Path(shutil.move(made, out.with_name(f"{out.name}.part")))
        if out.exists():
            shutil.rmtree(out)
        whole.rename(out)


def small_pictures(page: str) -> str:
    """The page with its own pictures, those that boards draw, in 256 colours: a third of the bytes."""

    def small(picture: re.Match) -> str:
        packed = io.BytesIO()
        Image.open(io.BytesIO(b64decode(picture[2]))).convert("RGB").quantize(256).save(packed, "PNG", optimize=True)
        return picture[1] + b64encode(packed.getvalue()).decode()

    return re.sub(r"(data:image/png;base64,)([\w+/=\s]+)", small, page)


def _refuse_to_replace(out: Path) -> None:
    """See that `out` holds no file that a build did not make."""
    if out.is_file() or out in Path.cwd().parents or out == Path.cwd():
        raise UserError(f"{out} cannot be replaced; give --out another name")
    if out.with_name(f"{out.name}.part").exists():
        raise UserError(f"{out}.part is left from a build that was stopped; remove it")
    own = out / OWN
    known = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    files = (path for path in sorted(out.rglob("*")) if not path.is_dir())
    if other := [path for path in files if path.relative_to(out).as_posix() not in known]:
        raise UserError(f"{other[0]} is no part of a site that was built there; move it, or give --out another name")


def _add_licences(folder: Path) -> None:
    """Beside the files of the themes, their licences."""
    folder.mkdir(parents=True)
    for package in ("sphinx-book-theme", "pydata-sphinx-theme"):
        for file in distribution(package).files or ():
            if file.name == "LICENSE":
                shutil.copyfile(file.locate(), folder / f"{package}.txt")


# -- what Sphinx reads -------------------------------------------------------------------------------------------------


def lay_out(source: Path, run: bool = False) -> None:
    """Write the pages into `source`, in the repository's folders, and the files that they link to."""
    pages = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((DOCS / "teaching").glob("*.md"))]
    pages += [ROOT / "uda_core" / "README.md", ROOT / "uda_core" / "lab" / "results" / "README.md"]
    for page in [*pages, *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("api/*.md")), ROOT / "README.md"]:
        place = source / (page.name if page == DOCS / "index.md" else page.relative_to(ROOT))
        place.parent.mkdir(parents=True, exist_ok=True)
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".ipynb":
            notebook = json.loads(text)
            notebook["cells"] = list(lesson(notebook["cells"], page, run))
            text = json.dumps(notebook)
        elif page not in (DOCS / "index.md", ROOT / "README.md"):
            text = local(text, page, source)
        place.write_text(text, encoding="utf-8")
    for picture in (ROOT / "notebooks" / "images").iterdir():
        _copy(picture, source)


def local(text: str, page: Path, source: Path) -> str:
    """The text of a page, whose links lead to pages, or to copies of the files; to a folder there is none."""

    def kept(link: re.Match) -> str:
        target = (page.parent / link[2]).resolve()
        if target.is_dir() or HIDDEN in target.parents:
            return link[1]
        if target.is_file() and target.suffix not in (".md", ".ipynb"):
            _copy(target, source)
        return link[0]

    return LINK.sub(kept, text)


def _copy(file: Path, source: Path) -> None:
    place = source / file.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)


def lesson(cells: list[dict], page: Path, run: bool = False) -> Iterable[dict]:
    """The cells of a notebook as the site shows them: film, quiz, answers and tables in place of what makes them."""
    number, code, known, picture = page.stem[:2], 0, {}, ROOT / "notebooks" / "images" / f"lesson{page.stem[:2]}.png"
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\(glossary\.ipynb#[^)]*\)", lambda link: link[0].lower(), BADGE.sub("", text))
            yield _markdown(ONLY_IN_JUPYTER.sub("", text), cell["id"])
            continue
        code += 1
        if code == 1:  # what opens it in Colab
            continue
        if "films.show(" in text or text.startswith("quiz("):
            yield _markdown(f"```{{{'film' if 'films.show(' in text else 'quiz'}}} {number}\n```", cell["id"])
            continue
        yield cell
        for name in re.findall(r'^check\("(\w+)"', text, re.MULTILINE):
            yield _markdown(f"```{{exercise}} {name}\n```", f"{cell['id']}-help")
        if not run and (shown := tables(text, known)):
            made = "\n\n".join(results.table(name, rows) for name, rows in shown)
            yield _markdown(made, f"{cell['id']}-tables")
        if not run and "Board(" in text and picture and picture.is_file():
            about = f"The board of lesson {number}, as it stands in JupyterLab"
            yield _markdown(f"![{about}](images/{picture.name})\n\n*{about}.*", f"{cell['id']}-picture")
            picture = None  # once


def _markdown(text: str, name: str) -> dict:
    return {"cell_type": "markdown", "id": name[:64], "metadata": {}, "source": text}


def tables(code: str, known: dict[str, Any]) -> list[tuple[str, Sequence[str] | None]]:
    """The tables of results that a cell shows, by name and rows; lists named `rows` of earlier cells are in `known`."""
    shown: list[tuple[str, Sequence[str] | None]] = []
    known["results"] = SimpleNamespace(show=lambda name, rows=None: shown.append((name, rows)))
    for statement in ast.parse(code).body:
        text = ast.unparse(statement)
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        if text.startswith(("rows ", "results.show(")) and {node.id for node in names} <= known.keys() | made:
            exec(text, known)
    return shown + [(name, None) for words, name in TABLES.items() if words in code]


# -- the films of the front page ---------------------------------------------------------------------------------------


def record() -> None:
    """Record them into docs/films: one seed, MCD with the gradient discrepancy at each of these weights."""
    from uda_lessons.films import recording

    for beta in RUNS:
        take = recording.Take("cgdm", "fonts-distorted", {"infomax": 0, "alpha": 0, "beta": float(beta)})
        path = FILMS / f"beta-{beta}.film"
        path.write_bytes(recording.record(take, revealed=True, seed=recording.SEED))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", file=sys.stderr)
