"""Diagnosis: shares of classes estimated without labels, and symptoms that name the shift on cases made by us."""

import math

import numpy as np
import pytest
import torch
from transcriptions import black_box_shift

from uda_core import training
from uda_core.data.digits import fonts_handwriting
from uda_core.errors import UserError
from uda_core.lab import recipe
from uda_core.lab.diagnosis import bbse, symptoms, verdict


def counts(*rows):
    return torch.tensor(rows)


def test_a_perfect_classifier_gives_the_ratio_of_the_shares():
    w = bbse(counts([50, 0], [0, 50]), torch.tensor([30, 90]))
    assert w.tolist() == pytest.approx([0.5, 1.5])


def test_an_imperfect_one_is_solved_for():
    """8 of 10 As and 6 of 10 Bs right; a target of 25 % A is then read as A for 0.25 * 0.8 + 0.75 * 0.4 = half."""
    w = bbse(counts([80, 20], [40, 60]), torch.tensor([100, 100]))
    assert w.tolist() == pytest.approx([0.5, 1.5])


def test_the_shares_of_the_source_need_not_be_equal():
    """90 As and 10 Bs, all right; the target has half of each."""
    assert bbse(counts([90, 0], [0, 10]), torch.tensor([7, 7])).tolist() == pytest.approx([5 / 9, 5.0])


def test_negative_weights_become_0():
    """Fewer are read as A than if there were no A at all."""
    w = bbse(counts([80, 20], [40, 60]), torch.tensor([30, 70]))
    assert w[0] == 0
    assert w[1] > 2


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_published_formula(seed):
    rng = np.random.default_rng(seed)
    confusion, read_as = rng.integers(1, 20, (4, 4)) + 60 * np.eye(4, dtype=int), rng.integers(5, 90, 4)
    expected = black_box_shift(confusion.tolist(), read_as.tolist())
    np.testing.assert_allclose(bbse(torch.tensor(confusion), torch.tensor(read_as)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("confusion", "read_as", "message"),
    [
        (counts([5, 5], [5, 5]), [1, 1], "cannot be solved"),  # the same column twice
        (counts([9, 0], [9, 0]), [1, 1], "cannot be solved"),  # B is never predicted
        (counts([9, 1], [0, 0]), [1, 1], "cannot be solved"),  # no held-out B
        (counts([9, 1, 0], [1, 9, 0]), [1, 1], r"got \[2, 3\] and \[2\]"),
        (counts([9, 1], [1, 9]), [1, 1, 1], r"got \[2, 2\] and \[3\]"),
        (counts([9, -1], [1, 9]), [1, 1], "confusion: counts must be"),
        (counts([9, 1], [1, 9]), [0, 0], "read_as: counts must be"),
        (counts([9, 1], [1, 9]), [math.nan, 1], "read_as: counts must be"),
    ],
)
def test_what_cannot_be_solved_gets_one_line(confusion, read_as, message):
    with pytest.raises(UserError, match=message):
        bbse(confusion, torch.tensor(read_as))


@pytest.fixture(scope="module")
def trained():
    """A run of printed digits, and 500 others of them."""
    task = fonts_handwriting(samples=3000)
    run = recipe.load("source_only", "fonts-handwriting").start(task.pair)
    list(training.fit(run, 120))
    return run, task.pair.source_val.x, task.pair.source_val.y


def test_the_symptoms_name_the_shift_where_it_is_known(trained):
    run, x, y = trained
    first, x, y = x[:250], x[250:], y[250:]
    control = symptoms(run, first, x)
    made = {
        "nothing to see": x,
        "statistics": 0.35 * x + 0.3,
        "class counts": x[y > 3],
        "the images": x.rot90(1, [2, 3]),
    }
    assert {name: verdict(symptoms(run, first, other), control) for name, other in made.items()} == {
        name: name for name in made
    }
    assert symptoms(run, first, x[y > 3])["rarest"] < 0.03
    assert symptoms(run, first, x[y > 3])["counts"] < 1e-6 < control["counts"]


def test_too_few_to_match_or_to_look_at(trained):
    run, x, y = trained
    assert math.isnan(symptoms(run, x[y == 0][:12], x[y == 1][:12])["matched"])
    with pytest.raises(UserError, match="takes 12 samples of each domain or more, got 500 and 11"):
        symptoms(run, x, x[:11])


def test_a_verdict_needs_the_smaller_entropy_to_stay_small():
    control = {"told apart": 0.4, "entropy": 0.1}
    found = {"told apart": 0.9, "matched": 0.9, "counts": 0.0, "entropy": 0.6, "AdaBN": 0.2}
    assert verdict(found, control) == "statistics"
    assert verdict(found | {"AdaBN": 0.21}, control) == "the images"
    assert verdict(found | {"entropy": 0.05, "AdaBN": 0.0}, control) == "the images"
    assert verdict(found | {"matched": 0.57}, control) == "class counts"
    assert verdict(found | {"matched": math.nan}, control) == "statistics"
    assert verdict(found | {"told apart": 0.57}, control) == "statistics"  # told by the counts alone
    assert verdict(found | {"told apart": 0.57, "counts": 0.02}, control) == "nothing to see"
