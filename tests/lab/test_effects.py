"""Effects of a factorial study: hand-computed numbers, paired seeds, and nothing without all cells."""

from itertools import combinations, product
from statistics import mean

import numpy as np
import pandas as pd
import pytest

from uda_core.errors import UserError
from uda_core.lab import results
from uda_core.lab.results.effects import cells, effects
from uda_core.lab.studies import STUDIES

TERMS = "ABCD"
CELLS = [" + ".join(t for t, on in zip(TERMS, of, strict=True) if on) or "none" for of in product((0, 1), repeat=4)]
BESIDE = ("source only", "A + B at 0.1")  # rows that are no cells


def score(row, seed, task=""):
    """A known model in percent: A and B help each other by 6; seeds differ by 20, and seed 1 needs A by 2 more.

    On the task "far" D does 5 more.
    """
    a, b, c, d = (term in row.split(" + ") for term in TERMS)
    return 30 + 20 * seed + (10 + 2 * seed) * a + 4 * b + 2 * c + (5 * (task == "far") - 3) * d + 6 * (a and b)


def frame(rows=(*BESIDE[:1], *CELLS, *BESIDE[1:]), seeds=(0, 1), tasks=("",), score=score):
    """A results file with a class's score, another measure and, of several tasks, a line for all of them."""
    lines = [(row, seed, task, score(row, seed, task) / 100) for row in rows for seed in seeds for task in tasks]
    if len(tasks) > 1:
        lines += [(row, seed, "", 0.99) for row in rows for seed in seeds]
    whole = [(row, seed, task, "end", "score", "", value) for row, seed, task, value in lines]
    beside = [(*line[:4], *more) for line in whole for more in (("score", "1", 0.5), ("source_score", "", 0.9))]
    return pd.DataFrame(whole + beside, columns=results.COLUMNS)


@pytest.mark.parametrize(
    ("kind", "of_seed_0", "of_seed_1"),
    [
        ("alone", [10, 4, 2, -3], [12, 4, 2, -3]),
        ("on top of the others", [16, 10, 2, -3], [18, 10, 2, -3]),
        ("main effect", [13, 7, 2, -3], [15, 7, 2, -3]),  # A: 10 in the four pairs without B, 16 in those with it
        ("interaction", [3, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]),  # A x B: (16 - 10) / 2; A x C, A x D, B x C ...
    ],
)
def test_effects_are_those_of_the_model(kind, of_seed_0, of_seed_1):
    found = effects(frame())[kind]
    assert list(found.index) == [("", 0), ("", 1)]
    pairs = ["A x B", "A x C", "A x D", "B x C", "B x D", "C x D"]
    assert list(found) == (pairs if kind == "interaction" else [*TERMS])
    np.testing.assert_allclose(found.to_numpy(), [of_seed_0, of_seed_1], atol=1e-9)


def test_effects_are_the_means_of_their_definitions():
    rng = np.random.default_rng(0)
    y = dict(zip(CELLS, rng.uniform(0, 100, 16), strict=True))
    found = effects(frame(CELLS, [0], score=lambda row, *_: y[row])).iloc[0]

    def effect(term, among):
        return mean(y[c] for c in among if term in c) - mean(y[c] for c in among if term not in c)

    for term in TERMS:
        assert found["main effect", term] == pytest.approx(effect(term, CELLS))
    for a, b in combinations(TERMS, 2):
        with_b, without_b = [c for c in CELLS if b in c], [c for c in CELLS if b not in c]
        assert found["interaction", f"{a} x {b}"] == pytest.approx((effect(a, with_b) - effect(a, without_b)) / 2)


def test_only_seeds_that_every_cell_has_count():
    cut = pd.concat([frame(), frame(CELLS[:9], seeds=[2])])
    pd.testing.assert_frame_equal(effects(cut), effects(frame()))


def test_each_task_has_its_effects():
    found = effects(frame(tasks=("near", "far")))
    assert list(found.index.unique("task")) == ["near", "far"]
    pd.testing.assert_frame_equal(found.loc["near"], effects(frame()).loc[""])
    assert list(found.loc["far"]["main effect", "D"]) == pytest.approx([2, 2])


@pytest.mark.parametrize("beside", [(), BESIDE])
def test_missing_cells_are_named(beside):
    with pytest.raises(UserError, match=r"every combination of terms; missing: none, B \+ D$"):
        effects(frame([row for row in (*CELLS, *beside) if row not in ("none", "B + D")]))
    with pytest.raises(UserError, match="no seed is in all 16 cells"):
        effects(pd.concat([frame(CELLS[:8], [0]), frame(CELLS[8:], [1])]))
    with pytest.raises(UserError, match="missing: none"):
        effects(frame([]))


def test_cells_are_those_of_the_studies():
    factorial = [name for name in STUDIES if name.startswith("factorial-")]
    assert len(factorial) == 3
    for name in factorial:
        assert list(cells(frame(STUDIES[name].rows, score=lambda *_: 50))) == list(STUDIES[name].rows)[:16]


def test_tables_show_each_term_and_pair(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "load", lambda name: frame())
    monkeypatch.setattr(results, "NAMES", ("made",))
    page = tmp_path / "page.md"
    page.write_text("<!-- results:made:effects:begin -->\nold\n<!-- results:made:effects:end -->\n")
    results.write_into(page)
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[1:4] == [
        "| term | alone | on top of the others | main effect |",
        "|---|---:|---:|---:|",
        "| A | 11.0 ± 1.4 | 17.0 ± 1.4 | 14.0 ± 1.4 |",
    ]
    assert lines[4] == "| B | 4.0 ± 0.0 | 10.0 ± 0.0 | 7.0 ± 0.0 |", "the seeds are 20 apart, but paired"
    assert lines[7:11] == ["", "| pair | interaction |", "|---|---:|", "| A x B | 3.0 ± 0.0 |"]
    assert lines[-2].startswith("Points of percent, mean over the 2 seeds")


def test_tables_show_each_task(monkeypatch):
    monkeypatch.setattr(results, "load", lambda name: frame(tasks=("near", "far")))
    lines = results.of_terms("made").splitlines()
    assert lines[8] == "| D, near | -3.0 ± 0.0 | -3.0 ± 0.0 | -3.0 ± 0.0 |"
    assert lines[9] == "| D, far | 2.0 ± 0.0 | 2.0 ± 0.0 | 2.0 ± 0.0 |"
    assert lines[13:15] == ["| A x B, near | 3.0 ± 0.0 |", "| A x B, far | 3.0 ± 0.0 |"]
