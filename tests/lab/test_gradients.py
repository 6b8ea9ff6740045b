"""What L_gd listens to: gradients of CGDM's losses side by side, and rows whose L_gd gets other labels."""

import copy
import math

import pytest
import torch

from uda_core.data.moons import moons
from uda_core.errors import UserError
from uda_core.evaluation import labels
from uda_core.lab import results
from uda_core.lab.benchmarks import gradients
from uda_core.lab.studies import Arm
from uda_core.lab.studies.gradient_labels import exchanged, shuffled
from uda_core.losses import classifier_discrepancy, cosine
from uda_core.methods.classification import ce
from uda_core.samples import seed_of

ROW = Arm("cgdm-moons", {"batch_size": 16, "hidden": [8]}, {"warm_up": 0, "refresh": 1, "beta": 0.5})
OTHERS = ("shuffled", "exchanged")


@pytest.fixture
def run(moons_task):
    """A CGDM run with pseudo-labels."""
    run = ROW.start(moons_task.pair, seed=0)
    for _ in range(3):
        run.step()
    return run


def same(a: dict, b: dict) -> None:
    """Two runs' states are equal to the last bit."""
    parts = ("extractor", "heads", "features_opt", "heads_opt", "pseudo_labels", "random_state", "batches")
    torch.testing.assert_close({part: a[part] for part in parts}, {part: b[part] for part in parts}, rtol=0, atol=0)
    assert a["counts"] == b["counts"]


# -- other labels inside L_gd ------------------------------------------------------------------------------------------


def test_labels_are_shuffled_or_two_classes_exchanged():
    y_hat = torch.tensor([0, 1, 2, 1, 0, 0, -100, 3])
    assert exchanged(y_hat).tolist() == [1, 0, 2, 0, 1, 1, -100, 3]
    assert shuffled(y_hat, 1).sort().values.equal(y_hat.sort().values)
    assert not shuffled(y_hat, 1).equal(y_hat)
    assert shuffled(y_hat, 1).equal(shuffled(y_hat, 1))
    assert not shuffled(y_hat, 1).equal(shuffled(y_hat, 2))


@pytest.mark.parametrize("how", OTHERS)
def test_a_row_changes_the_labels_inside_l_gd_alone(how, moons_task, monkeypatch):
    run = Arm(ROW.recipe, ROW.config, ROW.settings, gradient_labels=how).start(moons_task.pair, seed=0)
    run.step()
    seen, wce = [], run.wce
    monkeypatch.setattr(run, "wce", lambda z_t, y_hat: seen.append(y_hat) or wce(z_t, y_hat))
    i_t = next(copy.deepcopy(run._batches)).i_t
    run.step()
    y_hat = run.pseudo_labels[i_t]
    other = {"shuffled": shuffled(y_hat, seed_of(0, 1)), "exchanged": exchanged(y_hat)}[how]
    assert not other.equal(y_hat)
    assert len(seen) == 1 + run.settings.k  # step A, then the steps C
    assert seen[0].equal(y_hat)
    assert all(inside.equal(other) for inside in seen[1:])


@pytest.mark.parametrize("how", OTHERS)
def test_without_l_gd_its_labels_make_no_difference(how, moons_task):
    states = []
    for labels_inside in ("", how):
        arm = Arm(ROW.recipe, ROW.config, {**ROW.settings, "beta": 0.0}, gradient_labels=labels_inside)
        run = arm.start(moons_task.pair, seed=0)
        for _ in range(4):
            run.step()
        states.append(run.state_dict())
    same(*states)


def test_a_row_names_its_labels_and_refuses_unknown_ones():
    assert Arm("cgdm-moons", gradient_labels="shuffled").describe()["gradient_labels"] == "shuffled"
    assert "gradient_labels" not in Arm("cgdm-moons").describe()
    with pytest.raises(UserError, match=r"unknown gradient_labels 'shufled'; known: shuffled, exchanged.*'shuffled'"):
        Arm("cgdm-moons", gradient_labels="shufled")


# -- gradients side by side --------------------------------------------------------------------------------------------


def test_measuring_changes_nothing(run, moons_task):
    """Neither weights and batch-norm statistics nor moments, data order and random state; twice the same is found."""
    before, state = copy.deepcopy(run.state_dict()), torch.get_rng_state()
    y = labels(moons_task, "target_train")
    first, second = (gradients.measured(run, y, 16, pairs=2) for _ in range(2))
    same(run.state_dict(), before)
    assert torch.get_rng_state().equal(state)
    assert first == second


def test_cosines_and_norms_of_a_case_by_hand():
    def of(*x):
        return torch.tensor(x, dtype=torch.float64)

    first = {"L_wce": of(2, 0), "L_gd": of(3, 4), "L_dis": of(0, 1), gradients.TRUTH: of(-1, 0)}
    second = {"L_wce": of(0, 1), "L_gd": of(4, -3), "L_dis": of(2, 0), gradients.TRUTH: of(1, 1)}
    of_gd = gradients.compared(first, second)["L_gd"]
    assert of_gd["wce"] == pytest.approx((3 / 5 - 3 / 5) / 2)
    assert of_gd["truth"] == pytest.approx((-3 / 5 + 1 / (5 * math.sqrt(2))) / 2)
    assert of_gd["gd"] == pytest.approx(1)
    assert of_gd["again"] == pytest.approx(0)  # 3 * 4 - 4 * 3
    assert of_gd["norm"] == pytest.approx((5 / 1 + 5 / 2) / 2)
    of_dis = gradients.compared(first, second)["L_dis"]
    assert (of_dis["norm"], of_dis["wce"]) == (1, 0)


def test_gradients_are_those_of_the_losses_that_train(run, moons_task):
    """Of L_dis and of the true labels beside `backward()`; L_gd differs only by its labels; nothing is scaled."""
    twin, y = copy.deepcopy(run), labels(moons_task, "target_train")
    batch = next(copy.deepcopy(run._batches))
    y, y_hat = y[batch.i_t], run.pseudo_labels[batch.i_t]
    found = gradients.of_losses(twin, batch, y_hat, y, seed=5)
    expected = {}
    for name, loss in {
        "L_dis": lambda z_t: classifier_discrepancy(*z_t),
        gradients.TRUTH: lambda z_t: ce(z_t, y),
    }.items():
        other = copy.deepcopy(run)
        torch.manual_seed(5)
        other.extractor.zero_grad()
        loss(other.classify(other.embed(batch.x_s, batch.x_t))[1]).backward()
        expected[name] = torch.cat([p.grad.flatten() for p in other.extractor.parameters()])
        torch.testing.assert_close(found[name], expected[name])
    on_truth = gradients.of_losses(twin, batch, y, y, seed=5)
    torch.testing.assert_close(on_truth["L_gd"], found["L_gd, true labels"])
    on_exchanged = gradients.of_losses(twin, batch, exchanged(y_hat), y, seed=5)
    torch.testing.assert_close(on_exchanged["L_gd"], found["L_gd, exchanged"])
    square = {name: g @ g for name, g in found.items()}
    for name in ("L_gd, shuffled", "L_gd, exchanged"):
        assert cosine(found["L_gd"] @ found[name], square["L_gd"], square[name]) < 0.99


def test_a_line_for_each_checkpoint_size_and_loss():
    held = gradients.measure(moons(), seeds=[0], steps=[100, 101], sizes=[8, 16])
    losses = list(held["loss"].unique())
    assert len(losses) == 8
    assert len(held) == 2 * 2 * len(losses)
    assert list(held["wce"][held["loss"] == "L_wce"]) == pytest.approx([1] * 4, abs=1e-5)
    table = results.of_gradients(held).splitlines()
    assert len(table) == 2 + 2 * len(losses)
    assert table[2].startswith("| 8 | L_gd | ")
    again = list(held.query("batch_size == 16 and loss == 'L_im'")["again"])
    mean = f"{sum(again) / 2:.2f} ({min(again):.2f} to {max(again):.2f})"
    assert table[2 + len(losses) + losses.index("L_im")].split(" | ")[5] == mean
