"""Lesson 09: the stand-in folders, the cases, one call each, and the sentences that quote a results file."""

from statistics import mean

import pytest
import torch
from PIL import Image

from uda_core import methods
from uda_core.data.image_folders import in_memory
from uda_core.errors import UserError
from uda_core.lab import results
from uda_lessons import own


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return own.write_pair(tmp_path_factory.mktemp("pair"))


def test_the_pair_is_two_folders_of_ten_classes(folders):
    task = in_memory(*folders, side=16)
    pair = task.pair
    assert (pair.name, pair.classes) == ("pen-print", tuple("0123456789"))
    assert len(pair.source_train) + len(pair.source_val) == 1797
    assert len(pair.source_val) == pytest.approx(599, abs=10)
    assert pair.source_val.y.bincount().min() >= 57  # a third of each class
    assert pair.target_train.x.shape == (own.PRINTED, 3, 16, 16)
    assert task.truth.target_train.bincount().tolist() == 10 * [own.PRINTED // 10]


def test_images_alone_are_a_target_without_labels(folders, tmp_path):
    for i in range(3):
        Image.new("RGB", (9, 5), (255, 0, 0)).save(tmp_path / f"{i}.png")
    task = in_memory(folders[0], tmp_path, side=8)
    assert task.truth is None
    assert task.pair.target_train.x.shape == (3, 3, 8, 8)
    assert (task.pair.target_test.x[:, 0] == 1).all()
    with pytest.raises(UserError, match="no such folder"):
        in_memory(folders[0], tmp_path / "nowhere")


def test_each_case_is_what_it_says():
    x, y = torch.rand(60, 3, 8, 8), torch.arange(60) % 6
    made = own.cases(x, y, 6)
    counts = {name: y_t.bincount(minlength=6).tolist() for name, (_, y_t) in made.items()}
    assert counts["fewer of some classes"] == [10, 10, 10, 1, 1, 1]
    assert counts["a class cut out"] == [10, 10, 10, 10, 10, 0]
    assert torch.equal(made["two meanings exchanged"][0], x)
    assert made["two meanings exchanged"][1][:4].tolist() == [3, 1, 2, 0]
    assert made["photocopied"][0].min() >= 0.3
    assert not torch.equal(made["turned by 20 degrees"][0], x)


def test_shares_are_found_where_only_they_differ_and_a_report_is_made(folders):
    pair = in_memory(*folders, side=16).pair
    run = methods.SourceOnly(pair)
    for _ in range(60):
        run.step()
    val = pair.source_val
    held, other = own.halves(val)
    assert len(held) + len(other) == len(val)
    few = (other.y < 5) | (torch.arange(len(other)) % 10 == 0)
    found, true = own.shares(run, held, other.x[few]), 100 * other.y[few].bincount(minlength=10) / few.sum()
    assert (found - true).abs().max() < 5
    assert own.right(run, val.x, None) == "not known"
    report = own.compare(run, val, pair.target_train.x, None, methods="logistic_regression", seeds="0").data
    assert report.startswith("### source -> target")
    assert "**Ceiling.** Not known" in report
    with pytest.raises(UserError, match="uda compare: error: unknown method for features 'cag'"):
        own.compare(run, val, pair.target_train.x, None, methods="cag", seeds="0")


def test_what_the_lesson_says_of_the_tables_is_true():
    name, base = "office31-features", "source only"
    of_base = results.tasks(name, base)
    rows = [r for r in results.load(name)["row"].unique() if not r.startswith(base) and r != "logistic regression"]
    gains = {row: {t: mean(v) - mean(of_base[t]) for t, v in results.tasks(name, row).items()} for row in rows}
    assert len(rows) == 9
    assert all(of_row["W->D"] < 0 for of_row in gains.values())
    assert {row for row, of_row in gains.items() if max(of_row.values()) < 0} == {"CORAL", "DANN"}
    assert max(max(of_row.values()) for of_row in gains.values()) == pytest.approx(14.9, abs=0.1)
    means = {row: mean(results.scores(name, row).values()) for row in rows}
    for bar in ("logistic regression, clusters", "source + InfoMax"):
        assert 0 < means["CGDM (code)"] - means[bar] < 1.05

    of = {row: mean(results.scores("imbalanced", row).values()) for row in results.load("imbalanced")["row"].unique()}
    assert max(of["source + InfoMax"], of["CGDM (code)"]) < of[base] < of["CGDM (code) without InfoMax"]

    seeds = results.scores("missing-classes", base)
    for seed in seeds:
        at = {
            row: results.scores("missing-classes", row)[seed] for row in results.load("missing-classes")["row"].unique()
        }
        assert max(at["source + InfoMax"], at["CORAL"], at["CGDM (code)"]) < at[base] - 10 < at["MCD"] - 20
