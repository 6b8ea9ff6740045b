"""Train and evaluate on tasks that are read from files: own folders and features, and the public sets, made small."""

import json

import numpy as np
import pytest
import torch
from set_files import tree, write_domainnet, write_imageclef, write_office31, write_office_home, write_visda2017

from uda_core.data import image_folders
from uda_core.data.image_folders import Preprocessing
from uda_core.lab.main import main


@pytest.fixture
def run(capsys):
    """A function that runs one command and returns its exit status, its output and its error messages."""

    def call(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def _small_images(monkeypatch):
    """32x32 pixels instead of 224x224."""
    monkeypatch.setattr(image_folders, "Preprocessing", lambda **kwargs: Preprocessing(36, 32, **kwargs))


@pytest.mark.usefixtures("_small_images")
def test_own_folders_train_on_a_resnet_and_are_found_again(run, tmp_path, monkeypatch):
    photos, drawings, out = (tree(tmp_path / "photos"), tree(tmp_path / "drawings"), tmp_path / "run")
    monkeypatch.chdir(tmp_path)  # paths are recorded in full
    words = ["train", "cgdm", "folders", "--source", "photos", "--target", "drawings", "--steps", 2, "--out", out]
    words += ["--set", "network=resnet18", "batch_size=2", "hidden=8", "refresh=1", "features=8"]
    status, trained, _ = run(*words)
    assert status == 0
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["task"], settings["source"], settings["target"]) == ("folders", str(photos), str(drawings))
    assert json.loads((out / "summary.json").read_text())["source"]["split"] == "source_val"
    monkeypatch.chdir("/")
    status, again, _ = run("evaluate", out)
    assert status == 0
    scores = [line for line in again.splitlines() if line.startswith(("source,", "target,"))]
    assert len(scores) == 2
    assert all(line in trained for line in scores)


def test_bad_own_folders_end_the_command_before_it_writes(run, tmp_path):
    source, target = tree(tmp_path / "photos"), tree(tmp_path / "drawings", classes=("cup", "lamp"))
    words = ["train", "cgdm", "folders", "--source", source, "--target", target, "--out", tmp_path / "run"]
    status, _, err = run(*words)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: the classes differ: {target} lacks pen; rename")
    assert not (tmp_path / "run").exists()


def test_a_damaged_image_ends_the_command_in_one_line(run, tmp_path):
    source, target = tree(tmp_path / "photos"), tree(tmp_path / "drawings")
    (source / "cup" / "0.jpg").write_bytes(b"no JPEG at all")
    words = ["train", "source_only", "folders", "--source", source, "--target", target, "--out", tmp_path / "run"]
    status, _, err = run(*words, "--steps", 2, "--set", "network=small", "features=4", "hidden=4", "batch_size=9")
    assert status == 2
    assert err.strip().splitlines()[-1].startswith(f"error: {source / 'cup' / '0.jpg'}: cannot be read (")


LAYOUTS = [
    (write_office31, "office31:A-W", "accuracy", []),
    (write_office_home, "office-home:C-R", "accuracy", []),
    (write_imageclef, "imageclef:I-P", "accuracy", ["--recipe", "cgdm-imageclef"]),
    (write_visda2017, "visda2017", "mean_class_accuracy", ["--recipe", "cgdm-visda"]),
    (write_domainnet, "domainnet:P-R", "accuracy", ["--recipe", "cgdm-domainnet"]),
]


@pytest.mark.usefixtures("_small_images")
@pytest.mark.parametrize(("write", "name", "metric", "recipe"), LAYOUTS, ids=[name for _, name, *_ in LAYOUTS])
def test_each_set_trains_from_its_real_layout(write, name, metric, recipe, tmp_path, run):
    write(tmp_path)
    out, small = tmp_path / "run", ["network=small", "features=8", "hidden=8", "batch_size=4", "refresh=1"]
    words = ["train", "cgdm", name, "--data", tmp_path, "--steps", 2, "--out", out, *recipe]
    assert run(*words, "--weights", "none", "--set", *small)[0] == 0
    summary = json.loads((out / "summary.json").read_text())
    transductive = "" if name.startswith("domainnet") else ", part of what trained"
    assert (summary["metric"], summary["source"]["split"]) == (metric, "source_val" + transductive)
    assert run("evaluate", out, "--data", tmp_path)[0] == 0


def test_own_features_train_without_target_labels_and_are_exported(run, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(25, 6)).astype(np.float16), np.arange(25) % 3
    source, target, out = tmp_path / "s.npz", tmp_path / "t.npz", tmp_path / "run"
    np.savez(source, features=x, labels=y, classes=np.array(["bike", "mug", "pen"]))
    np.savez(target, features=x)
    words = ["train", "cgdm", "features", "--source", source, "--target", target, "--steps", 3, "--out", out]
    assert run(*words, "--set", "batch_size=8", "features=4", "hidden=5", "refresh=2")[0] == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["target"]["score"] is None
    assert 0 <= summary["source"]["score"] <= 1
    status, said, _ = run("evaluate", out, "--export", tmp_path / "out")
    assert status == 0
    assert "target, target_test: accuracy not known, for there are no labels\n" in said
    assert said.endswith("source_val.npz, target_test.npz, predictions.csv\n")
    assert np.load(tmp_path / "out" / "target_test.npz")["predictions"].shape == (25,)


@pytest.fixture
def feature_files(tmp_path):
    """Options for two files of 60 samples of three classes; of four features one is far larger than the rest."""
    rng = np.random.default_rng(0)
    y, middle = np.arange(60) % 3, rng.normal(size=(3, 4)) * 2
    options = []
    for name, shift in (("source", 0.0), ("target", 1.0)):
        x = (middle[y] + rng.normal(size=(60, 4)) + shift) * np.array([1, 1, 1, 100])
        np.savez(tmp_path / f"{name}.npz", features=x.astype(np.float32), labels=y)
        options += [f"--{name}", tmp_path / f"{name}.npz"]
    return options


def weights_of(folder, name):
    return torch.load(folder / "checkpoint.pt", weights_only=True)[name]


def test_a_run_stays_on_the_data_that_it_was_standardised_to(run, tmp_path, feature_files):
    small = ["--set", "batch_size=8", "features=4", "hidden=5", "dropout=0.5"]
    words = ["train", "mcd", "features", *feature_files, "--standardise", "per-domain", *small]
    assert run(*words, "--steps", 6, "--out", tmp_path / "whole")[0] == 0
    assert run(*words, "--steps", 3, "--out", tmp_path / "part")[0] == 0
    settings = json.loads((tmp_path / "part" / "settings.json").read_text())
    assert settings["standardise"] == "per-domain"
    status, _, err = run("train", "--resume", tmp_path / "part", "--steps", 6, "--standardise", "source")
    assert (status, "standardise is 'per-domain' there, not 'source'; a run keeps it" in err) == (2, True)
    assert run("train", "--resume", tmp_path / "part", "--steps", 6)[0] == 0
    for name in ("extractor", "heads"):
        whole, part = (weights_of(tmp_path / folder, name) for folder in ("whole", "part"))
        assert all(torch.equal(part[key], value) for key, value in whole.items())
    for name in ("settings.json", "summary.json"):
        assert json.loads((tmp_path / "part" / name).read_text()).get("standardise", "per-domain") == "per-domain"
    score = json.loads((tmp_path / "whole" / "summary.json").read_text())["target"]["score"]
    assert f"target, target_test: accuracy {score:.1%}\n" in run("evaluate", tmp_path / "part")[1]
    assert (
        run(
            *[word for word in words if word not in ("--standardise", "per-domain")],
            "--steps",
            6,
            "--out",
            tmp_path / "n",
        )[0]
        == 0
    )
    assert not torch.equal(weights_of(tmp_path / "n", "heads")["0.linears.0.weight"], whole["0.linears.0.weight"])
    assert "standardise" not in json.loads((tmp_path / "n" / "settings.json").read_text())


def test_logistic_regression_is_trained_scored_and_exported_like_the_others(run, tmp_path, feature_files):
    out, words = tmp_path / "run", ["train", "logistic_regression", "features", *feature_files]
    assert run(*words, "--standardise", "source", "--set", "clusters=true", "C=0.5", "--out", out)[0] == 0
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["recipe"], settings["steps"]) == ("logistic_regression-features", 1)
    assert (settings["config"]["C"], settings["config"]["clusters"]) == (0.5, True)
    score = json.loads((out / "summary.json").read_text())["target"]["score"]
    assert (
        f"target, target_test: accuracy {score:.1%}\n"
        in run("evaluate", out, "--adabn", "--export", tmp_path / "out")[1]
    )
    held = np.load(tmp_path / "out" / "target_test.npz")
    assert (held["predictions"] == held["labels"]).mean() == pytest.approx(score)
    assert run("train", "--resume", out)[1].endswith("a larger --steps trains on\n")
    before = weights_of(out, "heads")
    assert run("train", "--resume", out, "--steps", 2)[0] == 0
    assert all(torch.equal(value, before[name]) for name, value in weights_of(out, "heads").items())


def test_clusters_are_exported_as_they_are_scored(run, tmp_path):
    assert run("train", "clusters", "moons", "--steps", 20, "--out", tmp_path / "run")[0] == 0
    score = json.loads((tmp_path / "run" / "summary.json").read_text())["target"]["score"]
    status, out, _ = run("evaluate", tmp_path / "run", "--export", tmp_path / "out")
    assert (status, f"target, target_test: accuracy {score:.1%}\n" in out) == (0, True)
    held = np.load(tmp_path / "out" / "target_test.npz")
    assert (held["predictions"] == held["labels"]).mean() == pytest.approx(score)
