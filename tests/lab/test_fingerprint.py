"""Other data than those that a run has seen are refused; the same ones may lie elsewhere."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from uda_core.lab import main as cli
from uda_core.lab.fingerprint import _of

SMALL = ["--steps", "2", "--set", "batch_size=4", "hidden=8"]


def feature_file(path, seed=0, n=40):
    x = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    np.savez(path, features=x, labels=np.arange(n) % 2)


@pytest.fixture
def trained(tmp_path):
    """A run on two feature files a.npz and b.npz, in tmp_path / "run"."""
    for seed, name in enumerate("ab"):
        feature_file(tmp_path / f"{name}.npz", seed)
    files = ["--source", str(tmp_path / "a.npz"), "--target", str(tmp_path / "b.npz")]
    words = ["train", "mcd", "features", *files, *SMALL, "features=4", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 0
    return tmp_path


@pytest.mark.parametrize(("name", "domain"), [("a", "source"), ("b", "target")])
@pytest.mark.parametrize("command", [["train", "--steps", "3", "--resume"], ["evaluate"]])
def test_swapped_features_are_refused(command, name, domain, trained, capsys):
    before = {path.name: path.read_bytes() for path in (trained / "run").iterdir()}
    feature_file(trained / f"{name}.npz", seed=7)
    assert cli.main([*command, str(trained / "run")]) == 2
    what = f"settings.json: the data of the {domain} are not those that this run has seen; put those back, or train"
    assert what in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in (trained / "run").iterdir()} == before


def test_target_labels_are_no_part_of_it(trained):
    with np.load(trained / "b.npz") as held:
        np.savez(trained / "b.npz", features=held["features"])
    assert cli.main(["evaluate", str(trained / "run")]) == 0


def images(folder, size=20):
    for name in ("bike", "mug"):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (size + i, size), (40 * i, 9, 9)).save(folder / name / f"{i}.png")


def test_folders_may_move_but_not_change(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        images(tmp_path / name)
    shutil.rmtree(tmp_path / "b" / "mug")
    shutil.copytree(tmp_path / "a" / "bike", tmp_path / "b" / "mug")
    folders = ["folders", "--source", "a", "--target", "b"]
    words = ["train", "source_only", *folders, "--set", "network=resnet18", "hidden=8"]
    assert cli.main([*words, "features=0", "batch_size=2", "--steps", "1", "--out", "run"]) == 0

    settings = (tmp_path / "run" / "settings.json").read_text()
    moved = tmp_path / "moved" / "a"
    moved.parent.mkdir()
    (tmp_path / "a").rename(moved)
    (tmp_path / "run" / "settings.json").write_text(settings.replace(str(tmp_path / "a"), str(moved)))
    assert cli.main(["evaluate", "run"]) == 0

    (moved / "mug" / "0.png").rename(moved / "mug" / "6.png")
    assert cli.main(["evaluate", "run"]) == 2
    assert "the data of the source are not those" in capsys.readouterr().err


def test_files_that_moved_are_named_again(trained, capsys):
    (trained / "elsewhere").mkdir()
    moved = (trained / "b.npz").rename(trained / "elsewhere" / "b.npz")
    run = str(trained / "run")
    assert cli.main(["evaluate", run]) == 2
    assert cli.main(["evaluate", run, "--target", str(moved)]) == 0
    assert cli.main(["train", "--resume", run, "--steps", "3", "--target", str(moved)]) == 0
    assert cli.main(["evaluate", run]) == 0  # from where it lies now
    feature_file(moved, seed=7)
    assert cli.main(["evaluate", run, "--target", str(moved)]) == 2
    assert "the data of the target are not those" in capsys.readouterr().err


def test_a_task_made_by_rule_has_none(tmp_path, capsys):
    """Processors round such numbers differently, and a run may be scored on another one."""
    run = str(tmp_path / "run")
    assert cli.main(["train", "mcd", "moons", "--steps", "2", "--out", run]) == 0
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["data"] == {}
    assert cli.main(["evaluate", run, "--source", "a.npz"]) == 2
    assert "trained on moons; leave --source and --target out" in capsys.readouterr().err


def test_samples_of_any_loader_have_one():
    class Loaded:
        paths = ("x0", "/y/x1")

        def __len__(self):
            return 2

    with pytest.raises(FileNotFoundError):
        _of(Loaded())
    Loaded.paths = ()
    assert _of(Loaded()) == _of(Loaded())
    assert _of(torch.zeros(3), exact=False) == _of(torch.ones(3), exact=False) != _of(torch.zeros(4), exact=False)
    assert _of(torch.tensor([0, 1]), exact=False) != _of(torch.tensor([1, 0]), exact=False)
