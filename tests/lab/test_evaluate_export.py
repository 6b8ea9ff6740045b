"""`evaluate --export`: files that say, sample by sample, what the scores are made of."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from set_files import tree

from uda_core import evaluation, methods
from uda_core.data import feature_files, load
from uda_core.data.image_folders import Preprocessing
from uda_core.lab import main as cli
from uda_core.lab import scoring
from uda_core.lab.exports import export
from uda_core.models.features import FEATURE_EXTRACTORS
from uda_core.samples import Unlabelled
from uda_core.task import Pair

SMALL = methods.Config(batch_size=16)


def export_of(run, task, folder):
    """Score and export in one pass."""
    kept = {}
    return export(task, scoring.evaluate(run, task, kept), kept, folder)


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
    export_of(run, task, tmp_path)
    arrays = np.load(tmp_path / "target_test.npz")
    assert arrays["paths"][:2].tolist() == ["images/0.jpg", "images/1.jpg"]
    assert np.allclose(arrays["features"], run.features(pair.target_test.x).numpy(), atol=1e-5)
    assert table(tmp_path / "predictions.csv")[-1][1] == f"images/{len(pair.target_test) - 1}.jpg"


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("method", [methods.CGDM, methods.Clusters], ids=["cgdm", "clusters"])
def test_score_and_export_are_one_pass_of_each_sample_and_the_same_numbers(method, labelled, digits_task, monkeypatch):
    task = digits_task if labelled else dataclasses.replace(digits_task, truth=None)
    run, pair, passed, kept = method(task.pair, SMALL), task.pair, [], {}
    run.predict(pair.target_test.x)  # clusters: the centroids take a pass of their own
    forward = type(run.extractor).forward
    monkeypatch.setattr(type(run.extractor), "forward", lambda net, x: passed.append(len(x)) or forward(net, x))
    scores = scoring.evaluate(run, task, kept)
    assert sum(passed) == len(pair.source_val) + len(pair.target_test)
    expected = evaluation.evaluate(run, task)
    assert {**vars(scores), "confusion": scores.confusion.tolist()} == {
        **vars(expected), "confusion": expected.confusion.tolist()
    }  # fmt: skip
    for split, samples in (("source_val", pair.source_val), ("target_test", pair.target_test)):
        f, z = run.features_and_logits(samples.x, split.split("_")[0])
        assert torch.equal(kept[split][0], f)
        assert torch.equal(kept[split][1], z[0] + z[1])


@pytest.mark.parametrize("words", [[], ["--export"]], ids=["score", "export"])
def test_a_long_pass_has_a_progress_bar(words, exported, tmp_path, capsys, monkeypatch):
    words = ["evaluate", str(exported[0]), *words, *([str(tmp_path)] if words else [])]
    for silent, shown in ((60, False), (0, True)):
        monkeypatch.setattr(scoring, "SILENT", silent)
        assert cli.main(words) == 0
        assert ("scoring: 100%" in (err := capsys.readouterr().err)) == shown
        assert ("1200/1200" in err) == shown or not shown


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@a", "\tx", "'a", "\uff1d1"], ids=ascii)
def test_no_cell_is_a_formula_and_programs_get_the_names_back(name, moons_task, tmp_path):
    pair = dataclasses.replace(moons_task.pair, classes=("upper", name))
    x = Photographs(pair.target_test.x)
    x.paths = [f"{name}/{i}.png" for i in range(len(x))]
    task = dataclasses.replace(moons_task, pair=dataclasses.replace(pair, target_test=Unlabelled(x)))
    export_of(methods.SourceOnly(pair, SMALL), task, tmp_path)
    tables = {path.name: table(path) for path in tmp_path.glob("*.csv")}
    cells = [cell for lines in tables.values() for line in lines for cell in line]
    assert not any(cell.startswith(tuple("=+-@\t\uff1d")) for cell in cells)
    assert tables["confusion.csv"][0] == ["true \\ predicted", "upper", "'" + name]
    assert tables["per_class.csv"][2][:2] == ["'" + name, "30"]
    rows = [row for row in tables["predictions.csv"] if row[0] == "target_test"]
    held = np.load(tmp_path / "target_test.npz")
    assert [row[1].removeprefix("'") for row in rows] == held["paths"].tolist() == x.paths
    assert [row[2].removeprefix("'") for row in rows] == held["classes"][held["labels"]].tolist()
    assert all(float(row[4]) >= 0.5 for row in rows)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_features_lead_back_to_their_images(unlabelled, tmp_path, monkeypatch):
    monkeypatch.setattr("uda_core.lab.features.Preprocessing", lambda: Preprocessing(36, 32))
    monkeypatch.setitem(FEATURE_EXTRACTORS, "resnet18", FEATURE_EXTRACTORS["small"])
    photos, drawings = tree(tmp_path / "photos"), tree(tmp_path / "drawings")
    files = [tmp_path / "photos.npz", tmp_path / "drawings.npz"]
    for folder, file, words in ((photos, files[0], []), (drawings, files[1], ["--unlabelled"] * unlabelled)):
        words = ["features", folder, "--network", "resnet18", "--weights", "none", "--out", file, *words]
        assert cli.main([str(word) for word in words]) == 0
    words = ["train", "source_only", "features", "--source", files[0], "--target", files[1], "--steps", 1]
    words += ["--set", "batch_size=4", "--out", tmp_path / "run"]
    assert cli.main([str(word) for word in words]) == 0
    assert cli.main(["evaluate", str(tmp_path / "run"), "--export", str(tmp_path / "out")]) == 0
    rows = table(tmp_path / "out" / "predictions.csv")[1:]
    assert [row[1] for row in rows if row[0] == "source_val"] == ["cup/1.jpg", "lamp/1.jpg", "pen/1.jpg"]
    images = [path.relative_to(drawings).as_posix() for path in sorted(drawings.rglob("*.jpg"))]
    assert [row[1] for row in rows if row[0] == "target_test"] == images
    again = feature_files.read(tmp_path / "out" / "target_test.npz")
    assert again.paths == tuple(images)


def test_without_target_labels_there_is_nothing_to_count(moons_task, tmp_path):
    task = dataclasses.replace(moons_task, truth=None)
    run = methods.SourceOnly(task.pair, SMALL)
    assert export_of(run, task, tmp_path) == ["source_val.npz", "target_test.npz", "predictions.csv"]
    assert "labels" not in np.load(tmp_path / "target_test.npz")
    assert {row[2] for row in table(tmp_path / "predictions.csv") if row[0] == "target_test"} == {""}


def test_a_class_without_samples_has_no_share(moons_task, tmp_path):
    p = moons_task.pair
    pair = Pair(p.name, ("upper", "lower", "none"), p.source_train, p.source_val, p.target_train, p.target_test)
    task = dataclasses.replace(moons_task, pair=pair)
    run = methods.SourceOnly(pair, SMALL)
    export_of(run, task, tmp_path)
    assert table(tmp_path / "per_class.csv")[-1] == ["none", "0", ""]


def test_pixels_give_the_confusion_and_the_iou_of_each_class(tiny_streets, tmp_path):
    run = methods.SourceOnly(tiny_streets.pair)
    assert export_of(run, tiny_streets, tmp_path) == ["confusion.csv", "per_class.csv"]
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
