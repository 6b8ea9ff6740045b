"""The glossary: each term has its heading, and is linked in the lesson that it says it comes from, not earlier."""

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = {path.name: path for path in sorted(FOLDER.glob("[0-9]*.ipynb"))}
ENTRY = re.compile(r"^### (.+)\n\n(.+) \(\[lesson (\d\d)\]\((.+)\)\)$", re.MULTILINE)


@cache
def text(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def linked(path: Path) -> set[str]:
    return set(re.findall(r"\(glossary\.ipynb#([^)]*)\)", text(path)))


GLOSSARY = text(FOLDER / "glossary.ipynb")
TERMS = {term.replace(" ", "-"): (lesson, name) for term, _, lesson, name in ENTRY.findall(GLOSSARY)}  # by anchor


def test_every_heading_is_an_entry_and_they_are_in_order():
    headings = re.findall("^### (.*)$", GLOSSARY, re.MULTILINE)
    assert [heading.replace(" ", "-") for heading in headings] == list(TERMS)
    assert headings == sorted(headings, key=str.casefold)


@pytest.mark.parametrize("name", LESSONS)
def test_every_link_of_a_lesson_leads_to_a_heading(name):
    assert linked(LESSONS[name]) - TERMS.keys() == set()


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_linked_where_it_comes_first(term):
    lesson, name = TERMS[term]
    assert name.startswith(f"{lesson}_")
    assert [name for name, path in LESSONS.items() if term in linked(path)][:1] == [name]
