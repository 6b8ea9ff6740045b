"""`evaluate --export`: files that say, sample by sample, what the scores are made of."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from uda_core import methods
from uda_core.data import feature_files, load
from uda_core.evaluation import evaluate
from uda_core.lab import main as cli
from uda_core.lab.exports import export
from uda_core.samples import Unlabelled
from uda_core.task import Pair

SMALL = methods.Config(batch_size=16)


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of a trained run on moons, and that of its export."""
    folder = tmp_path_factory.mktemp("export")
    words = ["train", "source_only", "moons", "--steps", "20", "--out", str(folder / "run")]
    assert cli.main(words) == 0
    assert cli.main(["evaluate", str(folder / "run"), "--export", str(folder / "out")]) == 0
    return folder / "run", folder / "out"


def test_arrays_of_both_splits(exported):
    pair, truth = load("moons").pair, load("moons").truth
    for split, x, y in (
        ("source_val", pair.source_val.x, pair.source_val.y),
        ("target_test", pair.target_test.x, truth.target_test),
    ):
        held = np.load(exported[1] / f"{split}.npz", allow_pickle=False)
        assert held["features"].shape == (len(x), 64)
        assert held["probabilities"].shape == (len(x), 2)
        assert np.allclose(held["probabilities"].sum(1), 1)
        assert np.array_equal(held["predictions"], held["probabilities"].argmax(1))
        assert np.array_equal(held["labels"], y.numpy())
        assert held["classes"].tolist() == ["upper", "lower"]
        assert "paths" not in held


def test_confusion_and_shares_are_those_of_the_scores(exported):
    run, out = exported
    target = json.loads((run / "summary.json").read_text())["target"]
    header, *rows = table(out / "confusion.csv")
    assert header == ["true \\ predicted", "upper", "lower"]
    assert [row[0] for row in rows] == ["upper", "lower"]
    counts = np.array([[int(n) for n in row[1:]] for row in rows])
    assert counts.sum(1).tolist() == [300, 300]
    assert counts.trace() / 600 == pytest.approx(target["score"])
    assert table(out / "per_class.csv") == [
        ["class", "samples", "accuracy"],
        *([name, "300", f"{share:.4f}"] for name, share in target["per_class"].items()),
    ]


def test_predictions_line_by_line(exported):
    header, *rows = table(exported[1] / "predictions.csv")
    assert header == ["split", "sample", "label", "prediction", "probability"]
    held = {split: np.load(exported[1] / f"{split}.npz") for split in ("source_val", "target_test")}
    expected = [
        [split, str(i), arrays["classes"][y], arrays["classes"][p.argmax()], f"{p.max():.4f}"]
        for split, arrays in held.items()
        for i, (y, p) in enumerate(zip(arrays["labels"], arrays["probabilities"], strict=True))
    ]
    assert rows == expected


def test_the_arrays_make_a_task(exported):
    task = feature_files.load(exported[1] / "source_val.npz", exported[1] / "target_test.npz")
    assert task.pair.classes == ("upper", "lower")
    assert len(task.pair.target_test) == 600


class Photographs:
    """Samples that know their files, as image folders do."""

    def __init__(self, x):
        self.x, self.paths = x, [f"images/{i}.jpg" for i in range(len(x))]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i]


def test_files_are_named(digits_task, tmp_path):
    pair = digits_task.pair
    files = dataclasses.replace(pair, target_test=Unlabelled(Photographs(pair.target_test.x)))
    task = dataclasses.replace(digits_task, pair=files)
    run = methods.SourceOnly(pair, SMALL)
    export(run, task, evaluate(run, task), tmp_path)
    arrays = np.load(tmp_path / "target_test.npz")
    assert arrays["paths"][:2].tolist() == ["images/0.jpg", "images/1.jpg"]
    assert np.allclose(arrays["features"], run.features(pair.target_test.x).numpy(), atol=1e-5)
    assert table(tmp_path / "predictions.csv")[-1][1] == f"images/{len(pair.target_test) - 1}.jpg"


def test_without_target_labels_there_is_nothing_to_count(moons_task, tmp_path):
    task = dataclasses.replace(moons_task, truth=None)
    run = methods.SourceOnly(task.pair, SMALL)
    assert export(run, task, evaluate(run, task), tmp_path) == ["source_val.npz", "target_test.npz", "predictions.csv"]
    assert "labels" not in np.load(tmp_path / "target_test.npz")
    assert {row[2] for row in table(tmp_path / "predictions.csv") if row[0] == "target_test"} == {""}


def test_a_class_without_samples_has_no_share(moons_task, tmp_path):
    p = moons_task.pair
    pair = Pair(p.name, ("upper", "lower", "none"), p.source_train, p.source_val, p.target_train, p.target_test)
    task = dataclasses.replace(moons_task, pair=pair)
    run = methods.SourceOnly(pair, SMALL)
    export(run, task, evaluate(run, task), tmp_path)
    assert table(tmp_path / "per_class.csv")[-1] == ["none", "0", ""]


def test_pixels_give_the_confusion_and_the_iou_of_each_class(tiny_streets, tmp_path):
    run = methods.SourceOnly(tiny_streets.pair)
    evaluation = evaluate(run, tiny_streets)
    assert export(run, tiny_streets, evaluation, tmp_path) == ["confusion.csv", "per_class.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.csv", "per_class.csv"]
    header, *rows = table(tmp_path / "per_class.csv")
    assert header == ["class", "pixels", "iou"]
    counts = np.array([[int(n) for n in row[1:]] for row in table(tmp_path / "confusion.csv")[1:]])
    for i, (name, pixels, iou) in enumerate(rows):
        assert name == tiny_streets.pair.classes[i]
        assert int(pixels) == counts[i].sum()
        union = counts[i].sum() + counts[:, i].sum() - counts[i, i]
        assert float(iou) == pytest.approx(counts[i, i] / union, abs=1e-4)


def test_a_folder_that_cannot_be_made_is_told(exported, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["evaluate", str(exported[0]), "--export", str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err.splitlines()[-1]
