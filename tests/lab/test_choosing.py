"""Choosing without target labels: validators by hand, beside slow transcriptions and skada; choices; the command."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
import transcriptions
from scipy.stats import spearmanr
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from uda_core.errors import UserError
from uda_core.lab import choosing, importance, main, validators
from uda_core.lab.results import choices
from uda_core.lab.studies import STUDIES, Trace
from uda_core.lab.studies.traces import file_of
from uda_core.methods import Config, SourceOnly


def waves(*shape, phase=0.0):
    return 3 * transcriptions.waves(*shape, phase=phase)


# -- validators --------------------------------------------------------------------------------------------------------


def test_the_nuclear_norm_runs_from_1_over_c_to_1():
    bnm = validators.batch_nuclear_norm
    assert bnm(100 * torch.eye(4).repeat(3, 1)) == pytest.approx(1)  # sure, and each class alike
    assert bnm(torch.zeros(12, 4)) == pytest.approx(1 / 4)  # clueless
    assert bnm(100 * torch.eye(4)[[2] * 12]) == pytest.approx(1 / 2)  # sure that all is of one class: 1 / sqrt(C)
    p = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5]], dtype=torch.float64)
    assert bnm(p.log()) == pytest.approx((2.0 * math.sqrt(0.16 + 0.09 + 0.01) + 1.7) ** 0.5 / math.sqrt(6))


def test_density_runs_from_no_neighbour_to_one_crowd():
    snd = validators.soft_neighbourhood_density
    assert snd(torch.zeros(9, 4).double()) == pytest.approx(math.log(8), abs=1e-3)  # all alike: 8 equal neighbours
    assert snd(100 * torch.eye(4).repeat(2, 1)) == pytest.approx(0, abs=1e-3)  # pairs: one neighbour each
    assert snd(100 * torch.eye(2).repeat(4, 1)) == pytest.approx(math.log(3), abs=1e-3)  # two groups of four


def test_weights_are_the_ratio_of_densities():
    p_t = torch.tensor([0.5, 0.75, 0.2])
    assert importance.importance_weights(p_t, 10, 20).tolist() == pytest.approx([0.5, 1.5, 0.125])


def test_a_classifier_of_domains_finds_the_known_ratio():
    """Two Gaussians at -1/2 and 1/2: log w = x; and twice as many target samples do not change it."""
    rng = np.random.default_rng(0)
    x_s, x_t = rng.normal(-0.5, 1, (4000, 1)), rng.normal(0.5, 1, (8000, 1))
    w = importance.importance_weights(importance.target_probability(x_s, x_t), 4000, 8000)
    assert np.abs(w.log().numpy() - x_s[:, 0]).mean() < 0.1
    assert w.mean() == pytest.approx(1, abs=0.1)


def test_a_classifier_that_is_certain_makes_no_infinite_weight(monkeypatch):
    monkeypatch.setattr(importance, "cross_val_predict", lambda *_, **__: np.ones((4, 2)))
    p_t = importance.target_probability(np.zeros((2, 1)), np.ones((2, 1)))
    assert importance.importance_weights(p_t, 2, 2).isfinite().all()


def test_risks_by_hand():
    loss, p_t = torch.tensor([0.0, 1.0, 1.0, 0.0]).double(), torch.tensor([0.5, 0.75, 0.5, 0.2]).double()
    # w = 1, 3, 1, 1/4 for as many samples of each domain; w l = 0, 3, 1, 0
    assert importance.importance_weighted_risk(loss, p_t, 7, 7) == pytest.approx(1)
    mean = 5.25 / 4
    cov = (9 + 1) / 4 - 1 * mean
    var = (1 + 9 + 1 + 1 / 16) / 4 - mean**2
    expected = 1 - cov / var * (mean - 1)
    assert importance.deep_embedded_validation(loss, p_t, 7, 7) == pytest.approx(expected)


def test_equal_weights_leave_the_source_risk():
    loss, p_t = torch.tensor([0.0, 1.0, 1.0]).double(), torch.full((3,), 0.5).double()
    assert importance.deep_embedded_validation(loss, p_t, 5, 5) == pytest.approx(2 / 3)
    assert importance.importance_weighted_risk(loss, p_t, 5, 5) == pytest.approx(2 / 3)


def test_dev_is_exact_where_the_loss_is_the_same_for_all():
    """w l = c w: the control variate takes the whole error along, whatever the weights."""
    p_t = waves(30).sigmoid()
    assert importance.deep_embedded_validation(torch.full((30,), 0.3).double(), p_t, 9, 5) == pytest.approx(0.3)


@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_validators_equal_slow_transcriptions(phase):
    z = waves(13, 5, phase=phase)
    assert validators.batch_nuclear_norm(z) == pytest.approx(transcriptions.batch_nuclear_norm(z))
    snd = transcriptions.soft_neighbourhood_density(z)
    assert validators.soft_neighbourhood_density(z) == pytest.approx(snd, abs=13e-5)
    loss, p_t = waves(11, phase=phase).abs(), waves(11, phase=phase + 2).sigmoid()
    for of, slow in (
        (importance.importance_weighted_risk, transcriptions.importance_weighted_risk),
        (importance.deep_embedded_validation, transcriptions.deep_embedded_validation),
    ):
        assert of(loss, p_t, 30, 70) == pytest.approx(slow(loss, p_t, 30, 70))


# -- beside skada, where it is installed -------------------------------------------------------------------------------


class Fixed:
    """What skada takes for an estimator: its samples are logits already, or the features of a linear head."""

    def __init__(self, head=None):
        self.head = head

    def predict_proba(self, x, sample_domain=None, **_):
        z = torch.from_numpy(np.asarray(x))
        return (z @ self.head if self.head is not None else z).softmax(1).numpy()

    def fit(self, *_):
        return self


@pytest.fixture
def skada_metrics():
    return pytest.importorskip("skada.metrics")


def domains(x_s, x_t):
    x = torch.cat([x_s, x_t]).numpy()
    return x, np.repeat([1, -2], [len(x_s), len(x_t)])


def test_density_and_entropy_equal_skadas(skada_metrics):
    z_t = waves(20, 4)
    x, domain = domains(waves(5, 4, phase=1), z_t)
    y = np.r_[np.arange(5) % 4, np.full(20, -1)]
    density = skada_metrics.SoftNeighborhoodDensity()._score(None, Fixed(), x, y, sample_domain=domain)
    assert validators.soft_neighbourhood_density(z_t) == pytest.approx(density, abs=20e-5)  # no 1e-5 in its logarithm
    entropy = -skada_metrics.PredictionEntropyScorer()._score(None, Fixed(), x, y, sample_domain=domain)
    assert validators.mean_entropy(z_t) == pytest.approx(entropy / 1 * 4, abs=1e-4)  # it divides by C as well


def test_dev_equals_skadas(skada_metrics, monkeypatch):
    """Given its own p_t: it fits them to two thirds of the source, ours are from folds of the validation split."""
    x, domain = domains(waves(60, 4), waves(40, 4, phase=2))
    y = np.r_[np.arange(60) % 4, np.full(40, -1)]
    scorer, seen = skada_metrics.DeepEmbeddedValidation(random_state=0), {}
    loss_of = scorer._loss_func

    def watched(y_val, y_pred):
        seen["loss"] = loss_of(y_val, y_pred).reshape(-1, 1)
        return seen["loss"]

    scorer._loss_func = watched
    estimator = make_pipeline(FunctionTransformer(), FunctionTransformer())
    monkeypatch.setattr(type(estimator), "predict_proba", lambda self, x, **_: Fixed().predict_proba(x), raising=False)
    risk = -scorer._score(None, estimator, x, y, sample_domain=domain)
    x_train, x_val = train_test_split(x[:60], test_size=0.33, random_state=np.random.RandomState(0))
    p_t = torch.from_numpy(scorer.domain_classifier_.predict_proba(x_val)[:, 0])
    ours = importance.deep_embedded_validation(torch.from_numpy(seen["loss"][:, 0]), p_t, len(x_train), 40)
    assert ours == pytest.approx(risk)


# -- how well a validator chose ----------------------------------------------------------------------------------------


def test_weighted_spearman_of_known_orders():
    x = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    assert choices.weighted_spearman(x, 3 * x) == pytest.approx(1)
    assert choices.weighted_spearman(-x, x) < -0.9
    assert math.isnan(choices.weighted_spearman(np.ones(5), x))


def test_weighted_spearman_punishes_a_bad_run_that_is_said_to_be_good():
    score = np.arange(10.0)
    top, bottom = score.copy(), score.copy()
    top[[0, 9]], bottom[[0, 1]] = top[[9, 0]], bottom[[1, 0]]
    assert choices.weighted_spearman(bottom, score) > spearmanr(bottom, score).statistic
    assert choices.weighted_spearman(top, score) < spearmanr(top, score).statistic


def test_weighted_spearman_equals_a_slow_transcription():
    value, score = np.array([0.3, 0.3, 0.1, 0.7, 0.5, 0.3]), np.array([0.5, 0.9, 0.2, 0.9, 0.4, 0.1])
    assert choices.weighted_spearman(value, score) == pytest.approx(transcriptions.weighted_spearman(value, score))


def test_regret_is_the_mean_over_ties():
    score = np.array([50.0, 90.0, 70.0])
    assert choices.regret(np.array([0, 1, 0]), score) == 0
    assert choices.regret(np.array([1, 0, 1]), score) == pytest.approx(30)
    assert choices.regret(np.zeros(3), score) == pytest.approx(20)


def test_enough_labels_choose_the_best_and_few_ones_often_do_not():
    rng = np.random.default_rng(0)
    right = rng.random((5, 400)) < np.array([0.5, 0.6, 0.7, 0.8, 0.85])[:, None]
    assert choosing.label_regrets(right, 400, 5).max() == 0
    few, more = (choosing.label_regrets(right, n, 300).mean() for n in (10, 100))
    assert 0 < more < few


def frame(**columns):
    made = pd.DataFrame(columns)
    return made.assign(table="t", task="", **{name: 0.0 for name in choices.VALIDATORS if name not in made})


def test_choices_are_made_in_each_group_by_the_sign_of_the_validator():
    held = frame(
        row=["a"] * 3 + ["b"] * 3, seed=[0, 1, 2] * 2, step=10, score=[0.5, 0.7, 0.6, 0.9, 0.2, 0.3],
    ).assign(**{"target entropy": [1.0, 0.1, 2.0, 0.1, 0.2, 0.3], "SND": [3, 2, 1, 1, 2, 3]})  # fmt: skip
    by = choices.choices(held, "seeds").set_index(["row", "chosen by"])["regret"]
    assert by["a", "target entropy"] == pytest.approx(0)
    assert by["a", "SND"] == pytest.approx(20)
    assert by["b", "SND"] == pytest.approx(60)
    assert by["a", "any"] == pytest.approx(10)
    assert choices.choices(held, "rows").empty  # groups of two
    with pytest.raises(UserError, match="unknown level 'seed'"):
        choices.choices(held, "seed")


def test_checkpoints_are_chosen_within_a_run_and_beside_the_last_step():
    held = frame(row="a", seed=0, step=[10, 20, 30], score=[0.5, 0.8, 0.7]).assign(BNM=[0.2, 0.3, 0.1])
    by = choices.choices(held, "checkpoints").set_index("chosen by")["regret"]
    assert by["BNM"] == pytest.approx(0)
    assert by["last step"] == pytest.approx(10)
    assert "DEV" not in by


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def traces(digits_task, tmp_path, monkeypatch):
    """Two seeds of one row of a study, recorded on a small task."""
    study = STUDIES["imbalanced"]
    monkeypatch.setattr(type(study), "tasks", lambda self, data: {"": digits_task})
    for seed in range(3):
        run = SourceOnly(digits_task.pair, Config(batch_size=16, features=8, hidden=(6,), seed=seed))
        trace = Trace(digits_task)
        for _ in range(51):
            run.step()
            trace.look(run, last=run.steps == 51)
        trace.write(tmp_path / "seen.csv", "source only", seed, "")
    return tmp_path / "seen.traces"


def test_the_command_computes_every_validator_and_keeps_other_tables(traces, tmp_path, digits_task):
    out = tmp_path / "found.csv"
    columns = ["table", "row", "seed", "task", "step", "score", *choices.VALIDATORS]
    out.write_text(f"{','.join(columns)}\nother,a\n")
    arguments = ["bench", "validators", "--table", "imbalanced", "--traces", str(traces), "--out", str(out)]
    assert main.main(arguments) == 0
    found = pd.read_csv(out)
    assert all(len(number) <= 5 for number in re.findall(r"(?<=0\.)\d+", out.read_text()))  # few digits
    assert list(found["table"]) == ["other"] + 6 * ["imbalanced"]
    last = found[found["step"] == 51].iloc[0]
    arrays = np.load(file_of(traces, "source only", 0, ""))
    z = torch.from_numpy(arrays["target"][-1]).float()
    assert last["SND"] == pytest.approx(np.mean([float(validators.soft_neighbourhood_density(h)) for h in z]), rel=1e-3)
    assert last["score"] == pytest.approx(
        (z.sum(0).argmax(1) == digits_task.truth.target_test).float().mean().item(), abs=1e-3
    )
    wrong = (torch.from_numpy(arrays["source"][-1]).sum(0).argmax(1) != digits_task.pair.source_val.y).double()
    assert last["source accuracy"] == pytest.approx(1 - wrong.mean().item(), abs=1e-3)
    f_s, f_t = arrays["source_features"], arrays["target_features"]
    p_t = importance.target_probability(f_s, f_t)
    dev = importance.deep_embedded_validation(wrong, p_t, len(f_s), len(f_t))
    assert last["DEV"] == pytest.approx(dev.item(), rel=1e-3)
    assert found[found["step"] == 50]["DEV"].isna().all()
    by_labels = pd.read_csv(tmp_path / "found.labels.csv")
    assert set(by_labels["level"]) == {"seeds", "all runs"}
    assert main.main([*arguments, "--last"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(out), found[found["step"] != 50].reset_index(drop=True))


def test_what_cannot_be_read_is_named(tmp_path, capsys):
    arguments = ["bench", "validators", "--traces", str(tmp_path / "no"), "--out", str(tmp_path / "v.csv")]
    assert main.main(arguments) != 0
    assert "no traces with no.csv beside them; `uda bench accuracy --out` makes both" in capsys.readouterr().err


def test_wilson_s_interval_of_45_right_out_of_50():
    centre, half = (0.9 + 1.96**2 / 100) / (1 + 1.96**2 / 50), 1.96 * math.sqrt(0.09 / 50 + (1.96 / 100) ** 2)
    half /= 1 + 1.96**2 / 50
    assert choices.interval(45, 50) == pytest.approx((centre - half, centre + half), abs=1e-4)


def test_traces_of_another_table_are_refused(traces, tmp_path, capsys):
    arguments = ["bench", "validators", "--traces", str(traces), "--out", str(tmp_path / "found.csv")]
    assert main.main([*arguments, "--table", "gradient-batch"]) == 2
    assert "which table gradient-batch does not have" in capsys.readouterr().err
    assert not (tmp_path / "found.csv").exists()
