"""A run repeats, minds its own random state, never sees the truth, and says what it did."""

import dataclasses
import io
import math

import pytest
import torch

from uda_core import methods
from uda_core.errors import UserError
from uda_core.evaluation import evaluate
from uda_core.methods import CLASSIFICATION, CGDMConfig, Config
from uda_core.methods.cgdm import CGDMRun, CGDMSettings
from uda_core.task import Task, Truth
from uda_core.training import fit

SMALL = {"batch_size": 16, "features": 8, "hidden": (6,)}
OFTEN = {"cgdm": {"refresh": 2}}  # pseudo-labels within a few steps


def make(method, pair, **config):
    method = CLASSIFICATION[method]
    return method(pair, method.run.CONFIG(**(SMALL | config)), **OFTEN.get(method.name, {}))


def train(method, pair, steps=5, **config):
    run = make(method, pair, **config)
    return run, list(fit(run, steps))


def state_bytes(run):
    buffer = io.BytesIO()
    torch.save(run.state_dict(), buffer)
    return buffer.getvalue()


def poisoned(task, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda y: torch.randint(len(task.pair.classes), y.shape, generator=generator)  # noqa: E731
    return Task(task.pair, Truth(draw(task.truth.target_train), draw(task.truth.target_test)))


# -- nothing that trains sees the truth --------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "config"), [*((name, {}) for name in CLASSIFICATION), ("cgdm", {"fast": True})])
def test_a_poisoned_truth_changes_no_byte(digits_task, method, config):
    """Through fit and pseudo-labels, with the truth scored in between, as a board does when its labels are revealed."""
    states, scores = [], []
    for task in (digits_task, poisoned(digits_task, 0)):
        run = make(method, task.pair, **config)
        for _ in fit(run, 5):
            scores.append(evaluate(run, task).score)
        states.append(state_bytes(run))
    assert states[0] == states[1]
    assert scores[:5] != scores[5:]


# -- repeatable, and alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CLASSIFICATION)
def test_the_same_seed_gives_the_same_numbers(moons_task, method):
    (a, records_a), (b, records_b) = train(method, moons_task.pair), train(method, moons_task.pair)
    assert records_a == records_b
    assert state_bytes(a) == state_bytes(b)
    assert train(method, moons_task.pair, seed=1)[1] != records_a


@pytest.mark.parametrize("method", CLASSIFICATION)
def test_two_runs_interleaved_train_as_if_alone(moons_task, method):
    alone = [state_bytes(train(method, moons_task.pair, seed=seed)[0]) for seed in (0, 1)]
    first, second = (make(method, moons_task.pair, seed=seed) for seed in (0, 1))
    for _ in zip(fit(first, 5), fit(second, 5), strict=True):
        pass
    assert [state_bytes(first), state_bytes(second)] == alone


@pytest.mark.parametrize("method", CLASSIFICATION)
def test_evaluating_changes_nothing(digits_task, method):
    """`features` and `predict` between the steps: weights, batch-norm statistics, random states, modes."""
    pair = digits_task.pair
    unwatched, _ = train(method, pair)
    watched = make(method, pair)
    for _ in fit(watched, 5):
        before, global_state = state_bytes(watched), torch.get_rng_state()
        f, z = watched.features(pair.target_test.x), watched.predict(pair.target_test.x)
        assert f.shape == (len(pair.target_test), 8)
        assert [logits.shape for logits in z] == [(len(pair.target_test), 10)] * 2
        assert not any(t.requires_grad for t in (f, *z))
        assert state_bytes(watched) == before
        assert torch.equal(torch.get_rng_state(), global_state)
        assert watched.extractor.training
        assert watched.heads.training
    assert state_bytes(watched) == state_bytes(unwatched)


def test_training_leaves_the_global_random_state_alone(moons_task):
    before = torch.get_rng_state()
    train("cgdm", moons_task.pair)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_random_state_leaves_training_alone(moons_task):
    expected, _ = train("swd", moons_task.pair)
    run = make("swd", moons_task.pair)
    for _ in fit(run, 5):
        torch.rand(3)
    assert state_bytes(run) == state_bytes(expected)


def test_reset_starts_over_and_keeps_the_settings(moons_task):
    run, records = train("cgdm", moons_task.pair)
    run.settings.beta = 0.5
    run.reset()
    assert run.steps == 0
    assert run.pseudo_labels is None
    assert run.settings.beta == 0.5
    run.settings.beta = CGDMSettings().beta
    assert list(fit(run, 5)) == records


# -- batches -----------------------------------------------------------------------------------------------------------


def test_an_epoch_takes_each_sample_once_in_a_new_order_each_time(moons_task):
    run = make("mcd", moons_task.pair, batch_size=15)  # 60 samples: four batches
    epochs = [[int(i) for _ in range(4) for i in run._next_batch().i_t] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(60))
    assert epochs[0] != epochs[1]


def test_an_incomplete_last_batch_is_dropped(moons_task):
    run = make("mcd", moons_task.pair, batch_size=25)  # 60 samples: two batches, ten samples left
    batches = [run._next_batch() for _ in range(3)]
    assert all(len(batch.i_t) == len(batch.y_s) == 25 for batch in batches)
    assert len({int(i) for batch in batches[:2] for i in batch.i_t}) == 50


# -- records and settings ----------------------------------------------------------------------------------------------


def test_fit_yields_the_record_of_each_step(moons_task):
    run = make("cgdm", moons_task.pair)
    records = list(fit(run, 3))
    assert [record.step for record in records] == [1, 2, 3]
    assert all(math.isfinite(value) for record in records for value in record.losses.values())
    assert records[2].counts.keys() == {"empty_clusters"}
    assert next(fit(run, 1)).step == 4


def test_a_setting_moved_while_training_counts_from_the_next_step_on(moons_task):
    run = make("cgdm", moons_task.pair)
    records = []
    for record in fit(run, 4):
        records.append(record)
        run.settings.beta = 0.25 * len(records)
    assert [record.settings.beta for record in records] == [0.01, 0.25, 0.5, 0.75]


def test_learning_rate_zero_moves_no_weight(moons_task):
    run = make("mcd", moons_task.pair)
    run.settings.learning_rate = 0
    before = [p.clone() for p in run.extractor.parameters()]
    list(fit(run, 2))
    assert all(torch.equal(a, b) for a, b in zip(before, run.extractor.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("beta", 1.5, "beta must lie between 0.0 and 1.0, got 1.5"),
        ("beta", -0.1, "beta must lie between"),
        ("beta", math.nan, "beta must be a number"),
        ("beta", math.inf, "beta must lie between"),
        ("beta", "0.1", "beta must be a number"),
        ("beta", True, "beta must be a number"),
        ("k", 2.5, "k must be a whole number, got 2.5"),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(moons_task, name, value, says):
    run = make("cgdm", moons_task.pair)
    before = dataclasses.asdict(run.settings)
    with pytest.raises(UserError, match=says):
        setattr(run.settings, name, value)
    assert dataclasses.asdict(run.settings) == before
    with pytest.raises(UserError, match=says):
        methods.CGDM(moons_task.pair, Config(**SMALL), **{name: value})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"variant": "papr"}, "unknown variant 'papr'.*Did you mean 'paper'"),
        ({"precision": "fp16"}, "unknown precision"),
        ({"batch_size": 1}, "batch_size must lie between 2 and"),
        ({"features": -1}, "features must lie between 0 and"),
        ({"hidden": (6, 0)}, "hidden must be whole numbers from 1"),
        ({"dropout": 1.0}, "dropout must lie between 0.0 and 0.99"),
    ],
)
def test_a_bad_config_is_refused(config, says):
    with pytest.raises(UserError, match=says):
        CGDMConfig(**config)


def test_an_unknown_setting_is_refused_with_a_guess(moons_task):
    with pytest.raises(UserError, match=r"unknown setting 'betta'.*Did you mean 'beta'"):
        make("cgdm", moons_task.pair).settings.betta = 0.1


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_mend(moons_task):
    run = make("mcd", moons_task.pair)
    next(fit(run, 1))
    run.extractor.layers[0].weight.data.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="step 2: source_ce is nan; lower learning_rate"):
        next(fit(run, 1))


# -- precision and devices ---------------------------------------------------------------------------------------------


def gradient_discrepancies(monkeypatch):
    """A list that fills with what each step C gets: the target logits, and L_gd."""
    seen, form = [], CGDMRun.classify_with_gradient_discrepancy
    spy = lambda *args, **more: (seen.append(form(*args, **more)), seen[-1])[1]  # noqa: E731
    monkeypatch.setattr(CGDMRun, "classify_with_gradient_discrepancy", spy)
    return seen


@pytest.mark.parametrize("fast", [False, True])
def test_bfloat16_is_finite_with_the_gradient_discrepancy_in_float32(monkeypatch, digits_task, fast):
    seen = gradient_discrepancies(monkeypatch)
    run, records = train("cgdm", digits_task.pair, precision="bf16", fast=fast)
    assert all(math.isfinite(value) for record in records for value in record.losses.values())
    assert "gradient_discrepancy" in records[-1].losses
    assert {t.dtype for z_t, l_gd in seen for t in (*z_t, l_gd) if isinstance(t, torch.Tensor)} == {torch.float32}
    assert {p.dtype for p in run.extractor.parameters()} == {torch.float32}
    single, _ = train("cgdm", digits_task.pair, fast=fast)
    assert not torch.equal(
        run.features(digits_task.pair.target_test.x), single.features(digits_task.pair.target_test.x)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", CLASSIFICATION)
def test_a_gpu_trains_repeats_and_evaluates_without_changing_anything(digits_task, method, precision):
    runs = []
    for _ in range(2):
        run = make(method, digits_task.pair, device="cuda", precision=precision)
        for record in fit(run, 5):
            before = torch.cuda.get_rng_state()
            assert run.features(digits_task.pair.target_test.x).is_cuda
            assert torch.equal(torch.cuda.get_rng_state(), before)
            assert all(math.isfinite(value) for value in record.losses.values())
        runs.append(record)
    assert runs[0].losses == pytest.approx(runs[1].losses, rel=1e-3)


@pytest.mark.parametrize("name", ["source_only", "mcd", "swd", "cgdm"])
def test_an_unknown_setting_is_one_line(name, moons_task):
    with pytest.raises(UserError, match=r"unknown setting 'learning_rat'; known: .* Did you mean 'learning_rate'"):
        CLASSIFICATION[name](moons_task.pair, learning_rat=0.1)
