"""The graded assignments: a model solution, named mistakes and hidden cases for each exercise; they run either way."""

import inspect
import re
from pathlib import Path

import nbformat
import pytest
from notebook_runner import run_notebook

from uda_lessons.exercises.catalog import EXERCISES
from uda_lessons.exercises.exercise import verdict_on
from uda_lessons.teaching.grade import load_exercises

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks" / "assignments").glob("*.ipynb"))
KNOWN = load_exercises(1009, ROOT / "docs" / "teaching" / "grading")
OWN = {name: exercise for name, exercise in KNOWN.items() if name not in EXERCISES}


def stubs(notebook) -> list:
    return [cell for cell in notebook.cells if "exercise" in cell.metadata]


def test_the_notebooks_ask_for_what_is_graded():
    cells = [cell for path in NOTEBOOKS for cell in stubs(nbformat.read(path, as_version=4))]
    assert [cell.metadata.exercise for cell in cells] == list(OWN)
    for cell in cells:
        name = cell.metadata.exercise
        assert f'hand_in("{name}", my_{name})' in cell.source
        signatures = [
            re.search(rf"def {p}{name}(\(.*?\))", s)[1] for p, s in (("my_", cell.source), ("", source(name)))
        ]
        assert re.sub(r": [\w.]+", "", signatures[1]) == signatures[0]


def source(name: str) -> str:
    return inspect.getsource(OWN[name].reference)


@pytest.mark.parametrize("name", OWN)
def test_the_model_solution_is_right_and_each_mistake_is_named(name):
    exercise = OWN[name]
    assert verdict_on(exercise.reference, exercise)
    assert len(exercise.mistakes) >= 5
    assert [verdict_on(m.wrong, exercise).reason for m in exercise.mistakes] == [m.hint for m in exercise.mistakes]


@pytest.mark.notebook
@pytest.mark.parametrize("solved", [False, True], ids=["unsolved", "solved"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_to_its_end(path, solved, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    for cell in stubs(notebook) if solved else ():
        solution = source(cell.metadata.exercise).replace("def ", "def my_", 1).replace("Tensor", "torch.Tensor")
        cell.source = solution + cell.source[cell.source.index("\n\n\nhand_in") :]
    nbformat.write(notebook, tmp_path / path.name)
    done = run_notebook(tmp_path / path.name, tmp_path / "executed.ipynb", timeout=300, UDA_LIVE="0")
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = [
        o for cell in nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells for o in cell.get("outputs", ())
    ]
    text = "".join(output.get("text", "") for output in outputs)
    assert text.count("handed in, a function.") == 4
    assert ("first" in text) != solved
