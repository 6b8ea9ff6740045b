"""`uda lessons`: the lessons with or without their solutions, in a folder that works alone, and their slides."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uda_core.errors import UserError
from uda_core.files import write_whole
from uda_core.lab.main import add_command

HERE = Path(__file__).parents[2]  # `notebooks` of a clone; site-packages where a wheel was installed


def notebooks() -> list[Path]:
    """The lessons of the clone that this package is part of, or else of the one that the command runs in.

    Raises:
        UserError: if there is no clone.
    """
    for home in (HERE, Path("notebooks")):
        if found := sorted(home.glob("[0-9][0-9]_*.ipynb")):
            return found
    raise UserError("no lessons here: an installed wheel holds none of them; run this in a clone of the repository")


def edition(path: Path, solved: bool) -> str:
    """The notebook at `path` as JSON: each exercise solved, or left to be solved, with no solution in its metadata."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        solution = cell.metadata.pop("solution", None)
        if solved and solution is not None:
            cell.source = solution
    return nbformat.writes(notebook) + "\n"


def beside(lessons: Path) -> dict[str, bytes]:
    """What the lessons in this folder need beside them: glossary, pictures, licence; name -> content."""
    found = [lessons / "glossary.ipynb", lessons / "LICENSE", *sorted((lessons / "images").glob("*.png"))]
    return {path.relative_to(lessons).as_posix(): path.read_bytes() for path in found}


def write_new(out: Path, files: Mapping[str, bytes]) -> int:
    """Write all files (name -> content) into `out`, or none; how many were not there yet.

    Raises:
        UserError: if one is there with another content.
    """
    left = {out / name: data for name, data in files.items() if not (out / name).exists()}
    for name, data in files.items():
        if out / name not in left and (out / name).read_bytes() != data:
            raise UserError(f"{out / name} was changed, and would be overwritten: move it, or name another --out")
    for path, data in left.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    return len(left)


def add(commands: Any) -> None:
    """Add `lessons` to the subparsers of `uda`."""
    about, example = "write the lessons with or without solutions, and their slides", "lessons --student --out course"
    p = add_command(commands, "lessons", _write, about, example)
    which = p.add_mutually_exclusive_group()
    which.add_argument("--student", action="store_true", help="exercises to be solved, without any solution")
    which.add_argument("--solved", action="store_true", help="exercises with their solutions")
    p.add_argument("--slides", action="store_true", help="slides of each lesson, in the folder slides of --out")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into")


def _write(args: argparse.Namespace) -> int:
    if not (args.student or args.solved or args.slides):
        raise UserError("nothing to write: add --student, --solved or --slides")
    lessons, files = notebooks(), dict[str, bytes]()
    if args.student or args.solved:
        files = {path.name: edition(path, args.solved).encode() for path in lessons} | beside(lessons[0].parent)
    if args.slides:
        from uda_lessons.teaching import slides  # needs more than the lessons do

        files |= {f"slides/{name}": data for name, data in slides.files(lessons).items()}
    new = write_new(args.out, files)
    print(f"{args.out}: {len(files)} files, {new} of them new")
    return 0
