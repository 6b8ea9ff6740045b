"""Every lesson: short, in the house's order, stored without outputs, and running to its end, unsolved and solved."""

import ast
import warnings
from pathlib import Path

import nbformat
import pytest
from notebook_runner import isolation, run_notebook

from uda_lessons.colab import badge, first_cell

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SECTIONS = ["Question", "Predict", "Experiment", "Explain", "Exercise", "Paper and code", "So what"]
SECONDS = 90  # for one lesson on two cores; a slower or busier machine gets five times as much

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def exercises(notebook) -> list:
    return [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]


def test_is_short(path):
    code, markdown = cells(path, "code"), cells(path, "markdown")
    assert 20 <= len(code) + len(markdown) <= 30
    assert len(markdown) >= 1.2 * len(code)
    assert max(len(cell.source.splitlines()) for cell in code) <= 15
    imports = [node for cell in code[1:] for node in ast.walk(ast.parse(cell.source)) if is_import(node)]
    assert len(imports) <= 5


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_keeps_the_order_of_sections(path):
    headings = [
        line.lstrip("# ")
        for cell in cells(path, "markdown")
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    found = [section for heading in headings for section in SECTIONS if heading.startswith(section)]
    assert list(dict.fromkeys(found)) == SECTIONS


def test_is_stored_without_outputs(path):
    assert not any(cell.outputs or cell.execution_count for cell in cells(path, "code"))
    assert "widgets" not in nbformat.read(path, as_version=4).metadata


def test_opens_alone_in_colab(path):
    assert cells(path, "code")[0].source == first_cell()
    assert badge(path.stem) in cells(path, "markdown")[0].source


def test_has_two_exercises_with_solutions(path):
    stubs = exercises(nbformat.read(path, as_version=4))
    assert len(stubs) >= 2
    for stub in stubs:
        assert stub.metadata.solution != stub.source
        ast.parse(stub.metadata.solution)


@pytest.mark.notebook
@pytest.mark.parametrize("solved", [False, True], ids=["unsolved", "solved"])
def test_runs_to_its_end(path, solved, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    if solved:
        for stub in exercises(notebook):
            stub.source = stub.metadata.solution
    if not isolation():
        warnings.warn("no network namespaces here: the lesson ran with the network within reach", stacklevel=1)
    copy = tmp_path / path.name
    nbformat.write(notebook, copy)
    done = run_notebook(copy, tmp_path / "executed.ipynb", timeout=5 * SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    if solved:
        assert _printed(tmp_path / "executed.ipynb").count("Correct: ") == len(exercises(notebook))


def _printed(path: Path) -> str:
    return "".join(output.get("text", "") for cell in cells(path, "code") for output in cell.outputs)
