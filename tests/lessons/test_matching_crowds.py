"""What lesson 02 says in words about its tables; after a new measurement, read them again."""

from statistics import mean

import pytest

from uda_core.lab import results

ALIKE, MISSING = "counts alike, B at -0.5", "no A, B at 0.5"


def score(row: str, task: str) -> float:
    return mean(results.tasks("crowds-blobs", row)[task])


def gap(row: str, task: str) -> float:
    lines = results.load("crowds-blobs").query("row == @row and task == @task and measure == 'domain accuracy'")
    return 100 * lines["value"].mean()


def test_matching_helps_where_counts_agree_and_harms_where_a_class_is_missing():
    assert score("source only", MISSING) == pytest.approx(95, abs=0.5)
    for row in ("CORAL", "DANN, weight 10"):
        assert score(row, ALIKE) - score("source only", ALIKE) > 20
        assert abs(gap(row, ALIKE) - gap("source only", ALIKE)) < 2
    assert 40 < score("DANN, weight 10", MISSING) < 55
    assert score("CORAL", MISSING) < score("source only", MISSING) - 5


def test_the_gap_number_falls_most_where_the_harm_is_done():
    falls = {
        (row, task): gap("source only", task) - gap(row, task)
        for row in ("CORAL", "DANN", "DANN, weight 10")
        for task in results.tasks("crowds-blobs", row)
    }
    assert max(falls, key=falls.get) == ("DANN, weight 10", MISSING)
    assert max(falls.values()) > 10


def test_both_lose_on_handwriting_and_on_photographs():
    for study in ("fonts-handwriting", "office31-features"):
        first, *others = (mean(results.scores(study, row).values()) for row in ("source only", "CORAL", "DANN"))
        assert max(others) < first - 2
    rows = {row: results.numbers("fonts-handwriting", row).mean() for row in ("source only", "CORAL", "DANN")}
    assert rows["DANN"]["domain"] == pytest.approx(0.69, abs=0.01)  # log 2
    assert rows["DANN"]["domain accuracy"] == pytest.approx(0.95, abs=0.005)
    assert rows["CORAL"]["domain accuracy"] > rows["DANN"]["domain accuracy"] > rows["source only"]["domain accuracy"]
    assert rows["CORAL"]["coral"] < 0.001


def test_the_quiz_of_lesson_03_counts_as_the_table_does():
    held = results.numbers("fonts-handwriting", "MCD")
    assert round(100 * held["head agreement"].mean(), 1) == 99.6
    assert [round(100 * value) for value in (held["score"].mean(), held["score"].min(), held["score"].max())] == [
        88, 84, 94,
    ]  # fmt: skip
