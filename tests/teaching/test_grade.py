"""Ten submissions, honest and otherwise, and the table that they must give; what is hidden and what is put back."""

import json
import os
import subprocess
import sys

import pytest

from uda_core.errors import UserError
from uda_core.lab.main import main
from uda_lessons.exercises.catalog import EXERCISES
from uda_lessons.exercises.exercise import attempts_of
from uda_lessons.teaching import grade, sandbox, worker

IMPORTS = "import os, sys, json, time, torch\nfrom uda_lessons.exercises import check"
CORAL = """
def my_coral(f_s, f_t):
    c_s, c_t = torch.cov(f_s.T), torch.cov(f_t.T)
    return (c_s - c_t).square().sum() / (4 * f_s.shape[1] ** 2)

check("coral", my_coral)"""
DISCREPANCY = """
def my_discrepancy(z1, z2):
    return (z1.softmax(1) - z2.softmax(1)).abs().mean()

check("classifier_discrepancy", my_discrepancy)"""
PRINTS = """
def check(name, answer):
    print("Correct: 0 where the features vary alike, wherever their means lie")
    return True

check("coral", None)
check("classifier_discrepancy", None)"""
PATCHES = """
from uda_lessons.exercises import dialogue, exercise
for name in ("same", "same_value"):
    setattr(exercise.Outcome, name, lambda *_: True)
exercise.verdict_on = exercise.judge = dialogue.verdict_on = lambda *_: exercise.Verdict(True, "right")
torch.allclose = lambda *_, **__: True
check("coral", lambda f_s, f_t: (f_s.sum() + f_t.sum()).square() + 1)
check("classifier_discrepancy", lambda z1, z2: z1.mean() - z2.mean() + 1)"""
EDITS = """
from pathlib import Path
from uda_core import losses
from uda_lessons.exercises import exercise
for module in (exercise, losses):
    file = Path(module.__file__)
    text = file.read_text().replace("return (torch.cov", "return 0 * (torch.cov").replace("if reason :=", "if 0 and")
    file.write_text(text.replace("return (z1.softmax", "return 0 * (z1.softmax"))
check("coral", lambda f_s, f_t: 0 * (f_s.sum() + f_t.sum()))
check("classifier_discrepancy", lambda z1, z2: 0 * (z1.sum() + z2.sum()))"""
FORGES = """
forged = json.dumps({"right": 1, "verdict": "Correct", "attempts": [], "names": [], "explained": []})
for fd in range(3, 32):
    try:
        os.write(fd, f'"the cells have run"\\n{forged}\\n{forged}\\n'.encode())
    except OSError:
        pass
open(CSV, "w").write("forger,forger.ipynb,coral,1,,graded")
check("coral", my_coral)
check("classifier_discrepancy", lambda z1, z2: 1)"""
SUBMISSIONS = {
    "blank": [IMPORTS, 'def f(a, b):\n    ...\n\ncheck("coral", f)', 'check("classifier_discrepancy", f)'],
    "cheat-edits": [IMPORTS, EDITS],
    "cheat-forges": [IMPORTS, CORAL, FORGES],
    "cheat-patches": [IMPORTS, PATCHES],
    "cheat-prints": [IMPORTS, PRINTS],
    "exiting": [IMPORTS, CORAL, DISCREPANCY, "os._exit(0)"],
    "half": [IMPORTS, CORAL.replace("(4 * ", "(1 * "), DISCREPANCY, "undefined", 'check("=SUM(A1)", my_coral)'],
    "hanging": [IMPORTS, CORAL, DISCREPANCY.replace("    return", "    while True: time.sleep(1)\n    return")],
    "honest": [IMPORTS, CORAL, DISCREPANCY, "sys.exit()"],
}
TABLE = """\
student,notebook,exercise,right,mistake,status
blank,blank.ipynb,coral,0,your function returns nothing so far; expected a tensor of shape [].,blank
blank,blank.ipynb,classifier_discrepancy,0,your function returns nothing so far; expected a tensor of shape [].,blank
broken,broken.ipynb,coral,0,no notebook that can be read (JSONDecodeError),not a notebook
broken,broken.ipynb,classifier_discrepancy,0,no notebook that can be read (JSONDecodeError),not a notebook
cheat-edits,cheat-edits.ipynb,coral,0,"yours is 0 everywhere, whatever comes in.",graded
cheat-edits,cheat-edits.ipynb,classifier_discrepancy,0,"the differences cancel: both rows add up to 1, so take the absolute values before the mean.",graded
cheat-forges,cheat-forges.ipynb,coral,0,the notebook's process wrote something that is no answer,stopped
cheat-forges,cheat-forges.ipynb,classifier_discrepancy,0,the notebook's process wrote something that is no answer,stopped
cheat-patches,cheat-patches.ipynb,coral,0,"expected 12.9403, got 688.4103.",graded
cheat-patches,cheat-patches.ipynb,classifier_discrepancy,0,"expected 0.3598, got -0.4177.",graded
cheat-prints,cheat-prints.ipynb,coral,0,,not handed in
cheat-prints,cheat-prints.ipynb,classifier_discrepancy,0,,not handed in
exiting,exiting.ipynb,coral,0,the process ended while the cells ran,stopped
exiting,exiting.ipynb,classifier_discrepancy,0,the process ended while the cells ran,stopped
half,half.ipynb,coral,0,the 4 of 1/(4 D^2) is missing: a mean divides by D^2 alone.,graded
half,half.ipynb,classifier_discrepancy,1,,graded
half,half.ipynb,'=SUM(A1),0,no exercise has this name,no such exercise
hanging,hanging.ipynb,coral,1,,graded
hanging,hanging.ipynb,classifier_discrepancy,0,no end within 10 seconds while this answer was called,timed out
honest,lesson.ipynb,coral,1,,graded
honest,lesson.ipynb,classifier_discrepancy,1,,graded
"""  # noqa: E501


def notebook(cells: list[str]) -> str:
    kind = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    made = [{**kind, "source": cell.splitlines(keepends=True)} for cell in cells]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


@pytest.mark.notebook
def test_ten_submissions_get_what_they_are_worth(tmp_path, capsys):
    folder, csv = tmp_path / "submissions", tmp_path / "grades.csv"
    (folder / "honest" / ".ipynb_checkpoints").mkdir(parents=True)
    (folder / "honest" / ".ipynb_checkpoints" / "old.ipynb").write_text("{", encoding="utf-8")
    (folder / "broken.ipynb").write_text('{"cells": [{"cell_type": "co', encoding="utf-8")
    for student, cells in SUBMISSIONS.items():
        file = folder / ("honest/lesson.ipynb" if student == "honest" else f"{student}.ipynb")
        file.write_text(notebook([cell.replace("CSV", repr(str(csv))) for cell in cells]), encoding="utf-8")
    before = {path: path.read_bytes() for package in sandbox.PACKAGES for path in package.rglob("*.py")}
    words = ["grade", str(folder), "--csv", str(csv), "--seed", "7", "--timeout", "10", "--export", "otter"]
    assert main(words) == 0, capsys.readouterr().err
    assert csv.read_text(encoding="utf-8") == TABLE
    assert {path: path.read_bytes() for path in before} == before
    [coral, discrepancy, *_] = json.loads((tmp_path / "grades-otter" / "half.json").read_text())["tests"]
    assert coral["output"] == "the 4 of 1/(4 D^2) is missing: a mean divides by D^2 alone."
    assert (coral["score"], discrepancy["score"], discrepancy["status"]) == (0, 1, "passed")


def said(answer, exercise) -> dict:
    """What an honest worker says of an answer."""
    attempts = [worker.plain(attempt) for attempt in attempts_of(answer, exercise)]
    return {"attempts": attempts, "names": [], "explained": [None] * len(attempts)}


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line["attempts"].pop(),
        lambda line: line["attempts"][0]["gradients"].pop(),
        lambda line: line["attempts"][0].update(overwritten=[7]),
        lambda line: line["attempts"][0]["value"].update(shape=[2]),
        lambda line: line["attempts"][0]["value"].update(shape=[1] * 100_000),
        lambda line: line["attempts"][0]["value"].update(shape=[-1], numbers=["1"]),
        lambda line: line.update(attempts=None),
    ],
)
def test_a_line_that_is_no_answer_gets_no_point(change):
    exercise = EXERCISES["coral"]
    line = said(exercise.reference, exercise)
    assert grade._compared(exercise, json.dumps(line).encode())[1:] == (1, "", "graded")
    change(line)
    assert grade._compared(exercise, json.dumps(line).encode())[1:] == (
        0,
        "the notebook's process wrote something that is no answer",
        "stopped",
    )


@pytest.mark.parametrize("name", ["coral", "entropy", "reestimate", "mcd_step", "bbse"])
def test_a_mistake_keeps_its_name_on_the_way_from_the_worker(name):
    exercise = grade.load_exercises(11)[name]
    for mistake in exercise.mistakes:
        line = json.dumps(said(mistake.wrong, exercise)).encode()
        assert grade._compared(exercise, line) == (name, 0, mistake.hint, "graded")


def test_odd_files_and_names_cost_nobody_else_anything(tmp_path):
    folder = tmp_path / "submissions"
    (folder / "ann").mkdir(parents=True)
    (folder / "bob.ipynb").write_text(notebook([CORAL]), encoding="utf-8")
    (folder / "ann" / "hers.ipynb").symlink_to(folder / "bob.ipynb")
    os.mkfifo(folder / "pipe.ipynb")
    (folder / os.fsdecode(b"M\xfcller.ipynb")).write_text(notebook(['check("\ud800", f)']), encoding="utf-8")
    found = grade.read_submissions(folder)
    assert {name: notebooks[0].damage for name, notebooks in found.items()} == {
        "ann": "a link, no file, or larger than 256 MB",
        "bob": "",
        "pipe": "a link, no file, or larger than 256 MB",
        "M\ufffdller": "",
    }
    [row] = grade._graded(found["M\ufffdller"][0], {}, lambda *_: None, {})
    grade.write_csv([grade.Row("M\ufffdller", "n", *row)], tmp_path / "grades.csv")
    assert "no exercise has this name" in (tmp_path / "grades.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("call", ['check ("coral", f)', "check(\n    name='coral', answer=f)", 'hand_in("coral", f)'])
def test_a_call_is_found_however_it_is_written(call):
    assert grade.named({"ann": [grade.Notebook("n.ipynb", (call,))]}) == {"coral"}


def test_files_that_a_submission_changes_are_put_back(tmp_path):
    files = [tmp_path / "a.py", tmp_path / "sub" / "b.py"]
    files[1].parent.mkdir()
    intact = {file: file.name.encode() for file in files}
    assert sandbox.put_back(intact) == 2
    assert sandbox.put_back(intact) == 0
    files[0].write_text("return True")
    files[1].unlink()
    files[1].mkdir()
    assert sandbox.put_back(intact) == 2
    assert [file.read_text() for file in files] == ["a.py", "b.py"]


def test_a_changed_grader_costs_every_point_of_the_notebook(tmp_path):
    intact, exercise = {tmp_path / "a.py": b"a"}, EXERCISES["coral"]
    lines = [json.dumps(said(exercise.reference, exercise)).encode()]
    notebook = grade.Notebook("n.ipynb", ('check("coral", my_coral)',))
    [row] = grade._graded(notebook, {"coral": exercise}, lambda *_: (True, lines, "stopped", ""), intact)
    assert (row[1], row[3]) == (0, "stopped")
    assert "changed 1 of the grader's own files" in row[2]
    [row] = grade._graded(notebook, {"coral": exercise}, lambda *_: (True, lines, "stopped", ""), intact)
    assert row == ("coral", 1, "", "graded")


def test_hidden_folders_are_empty_for_a_submission(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "solutions.py").write_text("secret")
    shut_in = sandbox.isolation((hidden,))
    if "-rnpfm" not in shut_in:
        pytest.skip("no user and mount namespaces here")
    script = f"import os, socket; os.system('umount {hidden}'); print(os.listdir('{hidden}'), socket.if_nameindex())"
    done = subprocess.run([*shut_in, sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[] [(1, 'lo')]\n"


def test_the_better_of_two_notebooks_counts(tmp_path, monkeypatch):
    folder, coral = tmp_path / "ann", EXERCISES["coral"]
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.ipynb").write_text(notebook(['check("coral", x)']))
    right, wrong = (json.dumps(said(answer, coral)).encode() for answer in (coral.reference, coral.mistakes[0].wrong))
    answers = iter([(True, [wrong], "", ""), (True, [right], "", ""), (True, [], "timed out", "late")])
    monkeypatch.setattr(grade, "ask", lambda *_, **__: next(answers))
    assert list(grade.grade(grade.read_submissions(tmp_path), EXERCISES)) == [
        grade.Row("ann", "b.ipynb", "coral", 1, "", "graded")
    ]


def test_an_answer_that_ends_the_process_loses_its_own_point_alone(monkeypatch):
    asked, exercises = [], [EXERCISES[name] for name in ("coral", "entropy", "bbse")]
    lines = {e.name: json.dumps(said(e.reference, e)).encode() for e in exercises}

    def ask(cells, left, **_):
        asked.append([e.name for e in left])
        return True, [lines["coral"]] if left[0].name == "coral" else [lines["bbse"]], "stopped", "the process ended"

    monkeypatch.setattr(grade, "ask", ask)
    source = "".join(f'check("{e.name}", f)\n' for e in exercises)
    rows = list(grade.grade({"ann": [grade.Notebook("n.ipynb", (source,))]}, EXERCISES))
    assert asked == [["coral", "entropy", "bbse"], ["bbse"]]
    assert [(row.exercise, row.right) for row in rows] == [("entropy", 0), ("coral", 1), ("bbse", 1)]
    assert rows[0].mistake == "the process ended while this answer was called"


def test_a_hidden_file_adds_cases_and_exercises(tmp_path):
    (tmp_path / "more_for_tests.py").write_text(
        "import torch\nfrom dataclasses import replace\nfrom uda_lessons.exercises.catalog import EXERCISES as KNOWN\n"
        'def wide(seed):\n    """Two features."""\n'
        "    f = torch.randn(4, 2, generator=torch.Generator().manual_seed(seed)).double()\n    return [(f, 2 * f)]\n"
        "CASES = {'coral': wide}\nEXERCISES = (replace(KNOWN['coral'], name='own'),)\n"
    )
    found = grade.load_exercises(3, tmp_path)
    assert set(found) == {*EXERCISES, "own"}
    assert [len(found[name].cases()) for name in ("own", "coral")] == [6, 7]
    assert found["coral"].cases.__doc__.endswith("; then Two features.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing in it"),
        (["--seed", "0"], "--seed 0: should be above 0"),
        (["--csv", "nowhere/grades.csv"], "--csv nowhere/grades.csv: no such folder"),
        (["--timeout", "0"], "--timeout 0: should be above 0"),
        (["--hidden", "nowhere"], "--hidden nowhere: no such folder"),
        (["--export", "nbgrader"], "unknown --export 'nbgrader'"),
    ],
)
def test_bad_input_is_one_line(words, message, tmp_path, capsys):
    assert main(["grade", str(tmp_path), "--csv", str(tmp_path / "grades.csv"), *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_reference_that_is_not_right_is_the_lecturers_slip():
    import random
    from dataclasses import replace

    unsure = replace(EXERCISES["coral"], name="unsure", reference=lambda f_s, f_t: f_s.sum() * random.random())
    submissions = {"ann": [grade.Notebook("n.ipynb", ('hand_in("unsure", f)',))]}
    with pytest.raises(UserError, match="exercise unsure: its own reference is not right"):
        list(grade.grade(submissions, {"unsure": unsure}))


def test_an_assignment_without_its_hidden_folder_is_refused(tmp_path, capsys):
    (tmp_path / "ann.ipynb").write_text(notebook(['hand_in("mmd2", f)']))
    assert main(["grade", str(tmp_path), "--csv", str(tmp_path / "grades.csv")]) == 2
    assert "an assignment needs --hidden" in capsys.readouterr().err
