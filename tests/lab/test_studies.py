"""Studies: what each row trains with, what is measured of it, and what a results file keeps."""

import errno
from dataclasses import replace
from datetime import date
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from scenes import tiny_task
from set_files import digits, write_mnist, write_usps

from uda_core.data.blobs import blobs
from uda_core.errors import UserError
from uda_core.evaluation import evaluate, label_qualities
from uda_core.lab import results, studies, validators
from uda_core.lab.studies import STUDIES, Arm, Study, traces
from uda_core.methods import adabn

RNG = np.random.default_rng(0)
PHASES = {"source_steps": 2, "stage_steps": 2, "stages": 2}


def values(frame, **where):
    """Phase, class and value of the lines that these columns choose."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return [(phase, of, value) for phase, of, value in frame[["phase", "class", "value"]].itertuples(index=False)]


def short(name, monkeypatch, steps=2, **more):
    """The study with as few steps, in place of the real one."""
    rows = {row: replace(arm, steps=steps, **more) for row, arm in STUDIES[name].rows.items()}
    monkeypatch.setitem(STUDIES, name, replace(STUDIES[name], rows=rows))
    return rows


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_row_trains_with_its_changes():
    arm = STUDIES["streets"].rows["CAG, shared batch norm, adversarial warm-up"]
    run = arm.start(tiny_task().pair, seed=3, batch_size=2)
    config = run.config
    assert (config.seed, config.batch_norm, config.warm_up, config.jitter) == (3, "shared", "adversarial", "target")
    arm = STUDIES["streets"].rows["CAG, one stage of 360 steps"]
    run = arm.start(tiny_task().pair, batch_size=2)
    assert arm.changed().length(run) == run.planned_steps == 400 + 360


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_is_a_recipe_with_changes_that_it_takes(name):
    for row, arm in STUDIES[name].rows.items():
        described, made = arm.describe(), arm.changed()
        assert described["method"] == made.method, row
        for of, value in (made.config | made.settings | arm.settings).items():
            assert described[of] == (",".join(map(str, value)) if isinstance(value, tuple) else str(value))
        changed = {of: tuple(value) if isinstance(value, list) else value for of, value in arm.config.items()}
        assert made.config | changed == made.config


def test_default_settings_are_those_of_the_best_trial():
    """What the recipes of the handwriting have is a row of the table on which it was chosen."""
    chosen_on = {"MCD, discrepancy 10": "rehearsal", "SWD": "rehearsal", "CORAL": "rehearsal"}
    chosen_on |= {"CGDM (code)": "rehearsal-beta"}
    for name, study in chosen_on.items():
        trials = STUDIES[study].settings()
        described = STUDIES["fonts-handwriting"].rows[name].describe()
        assert (trials.eq({of: described.get(of, "") for of in trials.columns}).all(axis=1)).any(), name


def test_a_factorial_study_has_every_combination_of_its_terms():
    off = {"infomax": 0.0, "alpha": 0.0, "beta": 0.0, "k": 0}
    on = {"InfoMax": {"infomax": 0.3}, "GD": {"beta": 0.1, "k": 4}, "labels": {"alpha": 1.0}}
    made = studies.cells("cgdm-blobs", off, on)
    names = "none, labels, GD, GD + labels, InfoMax, InfoMax + labels, InfoMax + GD, InfoMax + GD + labels"
    assert ", ".join(made) == names
    assert made["none"].settings == off
    assert made["InfoMax + GD"].settings == {"infomax": 0.3, "alpha": 0.0, "beta": 0.1, "k": 4}
    assert all(arm.recipe == "cgdm-blobs" and not arm.config for arm in made.values())


@pytest.mark.parametrize("name", ["factorial-fonts", "factorial-blobs", "factorial-office31"])
def test_each_term_of_a_factorial_study_is_on_in_half_of_its_cells(name):
    cells = [arm.settings for arm in STUDIES[name].rows.values()][:16]
    for term in ("discrepancy", "infomax", "alpha", "beta"):
        assert sorted(map(bool, (settings[term] for settings in cells))) == [False] * 8 + [True] * 8
    assert all((settings["k"] > 0) == bool(settings["discrepancy"] or settings["beta"]) for settings in cells)
    assert len({tuple(sorted(settings.items())) for settings in cells}) == 16


# -- traces ------------------------------------------------------------------------------------------------------------


def test_a_trace_holds_what_a_run_predicts_every_fifty_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "EVERY", 2)
    task, arm, out = blobs(classes=(30, 30, 30)), Arm("mcd-blobs", {"batch_size": 16}, steps=5), tmp_path / "a.csv"
    study = Study("blobs", "", {"MCD": arm})
    for seed in (0, 1, 0):  # the last one takes the place of the first
        study.measure("MCD", {"": task}, seed, out)
    table = pd.read_csv(tmp_path / "a.traces.csv", keep_default_na=False)
    assert table[["row", "seed", "step"]].values.tolist() == [["MCD", s, n] for s in (1, 0) for n in (2, 4, 5)]
    with np.load(tmp_path / "a.traces" / "MCD-seed1.npz") as held:
        arrays = dict(held)
    assert arrays["steps"].tolist() == [2, 4, 5]
    assert (arrays["target"].shape, arrays["source"].shape) == ((3, 2, 90, 3), (3, 2, 600, 3))
    run = arm.start(task.pair, seed=1)
    for _ in range(5):
        run.step()
    z = run.predict(task.pair.target_test.x)
    np.testing.assert_array_equal(arrays["target"][-1], torch.stack(z).half().numpy())
    np.testing.assert_array_equal(arrays["source_features"], run.features(task.pair.source_val.x).half().numpy())
    last = table[(table["seed"] == 1) & (table["step"] == 5)].iloc[0]
    assert last["score"] == pytest.approx(evaluate(run, task).score, abs=1e-4)
    assert last["target InfoMax"] == pytest.approx(validators.mean_infomax(*z), abs=1e-4)


def test_a_trace_of_clusters_has_no_entropy_of_their_cosines(tmp_path):
    task, config = blobs(classes=(30, 30, 30)), {"batch_size": 16}
    study = Study("blobs", "", {"a": Arm("mcd-blobs", config, steps=1), "c": Arm("clusters-blobs", config, steps=1)})
    for row in study.rows:
        study.measure(row, {"": task}, 0, tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.traces.csv").set_index("row").drop(columns="task")
    assert table.loc["a"].notna().all()
    assert set(table.columns[table.loc["c"].isna()]) == {"target entropy", "target InfoMax"}


def test_what_is_scored_otherwise_than_it_was_trained_leaves_no_trace(tmp_path):
    task, config = blobs(classes=(30, 30, 30)), {"batch_size": 16}
    rows = {"a": Arm("source_only-blobs", config, steps=2, adabn=True)}
    rows["s"] = Arm("source_only-blobs", config, steps=2, supervised=True)
    for row in rows:
        Study("blobs", "", rows).measure(row, {"": task}, 0, tmp_path / "a.csv")
    assert not any(tmp_path.iterdir())


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_cag_is_scored_at_each_milestone_and_with_adabn_beside():
    task, arm = tiny_task(), Arm("cag-streets", {"batch_size": 2}, PHASES, adabn=True)
    frame = Study("streets", "", {"a": arm}).measure("a", {"": task}, 1)
    phases = [phase for phase, of, _ in values(frame, measure="score") if not of]
    assert phases == ["source", "adabn", "stage1", "stage2"]
    run, expected = arm.start(task.pair, seed=1), []
    for _ in range(6):
        run.step()
        if run.milestone:
            expected.append((run.milestone, "", round(evaluate(run, task).score, 4)))
        if run.milestone == "source":
            expected.append(("adabn", "", round(evaluate(adabn(run), task).score, 4)))
    assert [line for line in values(frame, measure="score") if line[1] == ""] == expected
    quality = label_qualities(run, task)["confidence"]
    found = {of: value for phase, of, value in values(frame, measure="confidence coverage") if phase == "stage2"}
    shares = {"": quality["overall_coverage"]} | quality["coverage"]
    assert found == {of: share for of, share in shares.items() if share is not None}
    assert {phase for phase, *_ in values(frame, measure="anchor coverage")} == {"stage1", "stage2"}


def test_a_segmentation_row_is_scored_with_adabn_or_on_the_ceiling():
    task = tiny_task()
    rows = {
        "plain": Arm("source_only-streets", {"batch_size": 2}, steps=2),
        "adabn": Arm("source_only-streets", {"batch_size": 2}, steps=2, adabn=True),
        "ceiling": Arm("source_only-streets", {"batch_size": 2}, steps=2, supervised=True),
    }
    frames = {row: Study("streets", "", rows).measure(row, {"": task}, 0) for row in rows}
    run = rows["plain"].start(task.pair, seed=0)
    for _ in range(2):
        run.step()
    expected = {"plain": evaluate(run, task), "adabn": evaluate(adabn(run), task)}
    for row, result in expected.items():
        classes = [("end", name, round(share, 4)) for name, share in result.per_class.items() if share is not None]
        assert values(frames[row], measure="score") == [("end", "", round(result.score, 4)), *classes]
    [(_, _, on_source)] = values(frames["ceiling"], measure="source_score")
    assert on_source == values(frames["ceiling"], measure="score")[0][2]  # its source is the labelled target
    assert list(frames["plain"]["measure"].unique()) == ["score", "source_score", "cpu_seconds"]


def test_details_are_mistakes_and_what_needs_no_label():
    rows = {"mcd": Arm("mcd-fonts-handwriting", steps=2)}
    study = Study("fonts-handwriting", "", rows, details=True)
    [(name, task)] = study.tasks(None).items()
    frame = study.measure("mcd", {name: task}, 0)
    run = rows["mcd"].start(task.pair, seed=0)
    for _ in range(2):
        record = run.step()
    wrong = evaluate(run, task).confusion
    np.fill_diagonal(wrong, 0)
    found = values(frame, measure="mistake")
    true, read_as = np.unravel_index(wrong.argmax(), wrong.shape)
    assert found[0] == ("end", f"{true} read as {read_as}", wrong.max())
    assert len(found) == 3
    assert values(frame, measure="source_ce") == [("end", "", round(record.losses["source_ce"], 4))]
    [(_, _, rarest)] = values(frame, measure="rarest predicted class")
    [(_, _, commonest)] = values(frame, measure="commonest predicted class")
    assert 0 <= rarest <= 0.1 <= commonest <= 1
    assert "train_score" not in set(frame["measure"])  # the target's training and test images are the same


@pytest.mark.parametrize("name", ["mnist-usps", "usps-mnist"])
def test_digits_are_scored_on_three_splits_and_pooled_by_what_train_would_take(name, tmp_path, monkeypatch):
    for n, split in ((40, "train"), (33, "test")):
        write_mnist(tmp_path, split, *digits(n, 28, 28))
        write_usps(tmp_path, split, *digits(n, 16, 16))
    rows, out = short(name, monkeypatch), tmp_path / "out.csv"
    studies.measure(name, [0], out, tmp_path)
    held, settings = results.read(out), results.read_settings(tmp_path / "out.settings.csv")
    assert list(held["row"].unique()) == list(settings.index) == list(rows)
    assert set(settings["batch_size"]) == {"32"}
    assert set(settings["network"]) == {"mcd_digits"}
    for row in rows:
        for measure, samples in {"score": 33, "train_score": 40, "source_score": 33}.items():
            right = values(held, row=row, measure=measure)[0][2] * samples
            np.testing.assert_allclose(right, np.round(right), atol=3e-3)  # shares of the right splits
        shares = {measure: values(held, row=row, measure=measure)[0][2] for measure in ("score", "train_score")}
        pooled = (33 * shares["score"] + 40 * shares["train_score"]) / 73
        assert values(held, row=row, measure="pooled_score")[0][2] == pytest.approx(pooled, abs=1e-4)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A file of a study of two rows, the study, and the list of what is measured anew."""
    rows = {"a": Arm("source_only-moons", steps=1), "b": Arm("mcd-moons", steps=1)}
    monkeypatch.setitem(STUDIES, "small", Study("moons", "Note.", rows))
    ran, measure = [], Study.measure
    monkeypatch.setattr(Study, "measure", lambda self, row, *a: ran.append((row, a[1])) or measure(self, row, *a))
    studies.measure("small", [0, 1], tmp_path / "small.csv")
    assert ran == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    ran.clear()
    return tmp_path / "small.csv", rows, ran


def test_what_a_file_holds_is_kept(measured):
    out, _, ran = measured
    before = results.read(out)
    assert [*before.groupby(["row", "seed"], sort=False).groups] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    studies.measure("small", [0, 1, 2], out)
    assert ran == [("a", 2), ("b", 2)]
    after = results.read(out)
    assert after[after["seed"] < 2].reset_index(drop=True).equals(before)
    assert after.attrs["command"] == "uda bench accuracy --table small --seeds 0,1,2 --out small.csv"
    assert after.attrs["note"] == "Note."
    assert after.attrs["torch"] == torch.__version__.split("+")[0]
    assert after.attrs["date"] == before.attrs["date"] == date.today().isoformat()


def test_a_file_names_every_version_and_day_that_it_was_measured_with(measured):
    out, _, _ = measured
    here = torch.__version__.split("+")[0]
    today, text = date.today().isoformat(), out.read_text(encoding="utf-8")
    out.write_text(text.replace(here, "1.0.0").replace(today, "2026-01-02"), encoding="utf-8")
    old = out.read_bytes()
    studies.measure("small", [1], out)
    assert out.read_bytes() == old  # nothing was left to measure
    studies.measure("small", [2], out)
    assert results.read(out).attrs["torch"] == f"1.0.0, {here}"
    assert results.read(out).attrs["date"] == f"2026-01-02, {today}"
    assert " --seeds 0,1,2 " in results.read(out).attrs["command"]


def test_a_row_with_other_settings_is_measured_again(measured, monkeypatch):
    out, rows, ran = measured
    rows = rows | {"b": replace(rows["b"], settings={"k": 1}), "c": replace(rows["a"], steps=2)}
    monkeypatch.setitem(STUDIES, "small", Study("moons", "Note.", rows))
    studies.measure("small", [0, 1], out)
    assert ran == [("b", 0), ("c", 0), ("b", 1), ("c", 1)]
    settings = results.read_settings(out.with_suffix(".settings.csv"))
    assert list(settings["k"]) == ["", "1", ""]
    del rows["a"]
    before = out.read_bytes()
    with pytest.raises(UserError, match="holds a, which table small does not have; give another --out"):
        studies.measure("small", [0], out)
    out.with_suffix(".settings.csv").unlink()
    with pytest.raises(UserError, match=r"small\.settings\.csv is not beside it"):
        studies.measure("small", [2], out)
    assert out.read_bytes() == before


def test_a_full_disk_leaves_the_file_as_it_was(measured, monkeypatch):
    out, _, _ = measured
    before = out.read_bytes()
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        studies.measure("small", [2], out)
    assert out.read_bytes() == before


def test_mistakes_are_named(measured, tmp_path):
    with pytest.raises(UserError, match=r"--out must end with \.csv, got accuracy\.json"):
        studies.measure("small", [0], Path("accuracy.json"))
    with pytest.raises(UserError, match="unknown table 'smal'"):
        studies.measure("smal", [0], tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("x,y\n")
    with pytest.raises(UserError, match=r"a\.csv: not a results file"):
        studies.measure("small", [0], tmp_path / "a.csv")


# -- Office-31 on frozen features --------------------------------------------------------------------------------------


def write_features(folder):
    """amazon.npz, dslr.npz and webcam.npz, of 27, 18 and 24 samples and three classes."""
    (folder / "office31_features").mkdir()
    for samples, domain in zip((27, 18, 24), ("amazon", "dslr", "webcam"), strict=True):
        x, y = RNG.normal(size=(samples, 6)), np.arange(samples) % 3
        classes = np.array(["bike", "mug", "pen"])
        np.savez(folder / "office31_features" / f"{domain}.npz", features=x, labels=y, classes=classes)


def test_office31_is_measured_on_every_task(tmp_path, monkeypatch):
    write_features(tmp_path)
    small = {"features": 4, "hidden": (5,), "batch_size": 8}
    rows = short("office31-features", monkeypatch, steps=3, config=small)
    for row in ("logistic regression", "logistic regression, clusters"):  # one step, and no network
        rows[row] = replace(rows[row], steps=1, config={"clusters": row.endswith("clusters")})
    studies.measure("office31-features", [0], tmp_path / "office31.csv", tmp_path)
    held = results.read(tmp_path / "office31.csv")
    for row, arm in rows.items():
        of_row = held[(held["row"] == row) & (held["measure"] == "score") & (held["class"] == "")]
        assert list(of_row["task"]) == ["", "A->D", "A->W", "D->A", "D->W", "W->A", "W->D"]
        assert of_row["value"].iloc[0] == pytest.approx(of_row["value"].iloc[1:].mean(), abs=1e-4)
        assert arm.describe().get("refresh") == ("target epoch" if arm.recipe == "cgdm-features" else None)


def test_office31_refreshes_pseudo_labels_once_an_epoch_of_the_target(tmp_path):
    write_features(tmp_path)
    pair = STUDIES["office31-features"].tasks(tmp_path)["W->D"].pair
    assert (len(pair.source_train), len(pair.target_train)) == (21, 18)  # three of webcam's 24 validate
    run = STUDIES["office31-features"].rows["CGDM (code)"].start(pair, batch_size=8)
    s = run.settings
    assert (s.refresh, s.alpha, s.beta, s.infomax, s.discrepancy, s.learning_rate) == (2, 0.1, 0.1, 0.1, 1.0, 0.01)
    for _ in range(3):
        run.step()
    assert run.pseudo_labels is not None


def test_office31_says_how_its_files_are_made(tmp_path):
    with pytest.raises(UserError, match=r"amazon\.npz: no such file; make it with: uda features .*/images "):
        STUDIES["office31-features"].tasks(tmp_path)


def test_imbalanced_keeps_a_tenth_of_five_digits():
    [task] = STUDIES["imbalanced"].tasks(None).values()
    counts = task.truth.target_train.bincount(minlength=10)
    assert counts[:5].min() > 170
    assert torch.all((counts[5:] >= 17) & (counts[5:] <= 19))
