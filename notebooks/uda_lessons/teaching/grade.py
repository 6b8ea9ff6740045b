"""`uda grade`: what each answer in a folder of submissions is worth, by cases that no student has seen.

A submission runs in a process of its own (`worker`), which never sees a right answer. This process, which never runs a
line of a student's code, compares what that one says with the package's own functions. So nothing that a notebook
prints, patches or writes counts: only the numbers that its functions return for the hidden cases.
"""

import csv
import io
import json
import math
import os
import re
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from inspect import getdoc
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda_core.errors import UserError, choose
from uda_core.files import write_whole
from uda_core.lab.main import add_command, load_plugin
from uda_lessons.exercises.catalog import EXERCISES
from uda_lessons.exercises.exercise import Attempt, Exercise, NoTensorError, NotYetError, Outcome, judge, verdict_on
from uda_lessons.teaching.sandbox import PACKAGES, ask, isolation, put_back

HANDS_IN = re.compile(r"\b(?:check|hand_in)\s*\(\s*(?:name\s*=\s*)?[\"']([^\"'\n]{1,60})[\"']")
LARGEST_NOTEBOOK = 2**28  # bytes
BETTER = ("graded", "blank", "timed out", "stopped", "not handed in")  # of two notebooks of one student


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    student: str
    notebook: str
    exercise: str
    right: int  # points: 0 or 1
    mistake: str
    status: str


@dataclass(frozen=True)
class Notebook:
    """One file of a submission: its code cells, or why it has none."""

    name: str
    cells: tuple[str, ...] = ()
    damage: str = ""


# -- what is graded ----------------------------------------------------------------------------------------------------


def load_exercises(seed: int, hidden: Path | None = None) -> dict[str, Exercise]:
    """Every exercise of the lessons and of the Python files in `hidden`, by name, with cases made from a seed.

    A lesson's exercise keeps the lesson's cases in front. A file may define EXERCISES, a tuple of further exercises,
    and CASES, functions of a seed that make further cases of an exercise, by its name.

    Raises:
        UserError: if there is no such folder, if a file in it fails, or if a reference is not right in its own cases.
    """
    known, more = dict(EXERCISES), dict[str, Callable]()
    if hidden and not hidden.is_dir():
        raise UserError(f"--hidden {hidden}: no such folder")
    for file in sorted(hidden.glob("*.py")) if hidden else ():
        load_plugin(file)
        module = sys.modules[file.stem]
        known |= {exercise.name: exercise for exercise in getattr(module, "EXERCISES", ())}
        more |= getattr(module, "CASES", {})
    return {name: _with_hidden_cases(e, seed, more.get(name)) for name, e in known.items()}


def _with_hidden_cases(exercise: Exercise, seed: int, more: Callable | None) -> Exercise:
    makers = [exercise.cases, partial(exercise.cases, seed), *([partial(more, seed)] if more else [])]
    places = [_places(function) for function in (exercise.cases, exercise.cases, more) if function]

    def cases() -> list[tuple]:
        return [case for make in makers for case in make()]

    cases.__doc__ = "; then ".join(places) + "."
    return replace(exercise, cases=cases)


def _places(cases: Callable) -> str:
    return (getdoc(cases) or "").partition("\n")[0].rstrip(".")


def named(submissions: Mapping[str, Sequence[Notebook]]) -> set[str]:
    """What the notebooks hand in, by the names in their source."""
    return {name for notebooks in submissions.values() for nb in notebooks for name in _named(nb)}


def _named(notebook: Notebook) -> list[str]:
    return list(dict.fromkeys(HANDS_IN.findall("\n".join(notebook.cells))))


# -- what is handed in -------------------------------------------------------------------------------------------------


def read_submissions(folder: Path, but: Path | None = None) -> dict[str, list[Notebook]]:
    """The notebooks of each student: of a file with the student's name, or all of a folder with it.

    Raises:
        UserError: if there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it should hold one notebook or folder per student")
    found: dict[str, list[Notebook]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or (but and entry.resolve() == but.resolve()):
            continue
        files = sorted(entry.rglob("*.ipynb")) if entry.is_dir() else [entry]
        notebooks = [_read(file) for file in files if ".ipynb_checkpoints" not in file.parts]
        student = os.fsencode(entry.name if entry.is_dir() else entry.stem).decode("utf-8", "replace")
        of = found.setdefault(_text(student), [])
        of += notebooks or [Notebook("", damage="the folder holds no .ipynb file")]
    if not found:
        raise UserError(f"{folder}: nothing in it; it should hold one notebook or folder per student")
    return found


def _read(file: Path) -> Notebook:
    name = _text(os.fsencode(file.name).decode("utf-8", "replace"))
    if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST_NOTEBOOK:
        return Notebook(name, damage="a link, no file, or larger than 256 MB")
    try:
        cells = json.loads(file.read_bytes())["cells"]
        code = tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return Notebook(name, damage=f"no notebook that can be read ({type(error).__name__})")
    return Notebook(name, code)


# -- grading -----------------------------------------------------------------------------------------------------------


def grade(
    submissions: Mapping[str, Sequence[Notebook]],
    exercises: Mapping[str, Exercise],
    timeout: float = 600.0,
    hide: tuple[Path, ...] = (),
    protect: Sequence[Path] = tuple(PACKAGES),
) -> Iterator[Row]:
    """One row for each student and exercise that anybody hands in, student by student.

    Args:
        exercises: as `load_exercises` makes them.
        timeout: seconds for one run of a notebook; a new run starts behind an answer that ends it.
        hide: folders that a submission should not see, where the system allows to hide them.
        protect: folders whose files are put back, should a submission change them.
    Raises:
        UserError: if a reference is not right in its own cases.
    """
    expected = {name: e for name, e in exercises.items() if name in named(submissions)}
    for name, exercise in expected.items():  # which also imports and computes what is needed from here on
        if not (verdict := verdict_on(exercise.reference, exercise)):
            raise UserError(f"exercise {name}: its own reference is not right: {verdict.reason}")
    intact = {path: path.read_bytes() for folder in protect for path in folder.rglob("*.py")}
    for student, notebooks in submissions.items():
        rows = [
            Row(student, notebook.name, *found)
            for notebook in notebooks
            for found in _graded(notebook, expected, partial(ask, timeout=timeout, hide=hide), intact)
        ]
        damage = next(((n.name, n.damage) for n in notebooks if n.damage), None)
        for name in expected:
            own = [row for row in rows if row.exercise == name]
            if own:
                yield max(own, key=lambda row: (row.right, -BETTER.index(row.status)))
            elif damage:
                yield Row(student, damage[0], name, 0, damage[1], "not a notebook")
            else:
                yield Row(student, "", name, 0, "", "not handed in")
        yield from (row for row in rows if row.exercise not in expected)


Found = tuple[str, int, str, str]  # exercise, right, mistake, status


def _graded(
    notebook: Notebook, expected: Mapping[str, Exercise], ask: Callable, intact: Mapping[Path, bytes]
) -> list[Found]:
    """What one notebook hands in. An answer that ends the process loses its own point alone: the rest is asked anew."""
    names = _named(notebook)
    found: list[Found] = [
        (_text(name), 0, "no exercise has this name", "no such exercise") for name in names if name not in expected
    ][:20]
    left = [expected[name] for name in names if name in expected]
    while left:
        ready, answers, status, how = ask(notebook.cells, left)
        if changed := put_back(intact):
            reason = f"the notebook changed {changed} of the grader's own files; they are put back"
            names = [name for name in names if name in expected]
            return [f for f in found if f[0] not in names] + [(name, 0, reason, "stopped") for name in names]
        found += [_compared(exercise, answer) for exercise, answer in zip(left, answers, strict=False)]
        left = left[len(answers) :]
        if left and ready:
            found.append((left.pop(0).name, 0, f"{how} while this answer was called", status))
        elif left:
            found += [(exercise.name, 0, f"{how} while the cells ran", status) for exercise in left]
            break
    return found


def _compared(exercise: Exercise, line: bytes) -> Found:
    """The verdict on one line of a worker. Its numbers are compared; its words are shown, where there is no point."""
    try:
        said = json.loads(line)
        if "missing" in said:
            return exercise.name, 0, _text(said["missing"]), "not handed in"
        cases = exercise.cases()
        attempts = [_attempt(a, case) for a, case in zip(said["attempts"], cases, strict=True)]
        names = [str(name) if str(name).isidentifier() else "an argument" for name in said["names"]]
        names = names if len(names) == len(cases[0]) else [f"argument {i + 1}" for i in range(len(cases[0]))]
        words = [_text(w) if w else None for w in said["explained"]] or [None] * len(cases)
        verdict = judge(exercise, attempts, names, lambda case: words[case])
    except Exception:  # whatever its words were, they are no answer
        return exercise.name, 0, "the notebook's process wrote something that is no answer", "stopped"
    blank = all(isinstance(a, NoTensorError) and "returns nothing" in str(a) for a in attempts)
    return exercise.name, int(verdict.right), "" if verdict else _text(verdict.reason), "blank" if blank else "graded"


def _attempt(said: Mapping[str, Any], case: tuple) -> Attempt:
    """An attempt from numbers and text, of a form that fits the case.

    Raises:
        ValueError: if it is of another form.
    """
    if "error" in said:
        own = {kind.__name__: kind for kind in (NotYetError, NoTensorError)}
        name = str(said["error"])
        kind = own.get(name) or type(name if name.isidentifier() else "Error", (Exception,), {})
        return kind(str(said["text"])[:2000])
    leaves = [a for a in case if isinstance(a, Tensor) and a.requires_grad]
    gradients = None if said["gradients"] is None else tuple(_tensor(g) for g in said["gradients"])
    overwritten = tuple(int(i) for i in said["overwritten"])
    if gradients is not None and [g.shape for g in gradients] != [leaf.shape for leaf in leaves]:
        raise ValueError("gradients of other shapes than the arguments")
    if not set(overwritten) <= set(range(len(case))):
        raise ValueError("no such argument")
    return Outcome(_tensor(said["value"]), bool(said["whole"]), gradients, overwritten)


def _tensor(said: Mapping[str, Any]) -> Tensor:
    if len(said["shape"]) > 16 or math.prod(said["shape"]) != len(said["numbers"]):
        raise ValueError("numbers that do not fill the shape")
    return torch.tensor(said["numbers"], dtype=torch.float64).view(said["shape"])


def _text(words: object) -> str:
    """One line, without what a terminal or a table would take for more than text."""
    return "".join(c for c in " ".join(str(words).split()) if c.isprintable())[:500]


# -- the command -------------------------------------------------------------------------------------------------------


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """Write the table; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([f.name for f in fields(Row)])
    for row in rows:
        table.writerow([f"'{v}" if str(v).startswith(("=", "+", "-", "@")) else v for v in astuple(row)])
    write_whole(file, text.getvalue().encode())


def write_otter(rows: Sequence[Row], folder: Path) -> None:
    """Write a results.json for each student, as Otter-Grader writes it and Gradescope reads it: STUDENT.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for student in dict.fromkeys(row.student for row in rows):
        tests = [
            {
                "name": row.exercise,
                "score": row.right,
                "max_score": 1,
                "status": "passed" if row.right else "failed",
                "output": row.mistake or row.status,
            }
            for row in rows
            if row.student == student
        ]
        text = json.dumps({"tests": tests}, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{student}.json").write_text(text, encoding="utf-8")


def add(commands: Any) -> None:
    """Add `grade` to the subparsers of `uda`."""
    about = "grade a folder of notebooks by hidden cases, with the mistake in words"
    parser = add_command(commands, "grade", _grade, about, "grade submissions --csv grades.csv")
    parser.add_argument("folder", type=Path, metavar="DIR", help="one notebook or folder per student")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="the table to write")
    parser.add_argument("--seed", type=int, metavar="N", help="of the hidden cases (default: by chance; it is printed)")
    about = "folder with hidden cases and assignments, such as docs/teaching/grading of a clone"
    parser.add_argument("--hidden", type=Path, metavar="FOLDER", help=about)
    about = "seconds for one run of a notebook (default: 600)"
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help=about)
    about = "otter: also a results.json per student, with each mistake, in a folder beside the table"
    parser.add_argument("--export", metavar="FORM", help=about)


def _grade(args: Namespace) -> int:
    form = args.export and choose("--export", args.export, ("otter",))
    if not 0 < args.timeout <= 86_400:
        raise UserError(f"--timeout {args.timeout:g}: should be above 0, and a day at most")
    seed = 1 + secrets.randbelow(10**9) if args.seed is None else args.seed
    if not 0 < seed < 2**62:
        raise UserError(f"--seed {seed}: should be above 0, which is the lessons' own, and below 2**62")
    if not args.csv.absolute().parent.is_dir():
        raise UserError(f"--csv {args.csv}: no such folder; make it first")
    exercises, submissions = load_exercises(seed, args.hidden), read_submissions(args.folder, args.csv)
    if not named(submissions) & set(exercises):
        raise UserError(
            f'{args.folder}: no check("NAME", ...) of a known exercise; hand_in of an assignment needs --hidden'
        )
    hidden = args.hidden.resolve() if args.hidden else None
    history = [p / ".git" for p in (hidden.parents if hidden else ()) if (p / ".git").is_dir()][:1]
    shut = (args.folder, *([hidden] if hidden else []), *history)
    open_to = "" if "-rnpfm" in isolation(shut) else "; no namespaces here: submissions can read the hidden cases"
    print(f"seed {seed}{open_to}{'' if isolation(shut) else ', and reach the network'}")
    rows: list[Row] = []
    for row in grade(submissions, exercises, args.timeout, shut, [*PACKAGES, *([hidden] if hidden else [])]):
        rows.append(row)
        write_csv(rows, args.csv)  # whole each time: what a notebook may have written there is gone
        print(f"{row.student}, {row.exercise}: {row.right}, {row.mistake or row.status}", flush=True)
    if form:
        write_otter(rows, args.csv.with_name(f"{args.csv.stem}-otter"))
    return 0
