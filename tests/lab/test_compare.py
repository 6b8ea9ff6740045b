"""`uda compare`: from two feature files or folders to a table, a page and a choice; killed, it goes on where it was."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from set_files import picture, tree

from uda_core.lab import compare, compare_page, features
from uda_core.lab import main as cli
from uda_core.lab.validators import RULE, RULES

SHORT = """
from uda_core.lab import compare
real = compare._recipe
def short(name):
    small = {} if name == "logistic_regression" else {"batch_size": 8, "features": 4, "hidden": (4,)}
    return real(name).changed(small, steps=None if name == "logistic_regression" else STEPS)
"""


def patched(steps):
    """A stand-in for `compare._recipe`: few steps of a small network."""
    names = {"STEPS": steps}
    exec(SHORT, names)
    return names["short"]


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line, with short recipes: (exit status, stdout, stderr)."""
    monkeypatch.setattr(compare, "_recipe", patched(12))
    monkeypatch.setitem(sys.modules, "umap", None)  # which takes a while to compile; the maps are PCA

    def call(*words):
        return cli.main([str(word) for word in words]), *capsys.readouterr()

    return call


def write(path, labels=True, shift=0.0, scale=1.0, classes=("bike", "mug", "pen")):
    """60 samples of three classes, four features."""
    rng = np.random.default_rng(1)
    y = np.arange(60) % 3
    x = (rng.normal(size=(3, 4)) * 3)[y] + rng.normal(size=(60, 4)) + shift
    np.savez(
        path, features=(x * scale).astype(np.float32), classes=np.array(classes), **({"labels": y} if labels else {})
    )
    return path


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "photos.npz"), write(tmp_path / "drawings.npz", shift=1.0)


def rows_of(out):
    return pd.read_csv(out / "compare.csv")


def test_every_method_is_compared_and_the_page_stands_alone(files, tmp_path, run):
    out = tmp_path / "out"
    status, said, err = run("compare", *files, "--seeds", "0-1", "--out", out)
    assert status == 0
    rows = rows_of(out)
    methods = compare.METHODS.split(",")
    once = [("photos", "drawings", "logistic_regression", 0)]
    assert list(rows[list(compare.ROW[:4])].itertuples(index=False, name=None)) == once + [
        ("photos", "drawings", name, seed) for name in methods[1:] for seed in (0, 1)
    ]
    assert rows["target_accuracy"].between(0, 1).all()
    assert rows[["domain accuracy", "neighbour mixing", RULES[RULE]]].notna().all(axis=None)
    assert re.search(r"about 1 min on this machine \(features 0.0, 11 runs \d", err)
    page = (out / "compare.html").read_text()
    assert page.count("data:image/png;base64,") == len(methods)  # one before, in place of logistic regression's
    assert not re.search(r"(src|href)=[\"'](?!data:)|url\(", page)
    assert all(f"<td>{name}</td>" in page for name in methods)
    command = re.search(r"predictions of that run: uda (evaluate .*) --export DIR", said)[1]
    status, evaluated, _ = run(*command.split())
    chosen = rows[(rows["method"] == "cgdm")]
    chosen = chosen.loc[chosen[RULES[RULE]].idxmin()]
    assert f"Without target labels: take cgdm, seed {chosen['seed']}." in said
    assert f"accuracy {chosen['target_accuracy']:.1%}\n" in evaluated.split("target, target_test: ")[1]

    before = (out / "compare.csv").read_bytes(), page
    assert run("compare", *files, "--seeds", "0-1", "--out", out)[1] == said  # nothing left to do
    assert ((out / "compare.csv").read_bytes(), (out / "compare.html").read_text()) == before
    assert run("compare", *files, "--seeds", "0", "--methods", "mcd-infomax", "--out", out)[0] == 0  # may join
    assert len(rows_of(out)) == 12


def test_killed_it_goes_on_where_it_was(files, tmp_path, run, monkeypatch):
    words = ["compare", *files, "--methods", "logistic_regression,infomax,mcd", "--seeds", "0-1", "--out"]
    call = "compare._recipe = short\nimport sys\nfrom uda_core.lab.main import main\nmain(sys.argv[1:])"
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-c", f"STEPS = 200\n{SHORT}\n{call}", *map(str, words), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (out / "photos-drawings" / "infomax-seed1" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = (out / "compare.csv").read_text()
    assert 2 <= kept.count("\n") - 1 < 5
    monkeypatch.setattr(compare, "_recipe", patched(200))
    assert run(*words, out)[0] == 0
    assert (out / "compare.csv").read_text().startswith(kept)  # finished runs were not run again
    assert run(*words, whole)[0] == 0
    pd.testing.assert_frame_equal(rows_of(out).drop(columns="seconds"), rows_of(whole).drop(columns="seconds"))


def test_interrupted_it_names_the_way_on(files, tmp_path, run, monkeypatch):
    monkeypatch.setattr(compare, "train_run", lambda folder, *_: print(f"go on with: {folder.resume_command()}") or 130)
    status, said, _ = run("compare", *files, "--methods", "infomax", "--out", tmp_path / "out")
    assert (status, said) == (130, "go on with: the same command\n")


@pytest.mark.parametrize("change", ["target", "recipe of infomax"])
def test_runs_of_other_data_or_settings_are_refused(change, files, tmp_path, run, monkeypatch):
    words = ["compare", *files, "--methods", "infomax", "--seeds", "0", "--out", tmp_path / "out"]
    assert run(*words)[0] == 0
    if change == "target":
        write(files[1], shift=2.0)
    else:
        monkeypatch.setattr(compare, "_recipe", patched(13))
    before = (tmp_path / "out" / "compare.csv").read_bytes()
    status, said, err = run(*words)
    assert (status, said, err.count("\n")) == (2, "", 1)
    assert f"its runs were made of another {change}; give another --out" in err
    assert (tmp_path / "out" / "compare.csv").read_bytes() == before


def test_an_unlabelled_target_has_numbers_and_no_score(files, tmp_path, run):
    write(files[1], labels=False, shift=1.0)
    out = tmp_path / "out"
    status, said, _ = run("compare", *files, "--methods", "clusters,infomax", "--seeds", "0", "--out", out)
    assert status == 0
    rows = rows_of(out)
    assert rows["target_accuracy"].isna().all()
    assert rows[RULES[RULE]].notna().all()
    assert said.count("not known") == 2
    assert "take infomax, seed 0" in said
    assert "regret" not in said + (out / "compare.html").read_text()
    status, _, err = run("compare", *files, "--pairs", "--out", tmp_path / "other")
    assert (status, err.count("\n")) == (2, 1)
    assert "which has no labels; leave --pairs out" in err


def test_the_report_is_one_page_of_the_same_numbers(files, tmp_path, run):
    """Seeds, rule, ceiling and who saw labels; nothing in a name is markup, and no empty table of a lone method."""
    write(files[0], classes=("b*ke", "mug|s", "<pen>"))
    write(files[1], shift=1.0, classes=("b*ke", "mug|s", "<pen>"))
    out = tmp_path / "out"
    words = ["compare", *files, "--methods", "logistic_regression,infomax", "--seeds", "0-1", "--out", out]
    assert "report.md" in run(*words)[1]
    report = (out / "report.md").read_text()
    chosen = rows_of(out).pipe(lambda rows: rows[rows["method"] == "infomax"])
    right = f"{100 * chosen['target_accuracy'].mean():.1f} ± {100 * chosen['target_accuracy'].std():.1f}"
    assert f"| infomax | 0, 1 | {right} |" in report
    assert "| logistic\\_regression | 0 | " in report
    assert r"Classes: b\*ke, mug\|s, \<pen>." in report
    assert "**Rule of choice.** Without target labels: take infomax, seed" in report
    assert re.search(r"\*\*Ceiling.\*\* Logistic regression .*: \d+\.\d%\.", report)
    assert "By these runs: for the scores above and the ceiling, after the last step." in report
    assert "54 samples train, 6 validate. Target: 60," in report
    (out / "report.md").unlink()
    run(*words)
    assert (out / "report.md").read_text() == report  # what is missing is written again
    write(files[1], labels=False, shift=1.0, classes=("b*ke", "mug|s", "<pen>"))
    assert run(*words[:-1], tmp_path / "other")[0] == 0
    report = (tmp_path / "other" / "report.md").read_text()
    assert "**Ceiling.** Not known" in report
    assert "By these runs: none was there." in report


def test_the_ceiling_is_tested_on_samples_that_did_not_train():
    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    assert float(re.search(r"([\d.]+)%", compare_page.ceiling(x, torch.arange(90) % 3))[1]) < 55
    assert compare_page.ceiling(x + 9 * (torch.arange(90) % 3)[:, None], torch.arange(90) % 3).endswith(": 100.0%.")
    assert compare_page.ceiling(x, torch.zeros(90, dtype=torch.long)).startswith("Not known")


def test_pairs_go_both_ways(files, tmp_path, run):
    words = ["--methods", "logistic_regression,infomax", "--seeds", "0", "--out", tmp_path / "out"]
    assert run("compare", *files, *words, "--pairs")[0] == 0
    rows = rows_of(tmp_path / "out")
    assert (
        list(zip(rows["source"], rows["target"], strict=True))
        == [("photos", "drawings")] * 2 + [("drawings", "photos")] * 2
    )
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.index("<h1>photos -&gt; drawings") < page.index("<h1>drawings -&gt; photos")
    alone = run("compare", files[1], files[0], *words[:-1], tmp_path / "alone")
    assert alone[0] == 0
    numbers = [column for column in rows if column not in ("seconds",)]
    back = rows[rows["source"] == "drawings"][numbers].reset_index(drop=True)
    pd.testing.assert_frame_equal(back, rows_of(tmp_path / "alone")[numbers])


PLUGIN = """
from torch import nn
from uda_core.models.features import FEATURE_EXTRACTORS

def colours(shape, features, weights):
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten()), 24

FEATURE_EXTRACTORS["colours"] = colours
"""


@pytest.fixture
def own_network(tmp_path, monkeypatch):
    """Options for a tiny network of one's own."""
    path = tmp_path / "own_colours.py"
    path.write_text(PLUGIN)
    monkeypatch.setattr(features, "FEATURE_EXTRACTORS", features.FEATURE_EXTRACTORS)
    yield ["--network", "colours", "--weights", "none", "--plugin", path]
    features.FEATURE_EXTRACTORS.pop("colours", None)
    sys.modules.pop("own_colours", None)


def test_folders_become_features_once(own_network, tmp_path, run):
    photos, drawings = tree(tmp_path / "photos", images=12), tree(tmp_path / "drawings", images=12)
    words = ["compare", photos, drawings, "--methods", "infomax", "--seeds", "0", *own_network]
    status, _, err = run(*words, "--out", tmp_path / "out")
    assert status == 0
    assert "36/36" not in err
    assert "72/72" in err
    held = np.load(tmp_path / "out" / "target.npz")
    assert held["features"].shape == (36, 24)
    assert held["labels"].tolist() == sorted([0, 1, 2] * 12)
    (tmp_path / "out" / "compare.csv").unlink()
    (tmp_path / "out" / "target.npz").unlink()
    assert "36/36" in run(*words, "--out", tmp_path / "out")[2]  # what is there already stays
    settings = json.loads((tmp_path / "out/photos-drawings/infomax-seed0/settings.json").read_text())
    assert settings["plugin"] == str(own_network[-1])
    picture(photos / "cup" / "new.jpg", 7)
    status, _, err = run(*words, "--out", tmp_path / "out")
    assert (status, "its runs were made of another source" in err) == (2, True)


def test_a_folder_of_images_alone_is_a_target_without_labels(own_network, tmp_path, run):
    photos, drawings = tree(tmp_path / "photos", images=12), tmp_path / "drawings"
    for n in range(36):
        picture(drawings / f"{n}.jpg", n)
    words = ["--methods", "infomax", "--seeds", "0", *own_network, "--out", tmp_path / "out"]
    assert "not known" in run("compare", photos, drawings, *words)[1]
    assert "labels" not in np.load(tmp_path / "out" / "target.npz").files
    assert run("compare", drawings, photos, *words[:-1], tmp_path / "other")[2].endswith(
        "no class folders in it; images belong in one folder per class\n"
    )


def test_odd_names_methods_and_numbers_make_rows_all_the_same(tmp_path, run, monkeypatch):
    """A file called NA, a method without probabilities alone, a seed said twice, features that overflow."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "NA.npz")
    write(tmp_path / "b.npz", shift=1.0)
    write(tmp_path / "huge.npz", scale=1e19)
    status, said, _ = run("compare", "NA.npz", "b.npz", "--methods", "clusters", "--seeds", "0,0", "--out", "my out")
    assert status == 0
    assert "uda evaluate 'my out/NA-b/clusters-seed0' --export DIR" in said
    assert len(rows_of(tmp_path / "my out")) == 1
    words = ["--methods", "coral,logistic_regression", "--seeds", "0", "--out", "huge"]
    assert run("compare", "huge.npz", "b.npz", *words)[0] == 0


def test_a_comparison_that_fails_early_leaves_nothing(files, tmp_path, run):
    out = tmp_path / "out"
    assert run("compare", *files, "--methods", "cgdm,cag", "--out", out)[0] == 2
    tree(tmp_path / "folder")
    tree(tmp_path / "other")
    words = ["compare", tmp_path / "folder", tmp_path / "other", "--out", out, "--weights", "none", "--network"]
    assert run(*words, "timm:no_such_network")[0] == 2
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("photos.npz nowhere", "nowhere: no such folder or file"),
        ("photos.npz folder", "give two folders of images, or two .npz files"),
        ("photos.npz photos.npz", "are the same; give a target of its own"),
        ("photos.npz drawings.npz --methods cag", "unknown method for features 'cag'"),
        ("photos.npz drawings.npz --seeds few", "--seeds takes a range such as 0-9"),
        ("photos.npz drawings.npz --out folder", "folder holds other things; give another --out"),
        ("huge.npz photos.npz --methods infomax --seeds 0", "no run kept finite losses"),
        ("photos.npz few.npz", "54 and 2 samples are too few to compare on"),
        (
            "folder other",
            "folder lacks monday; rename, add or take away folders until they agree; if it has no labels: uda",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_mistake_gets_one_clear_line(words, message, files, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "folder")
    tree(tmp_path / "other", classes=("monday",))
    write(tmp_path / "huge.npz", scale=2e37)
    np.savez(tmp_path / "few.npz", features=np.ones((2, 4), np.float32))
    status, said, err = run("compare", *words.split())
    assert (status, said) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_the_choice_is_by_table_and_rule_and_its_cost_is_named():
    rule = RULES[RULE]
    rows = pd.DataFrame(
        [("coral", 0, 0.95, 0.1), ("infomax", 0, 0.8, 0.4), ("infomax", 1, 0.9, 0.3), ("mine", 0, 0.5, 0.05)],
        columns=["method", "seed", "target_accuracy", rule],
    )
    chosen, *texts = compare_page.choice(rows)
    assert chosen == ("infomax", 1)  # 86.3 in the table on Office-31, CORAL 76.6; nothing is known of "mine"
    said = "\n".join(texts)
    assert "frozen features: 86.3 % (coral 76.6)" in said
    assert "93.2 % in the mean, a blind pick 89.8, the best of the three 95.2; its worst pick has 78.1" in said
    assert "source only has 75.7 %, CGDM 61.6" in said
    assert "it has 90.0 %, the best run, coral with seed 0, 95.0: regret 5.0 points" in said
    alone = compare_page.choice(rows[rows["method"] == "mine"].assign(target_accuracy=np.nan))
    assert alone[0] == ("mine", 0)
    assert "regret" not in "\n".join(alone[1:])


def test_without_umap_maps_are_pca(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    kind, layout = compare_page._layout(np.random.default_rng(0).normal(size=(20, 5)))
    assert (kind, layout.shape) == ("PCA", (20, 2))


def test_a_ceiling_takes_two_classes_with_three_samples_each():
    x = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [9.0]])
    assert compare_page.ceiling(x, torch.tensor([0, 0, 0, 1, 1, 1, 2])).endswith("100.0%.")
    assert compare_page.ceiling(x, torch.tensor([0, 0, 0, 0, 0, 0, 1])).startswith("Not known")
    assert compare_page.ceiling(x, None).startswith("Not known")
