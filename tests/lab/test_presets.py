"""The published configurations: what they say, that every value has a source, and that each one trains."""

import dataclasses
import json

import pytest
import test_image_folders as trees
import torch

from uda_core import __main__ as cli
from uda_core.data import image_folders
from uda_core.errors import UserError
from uda_core.lab import options, presets
from uda_core.lab.commands.presets import show
from uda_core.lab.presets import PRESETS, preset
from uda_core.methods import CLASSIFY, METHODS, Config, SegmentationConfig
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair


def pair_of(samples: int) -> Pair:
    x, y = torch.zeros(samples, 3, 8, 8), torch.arange(samples) % 2
    return Pair("toy", ("a", "b"), Labelled(x, y), Labelled(x, y), Unlabelled(x), Unlabelled(x))


@pytest.mark.parametrize("name", PRESETS)
def test_every_value_has_a_known_name_and_a_source(name):
    told = preset(name)
    dense = told.method not in CLASSIFY
    assert told.method in METHODS
    assert told.config.keys() <= options.config_of(told.method, dense).keys()
    assert told.settings.keys() <= options.settings_of(told.method, dense).keys()
    values = [*told.config.values(), *told.settings.values(), *filter(None, [told.steps, told.epochs])]
    assert all(value.source for value in values)
    assert (told.steps is None) or (told.epochs is None)


@pytest.mark.parametrize("name", PRESETS)
def test_only_what_is_ours_is_left_to_the_defaults(name):
    """So that no later change of a default changes a published configuration."""
    told = preset(name)
    dense = told.method not in CLASSIFY
    known = options.config_of(told.method, dense).keys() | options.settings_of(told.method, dense).keys()
    ours = {"seed", "device", "precision", "fast"}  # how, not what
    nothing = {"weights", "features", "warm_up"}  # none, the network's own, no steps
    assert known - told.config.keys() - told.settings.keys() <= ours | nothing


def test_departures_are_those_of_the_code():
    heads, dropout = "Heads start as torch starts them, not with N(0, 0.01).", "no dropout before their last layer"
    for name in ("mcd-digits", "mcd-svhn", "swd-digits"):
        assert heads not in preset(name).departures  # MCD's digits start as torch has them
        assert (dropout in presets.describe(name)) == (name != "mcd-svhn")
    assert heads in preset("mcd-visda").departures


@pytest.mark.parametrize("name", PRESETS)
def test_values_are_accepted_by_configuration_and_settings(name):
    told = preset(name)
    dense = told.method not in CLASSIFY
    config = {n: v.value for n, v in told.config.items()}
    settings, _ = told.resolve(pair_of(2000), config["batch_size"])
    made = (SegmentationConfig if dense else Config)(**config)
    assert {n: getattr(made, n) for n in config} == config
    chosen = (options.SEGMENT if dense else options.CLASSIFY)[told.method].of(settings)
    assert settings.items() <= dataclasses.asdict(chosen).items()


def test_cgdm_on_visda_is_the_published_one():
    config = {n: v.value for n, v in preset("cgdm-visda").config.items()}
    settings, steps = preset("cgdm-visda").resolve(pair_of(152_397), 32)
    assert (config["network"], config["features"], config["hidden"]) == ("resnet101", 256, (1000, 1000))
    assert (config["optimizer"], config["weight_decay"], config["batch_size"]) == ("sgd", 5e-4, 32)
    assert steps == 21 * 4762  # 152,397 source images in batches of 32
    assert settings == {
        "learning_rate": 3e-4, "discrepancy": 1.0, "entropy": 0.01, "alpha": 0.01 / 32, "beta": 0.01, "k": 4,
        "refresh": 2000,
    }  # fmt: skip


def test_the_paper_has_no_entropy_term_and_alpha_is_not_divided():
    settings = preset("cgdm-visda-paper").resolve(pair_of(64), 32)[0]
    assert (settings["entropy"], settings["alpha"]) == (0.0, 0.01)
    assert preset("cgdm-visda-paper").settings["learning_rate"].source.startswith("unknown in the paper")


def test_what_counts_in_epochs_becomes_steps():
    settings, steps = preset("cgdm-imageclef").resolve(pair_of(600), 32)
    assert (settings["refresh"], steps) == (18, 201 * 18)
    chosen = options.CLASSIFY["cgdm"].of(preset("cgdm-domainnet").resolve(pair_of(120_906), 8)[0])
    assert chosen.refresh == 15_113  # DomainNet's photographs on a GPU that holds eight
    assert preset("mcd-visda").resolve(pair_of(600), 32)[1] == 51 * 938
    assert preset("cag-gta5").resolve(pair_of(600), 4)[1] is None  # its phases say how long it takes


def test_what_nobody_told_is_called_unknown():
    told = preset("swd-visda")
    unknown = {n for n, v in {**told.config, **told.settings}.items() if v.source.startswith("unknown")}
    assert {"learning_rate", "optimizer", "k"} <= unknown
    assert "unknown" in presets.describe("swd-visda")
    assert preset("cag-gta5").settings["warm_up_steps"].source.startswith("unknown")


@pytest.mark.parametrize(
    ("name", "method", "task", "says"),
    [
        ("cgdm-visda", "mcd", "visda2017", "this preset is for cgdm on visda2017, not for mcd on visda2017"),
        ("cgdm-imageclef", "cgdm", "visda2017", r"for cgdm on imageclef:\.\.\., not for cgdm on visda2017"),
        ("mcd-digits", "mcd", "svhn-mnist", "for mcd on mnist-usps or usps-mnist, not"),
    ],
)
def test_a_preset_for_something_else_is_refused(name, method, task, says):
    with pytest.raises(UserError, match=says):
        preset(name).check(method, task)


def test_a_preset_for_this_is_accepted():
    preset("cgdm-domainnet").check("cgdm", "domainnet:R-S")
    preset("cgdm-visda").check("cgdm", "visda2017")


def test_unknown_presets_are_told():
    with pytest.raises(UserError, match=r"unknown preset 'cgdm-vida'.*Did you mean 'cgdm-visda'"):
        preset("cgdm-vida")


def test_the_command_prints_every_value_with_its_source(capsys):
    class Args:
        name = ("cgdm-visda",)

    assert show(Args) == 0
    out = capsys.readouterr().out
    told = preset("cgdm-visda")
    for key, value in {**told.config, **told.settings}.items():
        assert any(line.split()[0] == key and line.endswith(value.source) for line in out.splitlines() if line.strip())
    for departure in told.departures:
        assert departure in out
    assert "\n  train cgdm imageclef:S-T --preset cgdm-imageclef\n" in presets.describe("cgdm-imageclef")


# -- through the command line ------------------------------------------------------------------------------------------

SMALL = ["--weights", "none", "--steps", "2", "--set", "network=small", "batch_size=4", "hidden=8", "features=4"]


@pytest.mark.parametrize(
    ("write", "task", "name", "refresh"),
    [
        (trees.imageclef, "imageclef:I-P", "cgdm-imageclef", 3),
        (trees.visda2017, "visda2017", "cgdm-visda", 2000),
        (trees.visda2017, "visda2017", "cgdm-visda-paper", 2000),
        (trees.domainnet, "domainnet:P-R", "cgdm-domainnet-paper", 86),
    ],
)
def test_real_layouts_run_through_their_presets(write, task, name, refresh, tmp_path, capsys, monkeypatch):
    """Small trees, small images and a small network, everything else as published."""
    monkeypatch.setattr(image_folders, "Preprocessing", trees.small)
    write(tmp_path)
    words = ["train", "cgdm", task, "--preset", name, "--data", str(tmp_path), "--out", str(tmp_path / "run"), *SMALL]
    assert cli.main(words) == 0, capsys.readouterr().err
    saved = json.loads((tmp_path / "run" / "settings.json").read_text())
    published = {n: v.value for n, v in preset(name).settings.items()} | {"refresh": refresh}
    assert saved["preset"] == name
    assert published.items() <= saved["settings"].items()
    assert (saved["config"]["optimizer"], saved["config"]["variant"]) == ("sgd", preset(name).config["variant"].value)
    scores = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert scores["metric"] == ("mean_class_accuracy" if task == "visda2017" else "accuracy")


def test_options_go_before_a_preset_and_resume_keeps_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_folders, "Preprocessing", trees.small)
    trees.imageclef(tmp_path)
    out = tmp_path / "run"
    words = ["train", "cgdm", "imageclef:I-P", "--preset", "cgdm-imageclef", "--data", str(tmp_path), "--out", str(out)]
    assert cli.main([*words, *SMALL, "beta=0.5", "refresh=7"]) == 0
    settings = json.loads((out / "settings.json").read_text())["settings"]
    assert (settings["beta"], settings["refresh"], settings["learning_rate"]) == (0.5, 7, 1e-3)
    again = ["train", "--resume", str(out), "--data", str(tmp_path), "--steps", "3"]
    assert cli.main([*again, "--preset", "cgdm-visda"]) == 2
    assert "preset is 'cgdm-imageclef' there, not 'cgdm-visda'" in capsys.readouterr().err
    assert cli.main(again) == 0
    saved = json.loads((out / "settings.json").read_text())
    assert (saved["preset"], saved["settings"], saved["steps"]) == ("cgdm-imageclef", settings, 3)


def test_a_preset_of_another_task_is_told_before_anything_is_loaded(tmp_path, capsys):
    words = ["train", "cgdm", "moons", "--preset", "cgdm-visda", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 2
    assert capsys.readouterr().err == "error: this preset is for cgdm on visda2017, not for cgdm on moons\n"
    assert not (tmp_path / "run").exists()
