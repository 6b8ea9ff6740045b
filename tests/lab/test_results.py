"""The committed results: complete, honest about seeds, and the same wherever they are printed."""

from pathlib import Path
from statistics import mean, stdev

import pytest

from uda_core.errors import UserError
from uda_core.lab import results
from uda_core.lab.benchmarks import accuracy
from uda_core.lab.results.published import PUBLISHED

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


def test_table_shows_every_phase(monkeypatch):
    def entry(*scores):
        told = {phase: {"score": x} for phase, x in zip(("source", "stage1", "stage2"), scores, strict=True)}
        return {"score": scores[-1], "milestones": told}

    rows = {
        "cag": {"seeds": {"0": entry(0.2, 0.4, 0.6), "1": entry(0.3, 0.6, 0.7)}},
        "alone": {"seeds": {"0": {"score": 0.2, "milestones": {"end": {"score": 0.2}}}, "1": {"score": 0.4}}},
    }
    monkeypatch.setattr(results, "load", lambda name: {"rows": rows, "note": "Note.", "command": "run it"})
    table = results.markdown("streets").splitlines()
    assert table[0] == "| | after source | after stage 1 | mean | ± | seed 0 | seed 1 |"
    assert table[2] == "| cag | 25.0 ± 7.1 | 50.0 ± 14.1 | **65.0** | 7.1 | 60.0 | 70.0 |"
    assert table[3] == "| alone |  |  | **30.0** | 14.1 | 20.0 | 40.0 |"


def test_table_shows_every_task(monkeypatch):
    def entry(*scores):
        tasks = {task: {"score": x} for task, x in zip(("W->A", "A->W"), scores, strict=True)}
        return {"score": sum(scores) / 2, "tasks": tasks}

    rows = {"mcd": {"seeds": {"0": entry(0.2, 0.4), "1": entry(0.3, 0.6)}}}
    monkeypatch.setattr(results, "load", lambda name: {"rows": rows, "note": "Note.", "command": "run it"})
    table = results.markdown("streets").splitlines()
    assert table[0] == "| | W->A | A->W | mean | ± | seed 0 | seed 1 |"
    assert table[2] == "| mcd | 25.0 ± 7.1 | 50.0 ± 14.1 | **37.5** | 10.6 | 30.0 | 45.0 |"


@pytest.mark.parametrize("name", results.IN_README)
def test_readme_prints_the_committed_tables(name):
    assert results.markdown(name) in README.read_text(encoding="utf-8")


def test_published_numbers_stand_beside_ours():
    table = results.beside_published()
    assert table in README.read_text(encoding="utf-8")
    for told in PUBLISHED:
        if told.ours:
            assert not told.not_run
            table_name, row = told.ours
            values = list(results.scores(table_name, row).values())
            assert f"| {told.method} | {told.score} | {mean(values):.1f} ± {stdev(values):.1f} |" in table
        else:
            assert told.not_run.startswith("not run: needs ")


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(UserError, match=r"page\.md: no <!-- results:fonts-handwriting:begin -->"):
        results.write_into(page)
