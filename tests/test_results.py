"""The committed results: complete, honest about seeds, and the same wherever they are printed."""

from pathlib import Path

import pytest

from uda_core import results
from uda_core.benchmarks import accuracy
from uda_core.errors import UserError

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", results.FILES)
def test_file_holds_every_row_and_seed_of_the_benchmark(name):
    _, rows, note = accuracy.TABLES[name]
    held = results.load(name)
    assert list(held["rows"]) == list(rows)
    assert held["note"] == note
    seeds = {tuple(entry["seeds"]) for entry in held["rows"].values()}
    assert len(seeds) == 1, "every row must be measured on the same seeds"
    for row in held["rows"]:
        assert all(0 < score <= 100 for score in results.scores(name, row).values())


@pytest.mark.parametrize("name", results.FILES)
def test_rows_were_measured_with_the_settings_that_the_benchmark_has_now(name):
    _, rows, _ = accuracy.TABLES[name]
    for row, held in results.load(name)["rows"].items():
        assert {key: value for key, value in held.items() if key != "seeds"} == rows[row].describe(name)


def test_table_shows_mean_spread_and_every_seed(monkeypatch):
    rows = {"a": {"seeds": {"0": {"score": 0.5}, "1": {"score": 0.7}}}}
    monkeypatch.setattr(results, "load", lambda name: {"rows": rows, "note": "Note.", "command": "run it"})
    assert "| a | **60.0** | 14.1 | 50.0 | 70.0 |" in results.markdown("fonts-handwriting")
    assert results.markdown("fonts-handwriting").endswith("Note. `run it`")


def test_unknown_row_is_named():
    with pytest.raises(UserError, match="unknown row 'CGMD'"):
        results.scores("fonts-handwriting", "CGMD")


def test_readme_prints_the_committed_table():
    assert results.markdown("fonts-handwriting") in README.read_text(encoding="utf-8")


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(UserError, match=r"page\.md: no <!-- results:begin -->"):
        results.write_into(page)
