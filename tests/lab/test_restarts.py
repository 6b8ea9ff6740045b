"""`uda train --restarts`: single runs, one of them chosen without a target label, resumed and scored like any other."""

import dataclasses
import json
import re
import shutil
import signal

import pytest
import torch

from uda_core.data import load
from uda_core.lab import main as cli
from uda_core.lab import restarts, train
from uda_core.lab.validators import RULES
from uda_core.task import Truth

SMALL = ["mcd", "moons", "--steps", "8", "--seed", "4", "--set", "hidden=8", "features=4", "batch_size=16"]
RUNS = ["seed4", "seed5", "seed6"]


@pytest.fixture
def run(capsys):
    """Run the command line on words: (exit status, stdout, stderr)."""

    def call(*words):
        status = cli.main([str(word) for word in words])
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder with three finished runs."""
    folder = tmp_path_factory.mktemp("three") / "run"
    assert cli.main(["train", *SMALL, "--restarts", "3", "--out", str(folder)]) == 0
    return folder


def choice_of(folder):
    return json.loads((folder / "choice.json").read_text())


def trained(folder):
    """What training left behind, byte by byte."""
    return {name: [(folder / name / f).read_bytes() for f in ("checkpoint.pt", "metrics.jsonl")] for name in RUNS}


def test_each_run_is_the_one_that_its_seed_gives_alone(three, tmp_path, run):
    assert run("train", *SMALL, "--seed", 5, "--out", tmp_path / "alone")[0] == 0
    alone = [(tmp_path / "alone" / f).read_bytes() for f in ("checkpoint.pt", "metrics.jsonl")]
    assert trained(three)["seed5"] == alone
    assert len({checkpoint for checkpoint, _ in trained(three).values()}) == 3


@pytest.mark.parametrize("rule", RULES)
def test_the_lowest_number_of_the_rule_is_chosen_and_alone_scored(rule, three, run):
    status, out, _ = run("train", "--resume", three, "--choose", rule)
    choice = choice_of(three)
    numbers = {name: values[RULES[rule]] for name, values in choice["runs"].items()}
    assert (status, list(numbers), choice["rule"]) == (0, RUNS, rule)
    assert next(name for name, number in numbers.items() if number <= min(numbers.values())) == choice["chosen"]
    for name, number in numbers.items():
        assert f"{name}: " in out
        assert f"{RULES[rule]} {number:.4f}" in out
    assert f"chosen by {rule}: {choice['chosen']}, for its {RULES[rule]} is the lowest" in out
    assert out.count("target, target_test: accuracy") == 1
    seed = int(choice["chosen"].removeprefix("seed"))
    assert json.loads((three / choice["chosen"] / "summary.json").read_text())["seed"] == seed
    status, again, _ = run("evaluate", three)
    assert f"mcd, seed {seed}, 8 steps" in again
    assert again.splitlines()[-3:] == out.splitlines()[-4:-1]


def test_a_tie_is_named_and_the_first_chosen(three, tmp_path, run, monkeypatch):
    numbers = iter([0.4, 0.3, 0.3])
    monkeypatch.setattr(restarts, "of_target", lambda *_: dict.fromkeys(RULES.values(), next(numbers)))
    folder = shutil.copytree(three, tmp_path / "run")
    status, out, _ = run("train", "--resume", folder, "--choose", "entropy")
    assert (status, choice_of(folder)["chosen"]) == (0, "seed5")
    assert choice_of(folder)["why"] == "its target entropy is the lowest (tied with seed6: the first)"
    assert f"seed5, for {choice_of(folder)['why']};" in out


def test_clusters_are_chosen_by_their_commonest_class_and_have_no_entropy(tmp_path, run):
    small = ["--steps", 2, "--set", "hidden=8", "features=4", "batch_size=16"]
    status, out, _ = run("train", "clusters", "moons", *small, "--restarts", 2, "--out", tmp_path)
    assert (status, choice_of(tmp_path)["rule"]) == (0, "commonest")
    assert re.match(r"seed0: commonest predicted class 0\.\d{4}\nseed1: ", out)
    for numbers in choice_of(tmp_path)["runs"].values():
        assert numbers.keys() == {"head agreement", "rarest predicted class", "commonest predicted class"}
    status, _, err = run("train", "--resume", tmp_path, "--choose", "entropy")
    assert (status, "use --choose commonest" in err) == (2, True)


def test_the_choice_is_made_before_a_target_label_is_seen(tmp_path, run, monkeypatch):
    def evaluate(*_):
        assert choice_of(tmp_path)["runs"].keys() == set(RUNS)
        raise OSError("stop here")

    monkeypatch.setattr(train, "evaluate", evaluate)
    status, _, err = run("train", *SMALL, "--restarts", 3, "--out", tmp_path)
    assert (status, err.splitlines()[-1]) == (2, "error: stop here")


@pytest.mark.parametrize("truth", ["wrong", "unknown"])
def test_labels_that_are_wrong_or_unknown_change_nothing(truth, three, tmp_path, run, monkeypatch):
    task = load("moons")
    wrong = Truth(torch.zeros_like(task.truth.target_train), torch.zeros_like(task.truth.target_test))
    other = dataclasses.replace(task, truth=wrong if truth == "wrong" else None)
    monkeypatch.setattr(cli, "load", lambda *_: other)
    status, out, _ = run("train", *SMALL, "--restarts", 3, "--choose", choice_of(three)["rule"], "--out", tmp_path)
    assert status == 0
    assert ("accuracy not known" in out) == (truth == "unknown")
    assert trained(tmp_path) == trained(three)
    assert choice_of(tmp_path) == choice_of(three)


# -- interrupted, diverged ---------------------------------------------------------------------------------------------


def poison(trained):
    next(trained.heads.parameters()).data.fill_(torch.inf)


def fit_until(monkeypatch, seed, step, end):
    """Let `end(run)` happen before a step of the run with this seed."""

    def fit(trained, steps):
        for _ in range(steps):
            if (trained.config.seed, trained.steps) == (seed, step):
                end(trained)
            yield trained.step()

    monkeypatch.setattr(train, "fit", fit)


def test_interrupted_restarts_go_on_where_they_were(three, tmp_path, run, monkeypatch):
    folder, rule = tmp_path / "run", choice_of(three)["rule"]
    with monkeypatch.context() as patch:
        fit_until(patch, 5, 3, lambda _: signal.raise_signal(signal.SIGTERM))
        status, _, err = run("train", *SMALL, "--restarts", 3, "--choose", rule, "--out", folder)
    assert status == 143
    assert err.splitlines()[-1] == f"go on with: uda train --resume {folder}"
    assert sorted(path.name for path in folder.iterdir()) == RUNS[:2]
    status, _, err = run("train", *SMALL, "--out", folder)
    assert status == 2
    assert "holds a run already" in err
    before = [(folder / "seed4" / f).read_bytes() for f in ("settings.json", "progress.json")]
    assert run("train", "--resume", folder)[0] == 0
    assert [(folder / "seed4" / f).read_bytes() for f in ("settings.json", "progress.json")] == before
    assert trained(folder) == trained(three)
    assert choice_of(folder) == choice_of(three)
    settings = [json.loads((folder / name / "settings.json").read_text()) for name in RUNS]
    assert [s["config"].pop("seed") for s in settings] == [4, 5, 6]
    assert settings[0] == settings[1] == settings[2]


def test_a_run_not_yet_begun_starts_from_the_weights_of_the_others(tmp_path, run, monkeypatch):
    fit_until(monkeypatch, 5, 0, lambda _: signal.raise_signal(signal.SIGTERM))
    assert run("train", *SMALL, "--restarts", 3, "--out", tmp_path)[0] == 143
    path = tmp_path / "seed4" / "settings.json"
    path.write_text(path.read_text().replace('"weights": "none"', '"weights": "theirs.pt"'))
    started = {}
    monkeypatch.setattr(
        restarts, "train_run", lambda folder, _, recipe, *__: started.update({folder.path.name: recipe})
    )
    run("train", "--resume", tmp_path)
    assert {name: recipe.config["weights"] for name, recipe in started.items()} == {
        "seed4": "none",  # they are in its checkpoint
        "seed5": "none",
        "seed6": "theirs.pt",
    }


def test_a_run_that_diverges_is_named_and_not_chosen(three, tmp_path, run, monkeypatch):
    lost = choice_of(three)["chosen"]
    with monkeypatch.context() as patch:
        fit_until(patch, int(lost.removeprefix("seed")), 3, poison)
        status, _, err = run("train", *SMALL, "--restarts", 3, "--out", tmp_path)
    choice = choice_of(tmp_path)
    assert status == 0
    assert f"warning: {lost} cannot be chosen: step 4: source_ce is nan" in err
    assert f"uda train --resume {tmp_path} --set learning_rate=..." in err
    assert choice["runs"][lost]["failed"].startswith("step 4: source_ce is nan")
    assert choice["chosen"] in {*RUNS} - {lost}
    assert run("train", "--resume", tmp_path)[0] == 0
    assert choice_of(tmp_path)["runs"].keys() == {*RUNS}
    assert "failed" not in choice_of(tmp_path)["runs"][lost]


def test_no_run_is_chosen_where_all_diverge(tmp_path, run, monkeypatch):
    def fit(trained, steps):
        poison(trained)
        yield trained.step()

    monkeypatch.setattr(train, "fit", fit)
    status, _, err = run("train", *SMALL, "--restarts", 2, "--out", tmp_path / "run")
    assert status == 2
    assert "no run to choose from, for none kept finite losses; lower learning_rate" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mcd moons --choose entropy", "--choose chooses between restarts; add --restarts 3"),
        ("mcd moons --restarts 1", "--restarts must be at least 2, got 1"),
        ("mcd moons --restarts 3 --choose accuracy", "unknown rule 'accuracy'; known: commonest, infomax, entropy"),
        ("clusters moons --restarts 2 --choose entropy", "of which entropy says nothing; use --choose commonest"),
        ("clusters moons --restarts 2 --choose infomax", "of which infomax says nothing; use --choose commonest"),
        (
            "logistic_regression moons --restarts 3",
            "logistic_regression gives the same weights with every seed; leave --restarts out",
        ),
        ("cag streets --restarts 3", "--restarts is for tasks that label whole samples, but streets labels pixels"),
        ("mcd moons --restarts 3 --devices 2", "--restarts trains in a single process; leave --devices out"),
        ("--resume THREE --restarts 2", "3 restarts there, not 2; leave it out"),
        ("--resume THREE --seed 9", "seed is 4 there, not 9"),
        ("--resume THREE/seed4 --choose entropy", "no restarts to choose from; leave --restarts and --choose out"),
        ("mcd moons --out THREE", "holds a run already"),
    ],
)
def test_what_does_not_fit_is_refused(words, message, three, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = trained(three)
    status, _, err = run("train", *words.replace("THREE", str(three)).split())
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
    assert trained(three) == before
    assert not list(tmp_path.iterdir())
