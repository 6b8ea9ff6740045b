"""Recipes: each is complete and says where its values are from; what is published; and what starts with one."""

import dataclasses
import json
import math
import re

import pytest
import torch
from set_files import write_domainnet, write_imageclef, write_visda2017

from uda_core.anchors import min_pixels
from uda_core.data import TASKS, image_folders
from uda_core.data.image_folders import Preprocessing
from uda_core.errors import UserError
from uda_core.lab import recipe
from uda_core.lab.main import main
from uda_core.lab.recipe import BY_TASK, FOLDER, HOW, Recipe, default_for, fields_of, load, methods_for, names, read
from uda_core.methods import CLASSIFICATION, SEGMENTATION
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair

PUBLISHED = {
    "cgdm-visda", "cgdm-visda-paper", "cgdm-imageclef", "cgdm-imageclef-paper", "cgdm-domainnet",
    "cgdm-domainnet-paper", "mcd-digits", "mcd-svhn", "mcd-visda", "swd-digits", "swd-visda", "cag-gta5",
}  # fmt: skip
DEFAULTS = [(method, task) for task in TASKS for method in methods_for(task)]
NAMED = {
    f"{name}-{recipe.SHARED.get(task, task)}"
    for task, entry in TASKS.items()
    if not entry.dense
    for name in ("infomax", "mcd-infomax")
}


def pair_of(samples: int) -> Pair:
    x, y = torch.zeros(samples, 3, 8, 8), torch.arange(samples) % 2
    return Pair("toy", ("a", "b"), Labelled(x, y), Labelled(x, y), Unlabelled(x), Unlabelled(x))


def small(name: str, samples: int, **changes):
    """A run of a classification recipe with a small network, on toy images."""
    return load(name).start(pair_of(samples), network="small", features=4, hidden=(4,), weights="none", **changes)


@pytest.mark.parametrize("name", names())
def test_a_recipe_is_complete_and_gives_a_source_for_every_value(name):
    found = load(name)
    config, settings = fields_of(found.form)
    assert found.config.keys() == config.keys() - set(HOW)
    assert found.settings.keys() == settings.keys()
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if re.match(r"\w+ = ", line) and not re.match("(about|method|tasks|dep)", line)]
    assert len(values) == len(found.config) + len(found.settings) + (found.form.name != "cag")
    assert all(re.search("  *# .{4,}", line) for line in values)


def test_every_method_has_a_recipe_for_every_task_and_the_others_are_published():
    defaults = {default_for(method, task).name for method, task in DEFAULTS}
    assert len(defaults) == 105 + 14 + 3  # with clusters, and on vectors logistic regression
    assert len(DEFAULTS) == len(defaults) + 7  # Office-Home has Office-31's
    assert sorted([*defaults, *PUBLISHED, *NAMED]) == names()
    for method, task in DEFAULTS:
        default_for(method, task).check(method, task)
    assert default_for("cgdm", "office31:A-W").name == "cgdm-office31"
    assert default_for("cgdm", "office-home:A-C") == default_for("cgdm", "office31:A-W")
    assert default_for("cgdm", "imageclef:I-P").name == "cgdm-imageclef-ours"


@pytest.mark.parametrize("task", [task for task, entry in TASKS.items() if not entry.dense])
def test_infomax_alone_and_with_mcd_are_found_by_the_task(task):
    """They are what source only and MCD have on the task, with the one term more."""
    alone, with_mcd = (load(name, f"{task}:A-W") for name in ("infomax", "mcd-infomax"))
    family = recipe.SHARED.get(task, task)
    assert (alone.name, with_mcd.name) == (f"infomax-{family}", f"mcd-infomax-{family}")
    assert [r.method for r in (alone, with_mcd)] == list(BY_TASK.values()) == ["source_only", "cgdm"]
    source_only, mcd = (default_for(method, task) for method in ("source_only", "mcd"))
    assert alone.settings == source_only.settings | {"infomax": 0.3}
    assert with_mcd.settings == mcd.settings | {"infomax": 0.3, "alpha": 0, "beta": 0, "warm_up": 0, "refresh": 10**6}
    assert alone.config == source_only.config
    assert with_mcd.config == mcd.config | {"variant": "code", "fast": with_mcd.config["fast"]}
    for recipe_, like in ((alone, source_only), (with_mcd, mcd)):
        assert (recipe_.steps, recipe_.epochs) == (like.steps, like.epochs)
    with pytest.raises(UserError, match="unknown recipe 'infomax'"):
        load("infomax")


def test_clusters_have_what_source_only_has():
    for task in (task for task, entry in TASKS.items() if not entry.dense):
        ours, theirs = default_for("clusters", task), default_for("source_only", task)
        assert (ours.config, ours.settings, ours.steps, ours.epochs) == (
            theirs.config, theirs.settings, theirs.steps, theirs.epochs,
        )  # fmt: skip


def test_departures_are_those_of_the_code():
    heads, dropout = "Heads start as torch starts them, not with N(0, 0.01).", "no dropout before their last layer"
    for name in ("mcd-digits", "mcd-svhn", "swd-digits"):
        assert heads not in load(name).departures  # MCD's digits start as torch has them
        assert (dropout in recipe.describe(name)) == (name != "mcd-svhn")
    assert heads in load("mcd-visda").departures
    for name, stride_4 in (("gta5", (263, 479)), ("gta5-cityscapes", (263, 479)), ("synthia-cityscapes", (190, 320))):
        pixels = math.ceil(min_pixels(*stride_4))
        assert f"takes {pixels} of {stride_4[0]}x{stride_4[1]} pixels" in recipe.describe(f"cag-{name}")
    assert load("cag-synthia-cityscapes").departures == load("cag-synthia-cityscapes-13").departures


# -- values ------------------------------------------------------------------------------------------------------------


def test_cgdm_on_visda_is_the_published_one():
    found = load("cgdm-visda")
    assert found.config == {
        "variant": "code", "network": "resnet101", "weights": "ResNet101_Weights.IMAGENET1K_V1", "features": 256,
        "hidden": (1000, 1000), "dropout": 0.5, "optimizer": "sgd", "weight_decay": 5e-4, "batch_size": 32,
        "batches": "joint", "fast": True,
    }  # fmt: skip
    assert found.settings == {
        "learning_rate": 3e-4, "discrepancy": 1.0, "k": 4, "infomax": 0.01, "alpha": 0.01 / 32, "beta": 0.01,
        "warm_up": 0, "refresh": 2000,
    }  # fmt: skip
    assert (found.steps, found.epochs) == (None, 21)


def test_the_paper_has_no_infomax_term_and_alpha_is_not_divided():
    for name, alpha, rate in (("visda", 0.01, 3e-4), ("imageclef", 0.1, 1e-3), ("domainnet", 0.01, 1e-3)):
        paper, code = load(f"cgdm-{name}-paper"), load(f"cgdm-{name}")
        changes = {"infomax": 0.0, "alpha": alpha}
        assert paper.settings == {**code.settings, **changes}
        assert code.settings["alpha"] == alpha / 32
        assert paper.settings["learning_rate"] == rate
        assert paper.config == {**code.config, "variant": "paper", "fast": False}
        assert paper.epochs == code.epochs == (21 if name == "visda" else 201)
    text = (FOLDER / "cgdm-visda-paper.toml").read_text(encoding="utf-8")
    assert re.search("learning_rate = 0.0003 +# unknown in the paper", text)


def test_the_other_published_values():
    digits = load("mcd-digits")
    assert digits.config == {
        "network": "mcd_digits", "weights": "none", "features": 0, "hidden": (100, 100), "dropout": 0.5,
        "optimizer": "adam", "weight_decay": 5e-4, "batch_size": 128, "batches": "apart",
    }  # fmt: skip
    assert (digits.settings, digits.steps) == ({"learning_rate": 2e-4, "discrepancy": 1.0, "k": 4}, 20_000)
    assert digits.tasks == ("mnist-usps", "usps-mnist")
    swd = load("swd-digits")
    assert (swd.config, swd.settings, swd.steps) == (digits.config, digits.settings, digits.steps)
    svhn = {"network": "mcd_colour_digits", "hidden": (2048,), "dropout": 0.0}
    assert load("mcd-svhn").config == {**digits.config, **svhn}
    assert load("mcd-visda").steps == 51 * 938
    assert load("mcd-visda").config == load("swd-visda").config
    assert load("mcd-visda").settings == {"learning_rate": 1e-3, "discrepancy": 1.0, "k": 4}
    cag = load("cag-gta5")
    assert cag.config == {
        "network": "deeplab_v3plus_resnet101", "weights": "ResNet101_Weights.IMAGENET1K_V1", "features": 0,
        "optimizer": "sgd", "batch_size": 4, "batch_norm": "shared", "jitter": "none", "warm_up": "adversarial",
        "labels": "both", "distance_loss": "code", "anchor_weighting": "image", "margin_unit": "absolute",
        "decay_steps": 250_000, "stage_decay_steps": 90_000,
    }  # fmt: skip
    assert cag.settings == {
        "learning_rate": 2.5e-4, "source_steps": 0, "warm_up_steps": 150_000, "discriminator_learning_rate": 1e-4,
        "adversarial": 0.01, "stages": 3, "stage_steps": 62_412, "stage_learning_rate": 1e-4, "margin": 2.5,
        "confidence": 0.95, "distance": 0.7,
    }  # fmt: skip


@pytest.mark.parametrize("method", CLASSIFICATION)
def test_the_handwriting_takes_the_defaults_of_the_methods(method):
    found, made = default_for(method, "fonts-handwriting"), CLASSIFICATION[method]
    assert found.config == {n: v for n, v in dataclasses.asdict(made.run.CONFIG()).items() if n not in HOW}
    chosen = {"beta": 0.0} if method == "cgdm" else {}  # by the rehearsal; the method's own is the authors' 0.01
    assert found.settings == dataclasses.asdict(made.settings()) | chosen
    assert found.steps == 400
    moons = default_for(method, "moons")
    settings = dataclasses.asdict(made.settings()) | ({"ramp": 300} if method == "dann" else {})  # over the whole run
    assert (moons.config, moons.settings, moons.steps) == ({**found.config, "dropout": 0.0}, settings, 300)


@pytest.mark.parametrize("method", SEGMENTATION)
def test_the_streets_take_the_defaults_of_the_methods(method):
    found, made = default_for(method, "streets"), SEGMENTATION[method]
    assert found.config == {n: v for n, v in dataclasses.asdict(made.run.CONFIG()).items() if n not in HOW}
    assert found.settings == dataclasses.asdict(made.settings())
    assert found.steps == (None if method == "cag" else 400)


def test_coral_s_recipes_say_where_they_leave_the_paper():
    found = [name for name in names() if name.startswith("coral-")]
    assert len(found) == 14
    assert {load(name).departures for name in found} == {load("coral-moons").departures}
    on, weight = load("coral-moons").departures
    assert ("fc8" in on, "equal at the end of training" in weight) == (True, True)


def test_values_of_some_tasks():
    usps = default_for("cgdm", "mnist-usps")
    assert usps.config.items() >= {"network": "mcd_digits", "batch_size": 32, "fast": True, "dropout": 0.5}.items()
    assert usps.settings == {**default_for("cgdm", "moons").settings, "learning_rate": 1e-3, "refresh": 300}
    assert default_for("swd", "mnist-usps").settings == {"learning_rate": 1e-3, "discrepancy": 20.0, "k": 4}
    assert default_for("cgdm", "domainnet:R-S").settings["refresh"] == 4000
    assert default_for("cgdm", "imageclef:I-P").steps == 201 * 18
    camvid = default_for("cag", "camvid-day-dusk")
    assert camvid.config["network"] == "efficientnet_lite0"
    assert (camvid.settings["source_steps"], camvid.settings["stage_steps"]) == (800, 150)
    assert default_for("source_only", "gta5-cityscapes").config["optimizer"] == "sgd"


# -- changes, starts, lengths ------------------------------------------------------------------------------------------


def test_what_counts_in_epochs_becomes_steps():
    run = small("cgdm-imageclef", 600)
    assert (run.settings.refresh, load("cgdm-imageclef").length(run)) == (18, 201 * 18)
    run = small("cgdm-domainnet", 1209, batch_size=8)
    assert run.settings.refresh == 151
    assert load("mcd-visda").length(small("mcd-visda", 600)) == 51 * 938


def test_phases_say_how_long_a_run_takes_unless_steps_do(tiny_streets):
    cag = default_for("cag", "streets")
    run = cag.start(tiny_streets.pair, seed=3)
    assert (cag.length(run), run.config.seed) == (400 + 3 * 120, 3)
    assert cag.changed(steps=5).length(run) == 5


def test_changes_make_another_recipe():
    found = load("cgdm-imageclef")
    changed = found.changed({"hidden": [8], "seed": 4}, {"k": 2, "refresh": 7}, steps=30)
    assert (changed.config["hidden"], changed.config["seed"]) == ((8,), 4)
    assert (changed.settings["k"], changed.settings["refresh"]) == (2, 7)
    assert (changed.steps, changed.epochs) == (30, None)
    assert (found.config["hidden"], found.settings["k"], found.epochs) == ((1000, 1000), 4, 201)
    assert found.changed() == found


def test_dann_s_ramp_follows_the_length_of_the_run_unless_it_is_given():
    found = default_for("dann", "moons")
    assert (found.settings["ramp"], found.steps) == (300, 300)
    longer = found.changed(steps=2000)
    assert longer.settings == found.settings | {"ramp": 2000}
    assert found.changed(settings={"ramp": 50}, steps=2000).settings["ramp"] == 50
    assert found.changed(settings={"ramp": 50}).changed(steps=2000).settings["ramp"] == 50
    assert found.changed({"seed": 1}).settings["ramp"] == 300
    assert longer.changed({"seed": 1}).settings["ramp"] == 2000


def test_the_paper_variant_asks_for_its_weight_of_infomax():
    found = default_for("cgdm", "moons")
    with pytest.raises(UserError, match=r"no InfoMax term; add infomax=0$"):
        found.changed({"variant": "paper"})
    assert found.changed({"variant": "paper"}, {"infomax": 0.0}).settings["infomax"] == 0.0
    assert load("cgdm-visda-paper").changed({"variant": "paper"}) == load("cgdm-visda-paper")


@pytest.mark.parametrize(
    ("config", "settings", "says"),
    [
        ({"warp": 9}, {}, "unknown config 'warp'; known: "),
        ({}, {"aplha": 1}, "unknown settings 'aplha'; known: .*Did you mean 'alpha'"),
        ({}, {"k": 1.5}, "k must be a whole number"),
        ({}, {"learning_rate": "epoch"}, "learning_rate must be a number"),
        ({"dropout": 2}, {}, "dropout must lie between"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(config, settings, says):
    with pytest.raises(UserError, match=says):
        default_for("cgdm", "moons").changed(config, settings)


@pytest.mark.parametrize(
    ("name", "method", "task", "says"),
    [
        ("cgdm-visda", "mcd", "visda2017", "recipe cgdm-visda is for cgdm on visda2017, not for mcd on visda2017"),
        ("cgdm-visda", "mcd", "visda2017", "; use: uda train cgdm visda2017 --recipe cgdm-visda$"),
        ("cgdm-office31", "mcd", "office31:A-W", "; use: uda train cgdm office31:A-W --recipe cgdm-office31$"),
        ("cgdm-imageclef", "cgdm", "visda2017", "for cgdm on imageclef, not for cgdm on visda2017$"),
        ("mcd-digits", "mcd", "svhn-mnist", "for mcd on mnist-usps or usps-mnist, not"),
    ],
)
def test_a_recipe_for_something_else_is_refused(name, method, task, says):
    with pytest.raises(UserError, match=says):
        load(name).check(method, task)


def test_a_recipe_for_this_is_accepted():
    load("cgdm-domainnet").check("cgdm", "domainnet:R-S")
    load("cgdm-visda").check("cgdm", "visda2017")


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"unknown recipe 'cgdm-vida'; `uda recipes` lists.*Did you mean 'cgdm-visda'"):
        load("cgdm-vida")
    with pytest.raises(UserError, match="unknown method 'cgm'"):
        default_for("cgm", "moons")
    with pytest.raises(
        UserError, match="unknown method for moons 'cag'; known: source_only, clusters, coral, dann, mcd, swd, cgdm"
    ):
        default_for("cag", "moons")
    with pytest.raises(UserError, match="unknown task 'moon'"):
        default_for("cgdm", "moon")


# -- files -------------------------------------------------------------------------------------------------------------

TEXT = (FOLDER / "mcd-moons.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("steps = 300 ", "stepps = 300 ", "unknown key 'stepps'; known: .*Did you mean 'steps'"),
        ("steps = 300 ", "", "steps is missing; give steps = ..., or epochs = ..."),
        ("steps = 300 ", "steps = 300\nepochs = 3 ", "steps and epochs are both given"),
        ("steps = 300 ", "steps = 0 ", "steps must be at least 1, got 0"),
        ("steps = 300 ", "steps = 3.5 ", "steps must be a whole number, got 3.5"),
        ("about = ", "# ", "about is missing; give about = ..."),
        ('"mcd"', '"mdc"', "unknown method 'mdc'.*Did you mean 'mcd'"),
        ('["moons"]', '"moons"', "tasks must be a list of texts, got 'moons'"),
        ('["moons"]', '["moon"]', "unknown task 'moon'"),
        ('["moons"]', '["moons", "streets"]', "tasks must be one or several, which all label images or all"),
        ('["moons"]', "[]", "tasks must be one or several"),
        ("hidden = ", "hiden = ", "unknown config 'hiden'.*Did you mean 'hidden'"),
        ("hidden = ", "# ", "config lacks hidden; give each of its values"),
        ("k = 4", "", "settings lacks k; give each of its values"),
        ("k = 4", "k = 99", "k must lie between 0 and 8, got 99"),
        ("[64]", '"64"', "hidden must be whole numbers"),
        ("[config]", "[config]\nseed = 3", "seed is no part of a recipe; take it out, and give --set seed=..."),
        ("[config]", "[config", "write it as TOML"),
    ],
)
def test_a_mistake_in_a_file_names_file_field_and_mend(old, new, says, tmp_path):
    path = tmp_path / "mine.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(str(path)) + ": .*" + says):
        read(path)


def test_a_file_is_read(tmp_path):
    (tmp_path / "mine.toml").write_text(TEXT, encoding="utf-8")
    assert read(tmp_path / "mine.toml") == dataclasses.replace(load("mcd-moons"), name="mine")
    assert isinstance(load("mcd-moons"), Recipe)


# -- through the command line ------------------------------------------------------------------------------------------

SMALL = ["--weights", "none", "--steps", "2", "--set", "network=small", "batch_size=4", "hidden=8", "features=4"]


@pytest.fixture
def _small_images(monkeypatch):
    """32x32 pixels instead of 224x224."""
    monkeypatch.setattr(image_folders, "Preprocessing", lambda **kwargs: Preprocessing(36, 32, **kwargs))


@pytest.mark.usefixtures("_small_images")
@pytest.mark.parametrize(
    ("write", "task", "name", "refresh"),
    [
        (write_imageclef, "imageclef:I-P", "cgdm-imageclef", 3),
        (write_visda2017, "visda2017", "cgdm-visda", 2000),
        (write_visda2017, "visda2017", "cgdm-visda-paper", 2000),
        (write_domainnet, "domainnet:P-R", "cgdm-domainnet-paper", 86),
    ],
)
def test_real_layouts_run_through_their_recipes(write, task, name, refresh, tmp_path, capsys):
    """Small trees, small images and a small network, everything else as published."""
    write(tmp_path)
    words = ["train", "cgdm", task, "--recipe", name, "--data", str(tmp_path), "--out", str(tmp_path / "run"), *SMALL]
    assert main(words) == 0, capsys.readouterr().err
    saved = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert saved["recipe"] == name
    assert saved["settings"] == {**load(name).settings, "refresh": refresh}
    assert (saved["config"]["optimizer"], saved["config"]["variant"]) == ("sgd", load(name).config["variant"])
    scores = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert scores["metric"] == ("mean_class_accuracy" if task == "visda2017" else "accuracy")


@pytest.mark.usefixtures("_small_images")
def test_options_go_before_a_recipe_and_resume_keeps_it(tmp_path, capsys):
    write_imageclef(tmp_path)
    out = tmp_path / "run"
    words = ["train", "cgdm", "imageclef:I-P", "--recipe", "cgdm-imageclef", "--data", str(tmp_path), "--out", str(out)]
    assert main([*words, *SMALL, "beta=0.5", "refresh=7"]) == 0
    settings = json.loads((out / "settings.json").read_text())["settings"]
    assert (settings["beta"], settings["refresh"], settings["learning_rate"]) == (0.5, 7, 1e-3)
    again = ["train", "--resume", str(out), "--data", str(tmp_path), "--steps", "3"]
    assert main([*again, "--recipe", "cgdm-visda"]) == 2
    assert "recipe is 'cgdm-imageclef' there, not 'cgdm-visda'" in capsys.readouterr().err
    assert main(again) == 0
    saved = json.loads((out / "settings.json").read_text())
    assert (saved["recipe"], saved["settings"], saved["steps"]) == ("cgdm-imageclef", settings, 3)


def test_a_method_in_phases_takes_no_epochs():
    with pytest.raises(UserError, match="cag plans its own steps in phases; leave epochs out"):
        dataclasses.replace(recipe.load("cag-streets"), epochs=2)
