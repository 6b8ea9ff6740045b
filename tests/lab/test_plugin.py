"""--plugin: networks, tasks and methods of one's own by name, and no code that nobody named."""

import json
import sys

import pytest

from uda_core.data import TASKS
from uda_core.lab import main as cli
from uda_core.lab import recipe
from uda_core.methods import CLASSIFICATION
from uda_core.models.features import FEATURE_EXTRACTORS

OWN = """
import dataclasses
from torch import nn
from uda_core import methods
from uda_core.data import TASKS, moons
from uda_core.data.catalog import Entry
from uda_core.models.features import FEATURE_EXTRACTORS


def straight(shape, features, weights):
    return nn.Linear(shape[0], features), features


def few():
    return moons.moons(samples=60)


FEATURE_EXTRACTORS["straight"] = straight
TASKS["few-moons"] = Entry("moons, of which there are few", "own_things:few", vectors=True)
methods.CLASSIFICATION["mine"] = dataclasses.replace(methods.MCD, name="mine")
"""


@pytest.fixture
def run(capsys):
    def call(*words):
        return cli.main([str(word) for word in words]), *capsys.readouterr()

    return call


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A file that brings a network, a task and a method; beside it the recipe of that method on that task."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_things.py").write_text(OWN)
    text = (recipe.FOLDER / "mcd-moons.toml").read_text()
    for old, new in (('"mcd"', '"mine"'), ('"moons"', '"few-moons"'), ('network = "small"', 'network = "straight"')):
        assert old in text
        text = text.replace(old, new)
    (folder / "mine-few-moons.toml").write_text(text)
    monkeypatch.setattr(recipe, "FOLDERS", [*recipe.FOLDERS])
    yield folder / "own_things.py"
    for table, name in ((FEATURE_EXTRACTORS, "straight"), (TASKS, "few-moons"), (CLASSIFICATION, "mine")):
        table.pop(name, None)
    sys.modules.pop("own_things", None)


def test_its_names_are_known_and_its_code_runs_only_where_it_is_named(plugin, tmp_path, run, monkeypatch):
    out, words = tmp_path / "run", ["train", "mine", "few-moons", "--steps", 3, "--set", "batch_size=16"]
    assert run(*words, "--out", out)[2].startswith("error: unknown method 'mine'")
    status, said, _ = run(*words, "--plugin", plugin, "--out", out)
    assert status == 0
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["plugin"], settings["recipe"]) == (str(plugin), "mine-few-moons")
    assert settings["config"]["network"] == "straight"

    for again in (["evaluate", out], ["train", "--resume", out, "--steps", 5]):
        status, _, err = run(*again)
        assert (status, err) == (
            2,
            f"error: {out}: made with your own code; if you trust it, add --plugin {plugin}\n",
        )
        assert run(*again, "--plugin", plugin)[0] == 0
    assert said.splitlines()[-1].startswith("written to ")


def test_processes_of_a_run_load_it_too(plugin, tmp_path):
    words = ["train", "mine", "few-moons", "--steps", "2", "--set", "batch_size=8", "--devices", "2", "--plugin"]
    assert cli.main([*words, str(plugin), "--out", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nowhere.py", None, "no Python file that can be imported"),
        ("my-net.py", "", "no Python file that can be imported"),
        ("json.py", "", "json is the name of another module, "),
        ("own_wrong.py", "a = 1\nb = a + c\n", "own_wrong.py, line 2: NameError: name 'c' is not defined"),
        ("own_wrong.py", "a = (\n", "own_wrong.py: SyntaxError: "),
    ],
)
def test_a_mistake_gets_one_clear_line(name, text, message, tmp_path, run):
    if text is not None:
        (tmp_path / name).write_text(text)
    status, said, err = run("train", "mcd", "moons", "--plugin", tmp_path / name, "--out", tmp_path / "run")
    assert (status, said, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "run").exists()
    assert name.removesuffix(".py") not in sys.modules or name == "json.py"
