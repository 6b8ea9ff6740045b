"""Editions, slides and lecturer's pages: no solution where none should be, nothing from elsewhere, numbers as held."""

import json
import re
from pathlib import Path
from statistics import mean, stdev

import nbformat
import pytest

from uda_core.errors import UserError
from uda_core.lab import results
from uda_core.lab.main import main
from uda_lessons.teaching import editions

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PAGES = sorted((ROOT / "docs" / "teaching").glob("*.md"))
PINNED = re.compile(r"(± )?([+-]?\d+(?:\.\d+)?)<!-- (.+?) -->")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def solutions(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell.metadata.solution for cell in cells if "solution" in cell.metadata]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Both editions, as the command writes them."""
    folder = tmp_path_factory.mktemp("editions")
    for kind in ("student", "solved"):
        assert main(["lessons", f"--{kind}", "--out", str(folder / kind)]) == 0
    return folder


# -- editions ----------------------------------------------------------------------------------------------------------


def test_the_students_edition_holds_no_solution_anywhere(written):
    for path in LESSONS:
        text = (written / "student" / path.name).read_text(encoding="utf-8")
        sources = "\n".join(cell["source"] for cell in nbformat.reads(text, as_version=4).cells)
        assert solutions(path)
        assert '"solution"' not in text
        assert not [solution for solution in solutions(path) if solution in sources or json.dumps(solution) in text]


def test_the_solved_edition_has_every_solution_and_is_otherwise_the_same(written):
    for path in LESSONS:
        before = nbformat.read(path, as_version=4).cells
        after = nbformat.read(written / "solved" / path.name, as_version=4).cells
        assert [cell.source for cell in after] == [cell.metadata.get("solution", cell.source) for cell in before]
        assert not any("solution" in cell.metadata for cell in after)
        assert [cell.metadata.get("tags") for cell in after] == [cell.metadata.get("tags") for cell in before]


@pytest.mark.parametrize("kind", ["student", "solved"])
def test_an_edition_works_alone(written, kind):
    folder = written / kind
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        *(path.name for path in LESSONS),
        "glossary.ipynb",
        "LICENSE",
        "images/lesson05.png",
        "images/lesson07.png",
    }
    for path in folder.glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))
        for address in LINK.findall(path.read_text(encoding="utf-8")):
            assert address.startswith("http") or (folder / address.partition("#")[0]).exists(), (
                f"{path.name}: {address}"
            )


def test_what_somebody_changed_is_not_overwritten_and_nothing_else_is_written(written, tmp_path, capsys):
    main(["lessons", "--student", "--out", str(tmp_path)])
    changed, gone = tmp_path / LESSONS[-1].name, tmp_path / "LICENSE"
    changed.write_text("my own")
    gone.unlink()
    assert main(["lessons", "--student", "--out", str(tmp_path)]) == 2
    assert f"{changed} was changed, and would be overwritten" in capsys.readouterr().err
    assert changed.read_text() == "my own"
    assert not gone.exists()
    changed.unlink()
    assert main(["lessons", "--student", "--out", str(tmp_path)]) == 0
    assert f"{len(LESSONS) + 4} files, 2 of them new" in capsys.readouterr().out


def test_without_a_clone_it_says_where_notebooks_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(editions, "HERE", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["lessons", "--student", "--out", "course"]) == 2
    assert "an installed wheel holds none of them; run this in a clone" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    monkeypatch.chdir(ROOT)  # a wheel is installed, and the command runs in a clone
    assert [path.name for path in editions.notebooks()] == [path.name for path in LESSONS]


def test_nothing_asked_for_is_said(tmp_path, capsys):
    assert main(["lessons", "--out", str(tmp_path)]) == 2
    assert "add --student, --solved or --slides" in capsys.readouterr().err


# -- slides ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slides():
    """The module, where what it needs is installed."""
    pytest.importorskip("nbconvert", reason="nbconvert is not installed")
    from uda_lessons.teaching import slides

    try:
        slides.shipped()
    except UserError as error:
        pytest.skip(str(error))
    return slides


@pytest.fixture(scope="module")
def talks(slides):
    return {path: slides.Talk(path) for path in LESSONS}


def test_slides_ask_nobody_for_anything(slides):
    made = slides.files([LESSONS[0], LESSONS[4]])
    assert {"01_the_gap.html", "05_gradient_discrepancy.html", "mathjax/es5/tex-svg.js", "reveal/dist/reveal.js"} < set(
        made
    )
    for name, data in made.items():
        if name.endswith((".html", ".css")):
            text = re.sub(r"/\*.*?\*/", "", data.decode(), flags=re.DOTALL)
            assert not re.findall(r"https?://(?!www\.w3\.org/)[^\s\"')]+", text), name
            here = name.rpartition("/")[0]
            for address in re.findall(r'(?:src|href)="([^"#][^"]*)"', text) if name.count("/") == 0 else []:
                assert address.removeprefix("./") in made, f"{name}: {address}"
            for address in re.findall(r"url\([\"']?\.?/?([\w/.-]+)[\"']?\)", text):
                assert f"{here}/{address}".lstrip("/") in made, f"{name}: {address}"
    assert sum(map(len, made.values())) < 12e6


def test_slides_hold_the_lesson_in_its_order(talks):
    for path, talk in talks.items():
        sections = list(dict.fromkeys(slide.section for slide in talk.slides[1:]))
        assert sections == ["Question", "Film", "Predict", "Experiment", "Explain", "Exercise", "Quiz", "So what"], path
        assert "You will be able to" in "".join(talk.slides[0].body)
        assert sum(slide.section == "Quiz" for slide in talk.slides) == 5
        text = "\n".join(part for slide in talk.slides for part in slide.body)
        assert text.count("check(") == len(solutions(path))
        assert "](" not in text
        assert any(slide.title.startswith("Measured") for slide in talk.slides) or path.stem[:2] == "06"


def test_notes_hold_what_the_slides_leave_out(slides, talks):
    """Every word of every Markdown cell before the appendix is on a slide or in its notes."""
    for path, talk in talks.items():
        said = " ".join(part for s in talk.slides for part in [s.title, *s.body, *s.notes])
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown" and not cell.source.startswith(("## Appendix", "## Quiz", "# ")):
                words = set(re.findall(r"\w{4,}", slides.without_links(cell.source))) - set(re.findall(r"\w+", said))
                assert words == set(), path.stem


def test_sentences_end_where_they_should(slides):
    text = "Ben-David et al. (2010) say $a. B$ and `x. Y`. **Which one?** A B. c"
    assert slides.sentences(text) == ["Ben-David et al. (2010) say $a. B$ and `x. Y`.", "**Which one?**", "A B. c"]
    assert slides.first(" ".join(["Word"] * 30) + ". Next.", 20) == " ".join(["Word"] * 30) + "."
    assert slides.first("**The parts.** Labels by anchors.", 2) == "**The parts.** Labels by anchors."


def test_narrow_code_stands_beside_its_equation_and_wide_code_below(slides):
    equation, narrow, wide = "$$ a = b $$", slides.listing("a = b")[0], slides.listing("a = " + 20 * "bcd + ")[0]
    assert 'class="two"' in slides.beside([equation, narrow])[0]
    assert slides.beside([equation, wide]) == [equation, wide]


# -- the lecturer's pages ----------------------------------------------------------------------------------------------


def test_the_plan_names_every_lesson_with_its_goals():
    plan = " ".join((ROOT / "docs" / "teaching" / "plan.md").read_text(encoding="utf-8").split())
    for n, path in enumerate(LESSONS, 1):
        header = nbformat.read(path, as_version=4).cells[0].source
        title = header.splitlines()[0].removeprefix("# ")
        assert f"## Session {n}: [{title}](../../notebooks/{path.name})" in plan
        goals = " ".join(header.partition("You will be able to")[2].replace("\n- ", " ").split())
        assert f"Goals: {goals}" in plan
    assert "## Session 10" in plan


def test_the_plan_names_cells_that_there_are():
    plan = (ROOT / "docs" / "teaching" / "plan.md").read_text(encoding="utf-8")
    for path, part in zip(LESSONS, re.split(r"^## Session \d+: ", plan, flags=re.MULTILINE)[1:10], strict=True):
        code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert max(int(k) for k in re.findall(r"\[(\d+)\]", part)) <= len(code)
        [quiz] = [k for k, cell in enumerate(code, 1) if cell.source.startswith("quiz(")]
        assert f"[{quiz}], [{quiz + 1}]" in part, path.stem


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_resolves(page):
    for address in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / address.partition("#")[0]).exists(), address


def held(name: str, row: str, part: str | None = None) -> list[float]:
    """The values behind a pinned number: a measure of each seed, or what a cell of a table prints."""
    if ":" in name:
        heads = list[str]()
        for line in results.table(name).splitlines():
            cells = re.split(r"\s*\|\s*", line.strip("| "))
            heads = cells if part in cells else heads
            if cells[0] == row and heads:
                return [float(n) for n in re.findall(r"[+-]?\d+\.\d+", cells[heads.index(part)])]
        raise KeyError(f"{name}: no {row}, {part}")
    if " minus " in row:
        more, less = (mean(held(name, one, part)) for one in row.split(" minus "))
        return [more - less]
    if part is None:
        return list(results.scores(name, row).values())
    if part in (of_tasks := results.tasks(name, row)):
        return of_tasks[part]
    if part.startswith("class "):
        return [results.per_class(name, row)[part.removeprefix("class ")]]
    numbers = results.numbers(name, row)
    if part == "agreed and wrong":
        return list(100 * (1 - numbers["score"] / numbers["head agreement"]))
    nats = part in ("target entropy", "domain")
    return list(numbers[part] * (1 if nats else 100))


@pytest.mark.parametrize("name", ["misconceptions.md", "exam.md"])
def test_numbers_are_those_of_the_results(name):
    text = (ROOT / "docs" / "teaching" / name).read_text(encoding="utf-8")
    found = PINNED.findall(text)
    assert len(found) > 25
    wrong = []
    for spread, number, where in found:
        values = held(*where.split(" | "))
        digits = len(number.partition(".")[2])
        if ":" in where:
            right = float(number) in values
        else:
            right = f"{(stdev if spread else mean)(values):.{digits}f}" == number
        if not right:
            wrong.append(f"{number} is not {where}: {values}")
    assert wrong == []


def test_pins_are_not_blind():
    assert held("choices:rows", "target entropy", "imbalanced") == [-0.75, 16.5, 25.3]
    assert held("factorial-fonts:effects", "InfoMax", "on top of the others") == [9.1, 7.0]
    assert held("streets", "CAG minus source only")[0] == pytest.approx(34.4, abs=0.05)


def test_misconceptions_quote_no_number_without_a_pin():
    """Of those that look like results: one decimal, below a hundred."""
    text = (ROOT / "docs" / "teaching" / "misconceptions.md").read_text(encoding="utf-8")
    text = re.sub(r"<!-- .+? -->", "<", re.sub(r'"[^"]*"', "", text))
    assert re.findall(r"(?<![\d.])\d{1,2}\.\d(?![\d<])", text) == []


def test_the_exam_adds_up_and_copies_no_quiz():
    text = (ROOT / "docs" / "teaching" / "exam.md").read_text(encoding="utf-8")
    points = [int(n) for n in re.findall(r"^## \d+\. .*\((\d+) points\)$", text, re.MULTILINE)]
    assert len(points) == 14
    assert sum(points) == 90 == int(re.search(r"Fourteen questions, (\d+) points", text)[1])
    quizzes = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "notebooks").rglob("quizzes/*.toml"))
    )
    for question in re.findall(r'^text = "(.+)"', quizzes, re.MULTILINE):
        assert question not in text


def test_the_rubrics_add_up():
    text = (ROOT / "docs" / "teaching" / "project.md").read_text(encoding="utf-8")
    parts = re.split(r"^## Rubric of the \w+ \((\d+) points\)$", text, flags=re.MULTILINE)[1:]
    for total, part in zip(parts[::2], parts[1::2], strict=True):
        assert sum(
            int(n) for n in re.findall(r"^\| [^|]*\((\d+)\) \|", part.partition("\n## ")[0], re.MULTILINE)
        ) == int(total)
