"""The command line: what it writes, what it says, and that it looks at the target's labels only at the end."""

import dataclasses
import json
import platform
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from uda_core import __version__
from uda_core.data import TASKS
from uda_core.data.digits import fonts_handwriting
from uda_core.evaluation import evaluate as score
from uda_core.lab import bench, results, train
from uda_core.lab import main as cli
from uda_core.lab.recipe import all_methods, fields_of, parse
from uda_core.methods import CLASSIFICATION, OF_VECTORS, SEGMENTATION
from uda_core.task import Truth


@pytest.fixture
def run(capsys):
    """Run the command line on words: (exit status, stdout, stderr)."""

    def call(*words):
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as end:  # --help and --version
            status = end.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished run: CGDM on moons, six steps, pseudo-labels from the third on."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["train", "cgdm", "moons", "--steps", "6", "--seed", "3", "--set", "refresh=2", "beta=0.2", "hidden=32,16"]
    assert cli.main([*words, "--out", str(folder)]) == 0
    return folder


# -- train -------------------------------------------------------------------------------------------------------------


def test_summary_names_what_was_measured(trained):
    summary = json.loads((trained / "summary.json").read_text())
    said = {name: summary[name] for name in ("method", "variant", "task", "seed", "steps", "metric", "split")}
    assert said == {
        "method": "cgdm",
        "variant": "code",
        "task": "moons",
        "seed": 3,
        "steps": 6,
        "metric": "accuracy",
        "split": "target_test",
    }
    assert summary["seconds"] > 0
    assert summary["source"]["split"] == "source_val"
    assert 0 <= summary["source"]["score"] <= 1
    shares = summary["target"]["per_class"]
    assert list(shares) == ["upper", "lower"]
    assert summary["target"]["score"] == pytest.approx(sum(shares.values()) / 2)  # 300 of each
    assert summary["versions"]["uda_core"] == __version__
    assert summary["versions"]["torch"] == torch.__version__


def test_settings_and_metrics_hold_every_step(trained):
    settings = json.loads((trained / "settings.json").read_text())
    assert (settings["method"], settings["task"], settings["steps"]) == ("cgdm", "moons", 6)
    assert settings["config"]["hidden"] == [32, 16]
    assert settings["config"]["dropout"] == 0.0  # of the task's recipe
    assert settings["recipe"] == "cgdm-moons"
    assert settings["settings"]["beta"] == 0.2
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert "pseudo_ce" not in records[1]["losses"]
    assert records[2]["losses"].keys() >= {"source_ce", "pseudo_ce", "discrepancy", "gradient_discrepancy"}
    assert all(record["settings"] == settings["settings"] for record in records)


def test_folder_is_named_after_the_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("train", "source_only", "moons", "--steps", 2, "--seed", 5)
    assert status == 0
    folder = Path("runs", "source_only-moons-seed5")
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.pt",
        "metrics.jsonl",
        "progress.json",
        "settings.json",
        "summary.json",
    ]
    assert "target, target_test: accuracy" in out
    assert str(folder) in out
    assert "source_ce=" in err  # the progress bar


def test_config_names_are_taken_by_their_type():
    words = ["seed=4", "hidden=100,50", "dropout=0.25", "fast=true", "variant=code", "infomax=0.2", "k=2"]
    config, settings = parse(words, CLASSIFICATION["cgdm"])
    assert config == {"seed": 4, "hidden": (100, 50), "dropout": 0.25, "fast": True, "variant": "code"}
    assert settings == {"infomax": 0.2, "k": 2}
    assert type(settings["k"]) is int
    assert parse(["seed=9223372036854775807"], CLASSIFICATION["mcd"])[0] == {"seed": 2**63 - 1}
    assert parse(["batch_size=1e3"], CLASSIFICATION["mcd"])[0] == {"batch_size": 1000}


def test_finished_run_is_not_overwritten(run, trained):
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    status, _, err = run("train", "mcd", "moons", "--steps", 1, "--out", trained)
    assert (status, err.count("\n")) == (2, 1)
    assert f"holds a run already; go on with --resume {trained}, give another --out, or delete the folder" in err
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


@pytest.mark.parametrize("method", CLASSIFICATION)
def test_poisoned_truth_changes_nothing_that_trains(method, run, tmp_path, monkeypatch):
    task = fonts_handwriting(samples=300)
    noise = torch.randint(10, (len(task.pair.target_train),), generator=torch.Generator().manual_seed(1))
    for name, truth in (("clean", task.truth), ("poisoned", Truth(noise, noise))):
        monkeypatch.setattr(cli, "load", lambda *_, truth=truth: dataclasses.replace(task, truth=truth))
        refresh = ["--set", "refresh=2"] if method == "cgdm" else []
        status, *_ = run("train", method, "fonts-handwriting", "--steps", 5, "--out", tmp_path / name, *refresh)
        assert status == 0
    clean, poisoned = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("clean", "poisoned"))
    for name in ("checkpoint.pt", "metrics.jsonl", "settings.json"):
        assert clean[name] == poisoned[name]
    assert clean["summary.json"] != poisoned["summary.json"]


def test_target_labels_are_opened_after_the_checkpoint_is_written(run, tmp_path, monkeypatch):
    def evaluate(*_):
        assert (tmp_path / "run" / "checkpoint.pt").exists()
        raise OSError("stop here")

    monkeypatch.setattr(train, "evaluate", evaluate)
    status, _, err = run("train", "mcd", "moons", "--steps", 1, "--out", tmp_path / "run")
    assert (status, err.splitlines()[-1]) == (2, "error: stop here")


def test_interrupt_ends_the_step_and_saves(run, tmp_path, monkeypatch):
    def interrupted_fit(run, steps):
        for _ in range(steps):
            if run.steps == 2:
                signal.raise_signal(signal.SIGINT)  # arrives in the middle of step 3
            yield run.step()

    monkeypatch.setattr(train, "fit", interrupted_fit)
    folder, handler = tmp_path / "run", signal.getsignal(signal.SIGINT)
    status, _, err = run("train", "mcd", "moons", "--steps", 50, "--out", folder)
    assert status == 130
    assert f"interrupted: step 3 of 50 is saved in {folder / 'checkpoint.pt'}" in err
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (folder / "summary.json").exists()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    status, out, _ = run("evaluate", folder)
    assert status == 0
    assert "3 steps" in out


@pytest.fixture
def _ctrl_c():
    """Ctrl-C as in a terminal: what starts in the background of a script ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_second_interrupt_ends_at_once(run, tmp_path, monkeypatch):
    def impatient_fit(run, steps):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        yield run.step()

    monkeypatch.setattr(train, "fit", impatient_fit)
    status, _, err = run("train", "mcd", "moons", "--out", tmp_path / "run")
    assert (status, err.splitlines()[-1]) == (130, "interrupted")


def test_loss_that_is_no_number_ends_the_run_in_one_line(run, tmp_path, monkeypatch):
    def exploding_fit(run, steps):
        with torch.no_grad():
            run.extractor.layers[0].weight.fill_(float("nan"))
        yield run.step()

    monkeypatch.setattr(train, "fit", exploding_fit)
    status, _, err = run("train", "mcd", "moons", "--out", tmp_path / "run")
    assert status == 2
    assert err.splitlines()[-1].startswith("error: step 1: source_ce is nan; lower learning_rate")
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


# -- evaluate, tasks, bench --------------------------------------------------------------------------------------------


PHASES = ["--set", "source_steps=2", "stage_steps=2", "stages=2", "batch_size=4"]


@pytest.fixture
def segmented(run, tiny_streets, tmp_path, monkeypatch):
    """A folder with a finished CAG run of two source steps and two stages of two steps, and what was printed."""
    monkeypatch.setattr(cli, "load", lambda *_: tiny_streets)
    status, out, _ = run("train", "cag", "streets", "--out", tmp_path / "run", *PHASES)
    assert status == 0
    return tmp_path / "run", out


def test_every_stage_is_saved_scored_and_told(segmented):
    folder, out = segmented
    assert {p.name for p in folder.glob("*.pt")} == {"source.pt", "stage1.pt", "stage2.pt", "checkpoint.pt"}
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["steps"], summary["metric"], list(summary["milestones"])) == (
        6,
        "miou",
        ["source", "stage1", "stage2"],
    )
    for name, scores in summary["milestones"].items():
        assert f"target, target_test, after {name}: {scores['target']['score']:.1%}" in out
    assert summary["milestones"]["stage2"]["target"] == summary["target"]
    assert summary["milestones"]["source"]["made_from"] == {}
    made = [summary["milestones"][name]["made_from"] for name in ("stage1", "stage2")]
    assert [(m["stage"], m["step"]) for m in made] == [(1, 2), (2, 4)]
    assert made[0]["teacher"] != made[1]["teacher"]
    labels = summary["milestones"]["stage1"]["labels"]["anchors"]
    assert list(labels["recall"]) == list(summary["target"]["per_class"])
    assert 0 <= labels["overall_coverage"] <= 1
    without = summary["milestones"]["stage1"]["classes_without_anchor"]
    assert without  # two steps do not teach eight classes
    assert f"  classes without anchor: {', '.join(without)}\n" in out


def test_milestones_are_scored_on_the_device_that_trained(run, tiny_streets, tmp_path, monkeypatch):
    devices = []
    monkeypatch.setattr(cli, "load", lambda *_: tiny_streets)
    monkeypatch.setattr(train, "evaluate", lambda run, task: devices.append(run.config.device) or score(run, task))
    assert run("train", "cag", "streets", "--out", tmp_path / "run", *PHASES, "device=cpu:0")[0] == 0
    assert devices == ["cpu:0"] * 4  # the end, the source phase, two stages


def test_a_segmentation_run_is_scored_again(segmented, run):
    folder, _ = segmented
    score = json.loads((folder / "summary.json").read_text())["target"]["score"]
    status, out, _ = run("evaluate", folder)
    assert status == 0
    assert out.startswith("cag, seed 0, 6 steps\n")
    assert f"target, target_test: mIoU {score:.1%}" in out
    status, adapted, _ = run("evaluate", folder, "--adabn")
    assert status == 0
    assert adapted.splitlines()[1] == "batch-norm statistics re-estimated on the target"
    status, _, err = run("evaluate", folder, "--device", "gpu")
    assert status == 2
    assert "device 'gpu' is not available here; use cpu" in err


def test_evaluate_gives_the_scores_of_train(run, trained):
    target = json.loads((trained / "summary.json").read_text())["target"]
    status, out, _ = run("evaluate", trained)
    assert status == 0
    assert out.startswith("cgdm (code), seed 3, 6 steps\n")
    assert f"target, target_test: accuracy {target['score']:.1%}" in out
    assert f"upper       300 {target['per_class']['upper']:>10.1%}" in out


def test_adabn_makes_another_row(run, trained):
    _, plain, _ = run("evaluate", trained)
    status, adapted, _ = run("evaluate", trained, "--adabn")
    assert status == 0
    assert adapted != plain
    assert "batch-norm statistics re-estimated on the target" in adapted


def test_tasks_are_listed_with_their_data(run):
    status, out, _ = run("tasks")
    assert status == 0
    for name, entry in TASKS.items():
        assert f"{name:24}{entry.about}" in out
    built_in = [entry for entry in TASKS.values() if not entry.sets and not entry.own]
    assert out.count("data: built in, nothing to download") == len(built_in)
    assert out.count("recipes by name: infomax, mcd-infomax\n") == sum(not entry.dense for entry in TASKS.values())
    assert "published recipes: cgdm-visda, cgdm-visda-paper, mcd-visda, swd-visda\n" in out
    assert out.count("published figures start from --weights ResNet50_Weights.IMAGENET1K_V1\n") == 5


def test_recipes_are_listed_and_printed_whole(run):
    status, out, _ = run("recipes")
    assert status == 0
    assert f"{'cgdm-visda':36}CGDM on VisDA-2017, as in the authors' code\n" in out
    assert out.count("\n") == 162
    status, out, _ = run("recipes", "cgdm-imageclef", "mcd-moons")
    assert status == 0
    assert out.startswith("cgdm-imageclef: uda train cgdm imageclef:S-T --recipe cgdm-imageclef\n\nabout = ")
    assert "\nmcd-moons: uda train mcd moons --recipe mcd-moons\n" in out
    assert re.search(r"\ninfomax = 0.1 +# lijin118/CGDM 012d631, train_image_clef.py\n", out)


@pytest.mark.parametrize(("name", "some"), [("infomax", "infomax-usps-mnist"), ("mcd-infomax", "mcd-infomax-moons")])
def test_the_recipes_of_a_family_are_listed(name, some, run):
    status, out, _ = run("recipes", name)
    _, everything, _ = run("recipes")
    assert status == 0
    assert out.splitlines() == [line for line in everything.splitlines() if line.startswith(f"{name}-")]
    assert f"\n{some} " in out
    _, both, _ = run("recipes", "mcd-moons", name)
    assert both.startswith("mcd-moons: uda train mcd moons")
    assert both.endswith(f"\n\n{out}")


@pytest.mark.parametrize("name", all_methods())
def test_every_method_names_its_papers(name, run):
    """But source only, which is nobody's in particular, and says so."""
    status, out, _ = run("cite", name)
    assert (status, out.count("@") > 0) == (0, name != "source_only")
    assert (out == "% source_only has no paper of its own.\n") == (name == "source_only")


def test_papers_are_printed_as_bibtex_each_once(run):
    _, everything, _ = run("cite")
    keys = re.findall(r"^@\w+\{(\w+),$", everything, re.MULTILINE)
    assert keys == [
        "saito2018mcd", "lee2019swd", "du2021cgdm", "liang2020shot", "sun2016coral", "ganin2016dann", "li2017adabn",
        "krause2010rim", "hu2017imsat", "pedregosa2011sklearn", "tsai2018adaptsegnet", "zhang2019cag",
    ]  # fmt: skip
    assert everything.count("{") == everything.count("}")
    for entry in everything.split("\n\n"):
        key, year, author = (re.search(p, entry)[1] for p in (r"\{(\w+),", r"year = \{(\d+)\}", r"author = \{(\w+),"))
        assert key.startswith(author.lower() + year)
        assert re.search(r"title = \{.+\},\n", entry)
    _, some, _ = run("cite", "clusters", "source_only", "infomax")
    assert re.findall(r"@\w+\{(\w+),", some) == ["liang2020shot", "krause2010rim", "hu2017imsat"]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("cgdm", ["saito2018mcd", "du2021cgdm", "liang2020shot", "krause2010rim", "hu2017imsat"]),
        ("logistic_regression", ["liang2020shot", "pedregosa2011sklearn"]),
    ],
)
def test_a_method_names_the_papers_of_what_it_contains(name, keys, run):
    assert re.findall(r"@\w+\{(\w+),", run("cite", name)[1]) == keys


def test_tasks_say_what_is_missing_and_where_to_get_it(run, tmp_path):
    for folder in ("train", "trainannot", "test", "testannot"):
        (tmp_path / "camvid" / folder).mkdir(parents=True)
        (tmp_path / "camvid" / folder / "a.png").touch()
    _, out, _ = run("tasks", "--data", tmp_path)
    camvid, gta5 = (out[out.index(f"\n{name}") :].splitlines()[2] for name in ("camvid-day-dusk", "gta5-cityscapes"))
    assert camvid.strip() == "data: found"
    assert gta5.strip().startswith(f"data: gta5: nothing in {tmp_path / 'gta5' / 'images'}")
    assert f"uda download cityscapes --to {tmp_path}" in out


def test_bench_hands_its_arguments_on(run, monkeypatch, tmp_path):
    calls = []
    result = {"torch": "2.4", "threads": 1, "rounds": 1, "median_ms": {}, "ratios": []}
    monkeypatch.setattr("uda_core.lab.benchmarks.speed.measure", lambda device: calls.append(device) or result)
    assert run("bench", "speed")[0] == 0
    assert run("bench", "speed", "--device", "cuda", "--out", tmp_path / "speed.json")[0] == 0
    assert calls == ["cpu", "cuda"]
    assert json.loads((tmp_path / "speed.json").read_text()) == result

    calls.clear()
    held = pd.DataFrame([{"batch_size": 8, "loss": "L_gd", "wce": 0, "truth": 0, "gd": 1, "again": 0, "norm": 2}])
    monkeypatch.setattr("uda_core.lab.benchmarks.gradients.measure", lambda *arguments: calls.append(arguments) or held)
    out = tmp_path / "gradients.csv"
    code, printed, _ = run("bench", "gradients", "fonts-distorted", "--seeds", "1-2", "--out", out)
    assert (code, printed) == (0, results.of_gradients(held) + "\n")
    assert [(task.name, seeds) for task, seeds in calls] == [("fonts-distorted", [1, 2])]
    assert out.read_text().startswith(
        "# command: uda bench gradients fonts-distorted --seeds 1-2 --out gradients.csv\n"
    )
    pd.testing.assert_frame_equal(pd.read_csv(out, comment="#"), held)

    calls.clear()
    monkeypatch.setattr("uda_core.lab.studies.measure", lambda *arguments: calls.append(arguments))
    assert run("bench", "accuracy", "--seeds", "2-4", "--out", "a.csv")[0] == 0
    assert run("bench", "accuracy", "--seeds", "7,1", "--table", "imbalanced", "--out", "a.csv")[0] == 0
    path = Path("a.csv")
    assert run("bench", "accuracy", "--table", "camvid-day-dusk", "--data", tmp_path, "--out", "a.csv")[0] == 0
    assert calls[:2] == [("fonts-handwriting", [2, 3, 4], path, None), ("imbalanced", [7, 1], path, None)]
    assert calls[2] == ("camvid-day-dusk", [*range(10)], path, tmp_path)

    calls.clear()
    monkeypatch.setattr("uda_core.lab.benchmarks.loader.measure", lambda *arguments: calls.append(arguments) or {})
    monkeypatch.setattr("uda_core.lab.benchmarks.loader.table", lambda result: "a table")
    monkeypatch.setattr("uda_core.lab.benchmarks.loader.made_up", lambda folder: folder)
    assert run("bench", "loader", "--batch-size", 8, "--method", "mcd", "--batches", 2)[:2] == (0, "a table\n")
    [(_, method, config, batches)] = calls
    assert (method, batches) == ("mcd", 2)
    assert (config.network, config.batch_size, config.optimizer) == ("resnet50", 8, "sgd")


@pytest.mark.parametrize(("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("7", [7]), ("5,1", [5, 1])])
def test_seeds_are_a_range_or_a_list(text, seeds):
    assert bench.seeds_of(text) == seeds


# -- help and mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "",
        "tasks",
        "recipes",
        "train",
        "evaluate",
        "features",
        "compare",
        "bench",
        "bench speed",
        "bench anchors",
        "bench gradients",
        "bench accuracy",
        "bench loader",
        "cite",
    ],
)
def test_help_gives_an_example_that_parses(command, run):
    status, out, _ = run(*command.split(), "--help")
    assert status == 0
    example = out.split("example:\n  uda ")[1].splitlines()[0]
    assert example.startswith(command)
    assert callable(cli.parser_for(example.split()).parse_args(example.split()).command)


def test_help_of_train_lists_methods_and_leaves_their_settings_to_them(run):
    _, out, _ = run("train", "--help")
    assert ", ".join(all_methods()) in " ".join(out.split())
    assert "uda train METHOD --help" in out
    assert not any(word in out for word in ("beta ", "stage_steps", "weight of"))


@pytest.mark.parametrize("name", all_methods())
def test_help_of_a_method_lists_its_own_settings(name, run):
    status, out, _ = run("train", name, "--help")
    assert status == 0
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("    ")]
    forms = [forms[name] for forms in (CLASSIFICATION, OF_VECTORS, SEGMENTATION) if name in forms]
    assert listed == [field for form in forms for fields in reversed(fields_of(form)) for field in fields]


def test_help_of_bench_accuracy_names_every_table(run):
    out = re.sub(r"(?<=-)\n +", "", run("bench", "accuracy", "--help")[1])  # names are broken at a hyphen
    assert f"{', '.join(results.NAMES)} (default: fonts-handwriting)" in " ".join(out.split())


def test_help_of_a_method_gives_default_unit_range_and_choices(run):
    _, out, _ = run("train", "cgdm", "moons", "--help")
    beta = "weight of the gradient discrepancy L_gd, in step C; published: 0.01 (0.01; 0 to 1)"
    assert f"    beta                        {beta}\n" in out
    assert "(100 steps; 1 to 1e+06)\n" in out
    assert "(code; code or paper)\n" in out
    assert "(false; true or false)\n" in out
    assert "(64; 1 to 100000)\n" in out
    assert run("train", "magic", "--help")[2].startswith("error: unknown method 'magic'; known: source_only")


def test_commands_of_other_packages_are_found(run, monkeypatch):
    def add(commands):
        commands.add_parser("greet", help="say hello").set_defaults(command=lambda _: print("hello") or 7)

    monkeypatch.setitem(sys.modules, "greetings", SimpleNamespace(add=add))
    points = [EntryPoint("greet", "greetings:add", ""), EntryPoint("broken", "no_such_module:add", "")]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    assert run("greet")[:2] == (7, "hello\n")
    assert "say hello" in run("--help")[1]
    assert run("bench", "greet")[:2] == (7, "hello\n")
    assert "invalid choice: 'broken'" in run("broken")[2]


@pytest.mark.parametrize("fails", ["where it is loaded", "where it is called"])
def test_a_command_that_fails_raises_its_own_error(fails, run, monkeypatch):
    """Ours wherever it fails; one of another package once it is loaded."""

    def add(commands):
        raise AttributeError("a mistake in the command")

    monkeypatch.setitem(sys.modules, "faulty", SimpleNamespace(add=add))
    place = "no_such_module:add" if fails == "where it is loaded" else "faulty:add"
    monkeypatch.setitem(cli.COMMANDS, "faulty", place)
    for words in (["faulty"], ["--help"]):
        with pytest.raises((ModuleNotFoundError, AttributeError), match=r"no_such_module|a mistake in the command"):
            run(*words)
    monkeypatch.delitem(cli.COMMANDS, "faulty")
    monkeypatch.setattr(cli, "entry_points", lambda group: [EntryPoint("faulty", "faulty:add", group)])
    with pytest.raises(AttributeError, match="a mistake in the command"):
        run("faulty")


MISTAKES = [
    (
        "train cgm moons",
        "unknown method 'cgm'; known: source_only, clusters, coral, dann, mcd, swd, cgdm, logistic_regression,",
    ),
    (
        "train logistic_regression mnist-usps",
        "logistic_regression takes vectors, which mnist-usps does not have; make features of images with",
    ),
    ("train cgdm moon", "unknown task 'moon'; known: fonts-handwriting, fonts-distorted, moons,"),
    ("train cgdm streets", "unknown method for streets 'cgdm'; known: source_only, output_adversarial, cag."),
    ("train cag moons", "unknown method for moons 'cag'; known: source_only, clusters, coral, dann, mcd, swd, cgdm,"),
    ("train mcd moons --standardise source", "moons is not made of feature files; --standardise belongs to features"),
    (
        "train mcd moons --recipe mcd-infomax",
        "recipe mcd-infomax-moons is for cgdm on moons, not for mcd on moons; "
        "use: uda train cgdm moons --recipe mcd-infomax-moons",
    ),
    ("cite cgmd", "unknown reference 'cgmd'; known: adabn, cag, cgdm,"),
    ("train cag streets --set network=smal", "unknown network 'smal'; known: small, efficientnet_lite0,"),
    ("train cag streets --set warm_up=hot", "unknown warm_up 'hot'; known: none, adabn, adversarial."),
    ("train source_only streets --set labels=anchors", "unknown setting 'labels'"),  # cag alone has it
    ("train cag streets --set margin=-1", "margin must lie between 0.0 and 100.0, got -1.0"),
    ("train cag streets --weights nowhere.pt", "unknown weights of the small network 'nowhere.pt'; known: none."),
    ("train cag moons --weights x", "unknown method for moons 'cag'"),
    ("train mcd moons --weights x", "unknown weights of the small network 'x'; known: none."),
    ("train cag camvid-day-dusk", "camvid: nothing in data/camvid/train, data/camvid/trainannot and 2 more; get"),
    ("train cag camvid-day-dusk --data elsewhere", "elsewhere: no such folder; --data names the folder with the sets"),
    ("train mcd moons --set aplha=1", "unknown setting 'aplha'; known: learning_rate, discrepancy, k, seed,"),
    ("train mcd moons --set alpha=0.1", "unknown setting 'alpha'"),  # a setting of another method
    ("train mcd moons --set variant=paper", "unknown setting 'variant'"),
    ("train swd moons --set fast=true", "unknown setting 'fast'"),
    ("train cgdm moons --set alpha", "--set takes name=value, got 'alpha'"),
    ("train cgdm moons --set alpha=2", "alpha must lie between 0.0 and 1.0, got 2.0"),
    ("train cgdm moons --set alpha=much", "alpha must be a number from 0.0 to 1.0, got 'much'"),
    ("train cgdm moons --set alpha=nan", "alpha must be a number"),
    ("train cgdm moons --set alpha=", "alpha must be a number from 0.0 to 1.0, got ''"),
    ("train cgdm moons --set k=1.5", "k must be a whole number, got 1.5"),
    ("train cgdm moons --set batch_size=1", "batch_size must lie between 2 and 1000000, got 1"),
    ("train cgdm moons --set batch_size=many", "batch_size must be a number from 2 to 1000000, got 'many'"),
    ("train cgdm moons --set batch_size=601", "batch_size 601 is larger than the 600 training samples"),
    ("train cgdm moons --set hidden=64,x", "hidden must be whole numbers from 1 to 100000, such as 64,64, got '64,x'"),
    ("train cgdm moons --set dropout=nan", "dropout must be a number from 0.0 to 0.99, got nan"),
    ("train cgdm moons --set fast=maybe", "fast must be true or false, got 'maybe'"),
    ("train cgdm moons --set variant=papper", "unknown variant 'papper'; known: code, paper. Did you mean 'paper'?"),
    (
        "train cgdm moons --set variant=paper",
        "variant=paper has no InfoMax term; add infomax=0",
    ),
    ("train cgdm moons --set variant=paper infomax=0 fast=true", "fast covers variant 'code' only"),
    ("train cgdm moons --recipe cgdm-moon", "unknown recipe 'cgdm-moon'; `uda recipes` lists them. Did you mean"),
    ("train cgdm moons --recipe cgdm-visda", "recipe cgdm-visda is for cgdm on visda2017, not for cgdm on moons"),
    ("recipes cgdm-moon", "unknown recipe 'cgdm-moon'; `uda recipes` lists them. Did you mean"),
    ("train cgdm moons --set device=gpu", "device 'gpu' is not available here; use cpu"),
    ("train cgdm moons --seed -1", "seed must lie between 0 and 9223372036854775807, got -1"),
    (
        "train cgdm moons --seed first",
        "argument --seed: invalid int value: 'first'; see uda train --help",
    ),
    ("train cgdm moons --steps 0", "--steps must be at least 1, got 0"),
    ("train cgdm", "the following arguments are required: TASK; see uda train --help"),
    ("train", "the following arguments are required: METHOD, TASK; see uda train --help"),
    ("train --resume nowhere", "nowhere: no settings.json; give a folder that `train` wrote"),
    ("train mcd moons --resume a --out b", "argument --out: not allowed with argument --resume; see"),
    ("train mcd moons --checkpoint-minutes -1", "--checkpoint-minutes must be at least 0, got -1.0"),
    ("train mcd moons --checkpoint-minutes nan", "--checkpoint-minutes must be at least 0, got nan"),
    ("", "the following arguments are required: COMMAND; see uda --help"),
    ("evaluate nowhere", "nowhere: no settings.json; give a folder that `train` wrote"),
    (
        "bench accuracy --table all --out x",
        "unknown table 'all'; known: camvid-day-dusk, ",
    ),
    ("bench gradients mnist-usps", "argument TASK: invalid choice: 'mnist-usps' (choose from"),
    ("bench accuracy --seeds 9-0 --out x", "--seeds takes a range such as 0-9 or a list such as 0,3,4, got '9-0'"),
    ("bench accuracy --seeds few --out x", "--seeds takes a range such as 0-9 or a list such as 0,3,4, got 'few'"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_mistake_gets_one_clear_line(words, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*words.split())
    assert status == 2
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def edited(trained, folder, **changes):
    """A copy of the finished run with other values in its settings.json."""
    shutil.copytree(trained, folder)
    path = folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "mcd"}, "method is 'cgdm', but this run has 'mcd'"),
        ({"task": "fonts-handwriting"}, "task is 'moons', but this run has 'fonts-handwriting'"),
        ({"method": "magic"}, "unknown method 'magic'"),
    ],
)
def test_checkpoint_of_something_else_is_refused(change, message, trained, run, tmp_path):
    status, _, err = run("evaluate", edited(trained, tmp_path / "run", **change))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("change", [{"task": 3}, {"method": None}, {"steps": "40"}, {"config": []}])
def test_a_value_of_another_kind_is_damage(change, trained, run, tmp_path):
    folder = edited(trained, tmp_path / "run", **change)
    status, _, err = run("evaluate", folder)
    what = " is ".join((next(iter(change)), repr(next(iter(change.values())))))
    mend = "train again, or put back the file that `train` wrote"
    assert (status, err) == (2, f"error: {folder / 'settings.json'}: damaged ({what}); {mend}\n")


def test_files_cut_short_are_refused(trained, run, tmp_path):
    folder = edited(trained, tmp_path / "run")
    for name, message in (
        ("checkpoint.pt", "damaged, cut short"),
        ("settings.json", "damaged (no JSON object); train"),
    ):
        path = folder / name
        for content in (path.read_bytes()[:-40], b"\xff\xfe"):
            path.write_bytes(content)
            status, _, err = run("evaluate", folder)
            assert status == 2
            assert err.startswith(f"error: {path}: {message}")
            assert err.count("\n") == 1


def test_mistake_is_told_without_traceback_or_slow_imports():
    code = "import sys; from uda_core.lab.main import main; n = main(sys.argv[1:]); print(*sys.modules); exit(n)"
    command = [sys.executable, "-c", code, "train", "magic", "moons"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown method 'magic'")
    assert result.stderr.count("\n") == 1
    imported = set(result.stdout.split())
    assert "torch" in imported
    assert imported.isdisjoint({"umap", "numba", "matplotlib", "IPython", "pandas", "torchvision"})
    assert {name for name in imported if name.startswith("uda_core.lab.")} == {
        "uda_core.lab.main", "uda_core.lab.train", "uda_core.lab.recipe", "uda_core.lab.run_folder",
        "uda_core.lab.checkpoints", "uda_core.lab.fingerprint", "uda_core.lab.scoring",
        "uda_core.lab.forecast", "uda_core.lab.validators",
    }  # fmt: skip


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(("line", "kept"), [("main(['tasks'])", True), ("", False)])
def test_freed_memory_is_kept_for_the_next_step(line, kept):
    """Whether tensors of 64 MB, made and freed again and again, cost page faults after a command."""
    code = f"""
import resource, torch
from uda_core.lab.main import main
{line}
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(2**24)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (int(done.stdout.splitlines()[-1]) < 20) == kept


def test_the_module_runs_the_same_command():
    result = subprocess.run([sys.executable, "-m", "uda_core", "train"], capture_output=True, text=True)
    message = "error: the following arguments are required: METHOD, TASK; see uda train --help\n"
    assert (result.returncode, result.stderr) == (2, message)
