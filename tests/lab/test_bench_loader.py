"""The loader's benchmark: it measures all three, and says which one limits."""

import json

import pytest
from PIL import Image

from uda_core.data.image_folders import folders
from uda_core.lab import main as cli
from uda_core.lab.benchmarks import loader
from uda_core.methods import Config
from uda_core.methods.cgdm import CGDMRun
from uda_core.samples import AHEAD

RESULT = {"task": "photos", "method": "cgdm", "network": "resnet50", "device": "cuda", "batch_size": 32}


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"loader": 300.0, "step": 100.0, "together": 90.0}, "the step limits: the loader could feed 3.0 of it"),
        ({"loader": 100.0, "step": 400.0, "together": 95.0}, "the loader limits: it feeds 25% of what the step could"),
    ],
)
def test_the_table_says_which_one_limits(rates, words):
    lines = loader.table(RESULT | {"images_per_second": rates}).splitlines()
    assert lines[-1].startswith(words)
    assert "step alone (cgdm, resnet50 on cuda)" in lines[2]


def test_made_up_images_are_jpegs_of_many_sizes(tmp_path):
    paths = sorted(loader.write_jpegs(tmp_path / "source", 0, classes=2, images=3).glob("*/*.jpg"))
    sizes = [Image.open(path).size for path in paths]
    assert len(set(sizes)) == 6
    assert all(160 <= side <= 500 for size in sizes for side in size)


def test_cgdm_is_measured_with_its_gradient_discrepancy(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "ROUNDS", 1)
    task = folders(*(loader.write_jpegs(tmp_path / name, seed, 2, 4) for seed, name in enumerate("st")))
    found, whole = [], CGDMRun.classify_with_gradient_discrepancy
    monkeypatch.setattr(
        CGDMRun,
        "classify_with_gradient_discrepancy",
        lambda *a, **b: found.append(whole(*a, **b)) or found[-1],
    )
    loader.measure(task, "cgdm", Config(batch_size=2, hidden=(4,)), 1)
    assert len(found) > 0
    assert all(l_gd > 0 for _, l_gd in found)


def test_bursts_of_the_loader_are_evened_out(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "ROUNDS", 1)
    task = folders(*(loader.write_jpegs(tmp_path / name, seed, 2, 4) for seed, name in enumerate("st")))
    timed = []
    monkeypatch.setattr(loader, "seconds", lambda form, times: timed.append(times) or times / 2)
    rates = loader.measure(task, "source_only", Config(batch_size=2), 1)["images_per_second"]
    assert timed == [10 * AHEAD, 1, 1]
    assert rates == {"loader": 8.0, "step": 8.0, "together": 8.0}


def test_a_tree_is_measured_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "ROUNDS", 1)
    source, target = (loader.write_jpegs(tmp_path / name, seed, 2, 4) for seed, name in enumerate("st"))
    words = ["bench", "loader", "folders", "--source", source, "--target", target, "--method", "source_only"]
    words += ["--network", "small", "--batch-size", 2, "--batches", 1, "--out", tmp_path / "figures.json"]
    assert cli.main([str(word) for word in words]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["task"], figures["network"], figures["batch_size"]) == ("folders:s-t", "small", 2)
    assert figures["images_per_second"].keys() == {"loader", "step", "together"}
    assert min(figures["images_per_second"].values()) > 0
