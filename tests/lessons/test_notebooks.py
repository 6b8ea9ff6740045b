"""Every lesson: short, in the house's order, stored without outputs, and running to its end, whether played or not."""

import ast
import re
import warnings
from pathlib import Path

import nbformat
import pytest
from notebook_runner import isolation, run_notebook

from uda_lessons.colab import first_cell
from uda_lessons.exercises import questions

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
SECTIONS = [
    "Question", "Predict", "Experiment", "Explain", "Exercise", "Quiz", "So what", "Appendix: paper and code",
]  # fmt: skip
HEADER = re.compile(
    r"^\*\*Reading (\d+) minutes, runs (\d+), exercises and quiz (\d+)\.\*\*(?: After \[lesson (\d\d)\]\((\S+)\)\.)?$",
    re.MULTILINE,
)
PACE = 200  # words read in a minute
SECONDS = 90  # for one lesson on two cores; a slower or busier machine gets five times as much

OPEN = {"07_anchor_alignment": 1}  # guesses about a board's run: open until somebody plays it
UNTRAINED = """
def untrained(*_, **__):
    raise AssertionError("a cell uses the run of a board that nobody has played, or trains it")


for shown in [value for value in globals().values() if isinstance(value, Board)]:
    for used in ("step", "predict", "features", "features_and_logits", "label"):
        setattr(shown.run, used, untrained)
"""

of_each_lesson = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def words(cells: list) -> int:
    """Of the markdown cells among these."""
    return sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")


def minutes(path: Path) -> list[int]:
    """Those of the header: reading, runs, exercises and quiz."""
    [found] = HEADER.findall(cells(path, "markdown")[0].source)
    return [int(n) for n in found[:3]]


def exercises(notebook) -> list:
    return [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]


@of_each_lesson
def test_is_short(path):
    code, markdown = cells(path, "code"), cells(path, "markdown")
    assert 20 <= len(code) + len(markdown) <= 30
    assert len(markdown) >= 1.2 * len(code)
    assert max(len(cell.source.splitlines()) for cell in code) <= 15
    imports = [node for cell in code[2:] for node in ast.walk(ast.parse(cell.source)) if is_import(node)]
    assert len(imports) <= 6


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_there_are_nine_lessons(capsys):
    with capsys.disabled():
        print(f"\n{'':26} words  reading + runs + exercises = minutes  markdown : code")
        for path in NOTEBOOKS:
            text, code = cells(path, "markdown"), cells(path, "code")
            header = minutes(path) if HEADER.search(text[0].source) else [0, 0, 0]
            print(f"{path.stem:26} {words(text):5} {header[0]:8} {header[1]:6} {header[2]:11} {sum(header):9}", end="")
            print(f"{len(text):10} : {len(code)} = {len(text) / len(code):.2f}")
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"0{n}" for n in range(1, 10)]


@of_each_lesson
def test_keeps_the_order_of_sections(path):
    text = cells(path, "markdown")
    headings = re.findall("^## (.*)$", "\n".join(cell.source for cell in text), re.MULTILINE)
    found = [section for heading in headings for section in SECTIONS if heading.startswith(section)]
    assert list(dict.fromkeys(found)) == SECTIONS
    assert text[-1] == nbformat.read(path, as_version=4).cells[-1]
    assert text[-1].source.startswith("## Appendix: paper and code")


@of_each_lesson
def test_says_first_how_long_it_takes_and_what_one_can_do_then(path):
    first, question = nbformat.read(path, as_version=4).cells[::2][:2]
    assert first.source.splitlines()[0].startswith(f"# {path.stem[:2]} ")
    assert question.source.startswith("## Question")
    reading, runs, rest = minutes(path)
    assert reading == max(1, int(words(cells(path, "markdown")) / PACE + 0.5))
    assert reading + runs + rest <= 30
    [(*_, number, before)] = HEADER.findall(first.source)
    k = NOTEBOOKS.index(path)
    assert (number, before) == ((NOTEBOOKS[k - 1].stem[:2], NOTEBOOKS[k - 1].name) if k else ("", ""))
    goals = first.source.partition("You will be able to")[2].strip().splitlines()
    bullets = [line for line in goals if line.startswith("- ")]
    assert len(bullets) in (2, 3)
    assert sum(len(line.removeprefix("- ").split()) for line in goals) <= 45


@of_each_lesson
def test_plays_within_250_words(path):
    every = nbformat.read(path, as_version=4).cells
    [board, *_] = [i for i, cell in enumerate(every) if cell.cell_type == "code" and "Board(" in cell.source]
    assert words(every[:board]) <= 250


@of_each_lesson
def test_has_a_quiz_of_its_own(path):
    every = nbformat.read(path, as_version=4).cells
    [i] = [i for i, cell in enumerate(every) if cell.source == f'quiz("{path.stem[:2]}")']
    assert every[i - 1].source.startswith("## Quiz")
    assert (questions.QUIZZES / f"{path.stem[:2]}.toml").is_file()


@of_each_lesson
def test_is_stored_without_outputs(path):
    assert not any(cell.outputs or cell.execution_count for cell in cells(path, "code"))
    assert "widgets" not in nbformat.read(path, as_version=4).metadata


@of_each_lesson
def test_opens_alone(path):
    assert cells(path, "code")[0].source == first_cell()


@of_each_lesson
def test_opens_with_its_film(path):
    assert cells(path, "code")[1].source == f'from uda_lessons import films\n\nfilms.show("{path.stem[:2]}")'


@of_each_lesson
def test_has_two_exercises_with_solutions(path):
    stubs = exercises(nbformat.read(path, as_version=4))
    assert len(stubs) >= 2
    for stub in stubs:
        assert stub.metadata.solution != stub.source
        ast.parse(stub.metadata.solution)


@of_each_lesson
@pytest.mark.notebook
def test_runs_to_its_end_solved_and_played(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    for stub in exercises(notebook):
        stub.source = stub.metadata.solution
    text = _printed(_executed(notebook, path.name, tmp_path, live=False))
    assert text.count("Correct: ") == len(exercises(notebook))
    assert "still open" not in text
    assert "Press Play" not in text


@of_each_lesson
@pytest.mark.notebook
def test_says_nothing_about_a_board_that_nobody_plays(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    last = max(i for i, cell in enumerate(notebook.cells) if "Board(" in cell.source)
    notebook.cells.insert(last + 1, nbformat.v4.new_code_cell(UNTRAINED))
    done = _executed(notebook, path.name, tmp_path, live=True)
    asks = r"The run above has (not been trained yet|done \d+ of \d+ steps)\. Press Play there"
    asked = [len(re.findall(asks, _printed_by(cell))) for cell in done.cells]
    assert asked == [int("board.played()" in cell.source) for cell in done.cells]
    text = _printed(done)
    assert text.count("What happens is still open") == OPEN.get(path.stem, 0)
    assert not re.search(r"\bnan\b", text)
    values = [o for cell in done.cells for o in cell.get("outputs", ()) if o.output_type == "execute_result"]
    assert all("image/png" in value.data for value in values)  # a bare one stands at a cell's end by mistake


def _executed(notebook, name: str, folder: Path, live: bool):
    """The notebook after a run from top to bottom; `live` boards wait for a page, others train by themselves."""
    if not isolation():
        warnings.warn("no network namespaces here: the lesson ran with the network within reach", stacklevel=2)
    copy, executed = folder / name, folder / "executed.ipynb"
    nbformat.write(notebook, copy)
    done = run_notebook(copy, executed, timeout=5 * SECONDS, UDA_LIVE=str(int(live)))
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(executed, as_version=4)


def _printed(notebook) -> str:
    return "".join(_printed_by(cell) for cell in notebook.cells)


def _printed_by(cell) -> str:
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))
