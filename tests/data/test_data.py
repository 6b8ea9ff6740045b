"""The built-in tasks: the same by seed, of the documented shape, and split without overlap."""

import math
import time

import pytest
import torch

from uda_core.data import TASKS, load
from uda_core.data.digits import fonts_distorted, fonts_handwriting
from uda_core.data.moons import moons
from uda_core.errors import UserError
from uda_core.task import Task

SPLITS = ("source_train", "source_val", "target_train", "target_test")


@pytest.fixture(scope="module")
def digits():
    return fonts_handwriting(samples=300)


def tensors(task):
    """All that a task holds, in a fixed order."""
    pair, truth = task.pair, task.truth
    x = [getattr(pair, split).x for split in SPLITS]
    return [*x, pair.source_train.y, pair.source_val.y, truth.target_train, truth.target_test]


def equal(a, b):
    return all(map(torch.equal, tensors(a), tensors(b)))


@pytest.mark.parametrize("make", [fonts_handwriting, fonts_distorted, moons])
def test_same_seed_same_data(make):
    state = torch.get_rng_state()
    first, again, other = (make(samples=60, seed=seed) for seed in (3, 3, 4))
    assert equal(first, again)
    assert not torch.equal(first.pair.source_train.x, other.pair.source_train.x)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are its own


def test_digits_shape_range_and_shares(digits):
    pair = digits.pair
    assert pair.classes == tuple("0123456789")
    assert pair.source_train.x.shape == (300, 1, 16, 16)
    assert pair.source_val.x.shape == (50, 1, 16, 16)
    assert pair.target_train.x.shape == (1797, 1, 16, 16)
    for split in SPLITS:
        x = getattr(pair, split).x
        assert x.dtype == torch.float32
        assert x.min() >= 0
        assert x.max() <= 1
        assert x.amax((1, 2, 3)).min() > 0.3  # ink on every image
    assert pair.source_train.y.bincount().tolist() == [30] * 10


def test_digits_source_splits_share_no_image(digits):
    train, val = (digits.pair.source_train.x.flatten(1), digits.pair.source_val.x.flatten(1))
    assert torch.cdist(val, train).min() > 0.01


def test_handwriting_is_transductive(digits):
    assert torch.equal(digits.pair.target_train.x, digits.pair.target_test.x)
    assert torch.equal(digits.truth.target_train, digits.truth.target_test)


def test_rehearsal_pair_has_the_shape_of_the_real_one():
    pair = fonts_distorted(samples=60).pair
    assert pair.source_train.x.shape == (60, 1, 16, 16)
    assert pair.target_train.x.shape == (1800, 1, 16, 16)
    assert 0 <= pair.target_train.x.min() < pair.target_train.x.max() <= 1


def test_drop_removes_the_share(digits):
    whole = digits.truth.target_train.bincount()
    dropped = fonts_handwriting(samples=60, drop={3: 0.9, 8: 1.0})
    counts = dropped.truth.target_train.bincount(minlength=10)
    assert counts[3] == whole[3] - round(0.9 * whole[3].item())
    assert counts[8] == 0
    kept = [c for c in range(10) if c not in (3, 8)]
    assert torch.equal(counts[kept], whole[kept])
    sevens = (dropped.truth.target_train == 7).nonzero().flatten(), (digits.truth.target_train == 7).nonzero().flatten()
    assert torch.equal(dropped.pair.target_train.x[sevens[0]], digits.pair.target_train.x[sevens[1]])


@pytest.mark.parametrize("drop", [{10: 0.5}, {3: 1.5}, {3: -0.1}, {3: math.nan}])
def test_drop_refuses_what_makes_no_sense(drop):
    with pytest.raises(UserError, match="a class from 0 to 9 and a share from 0 to 1"):
        fonts_handwriting(samples=60, drop=drop)


def test_three_thousand_digits_are_drawn_in_three_seconds():
    started = time.perf_counter()
    fonts_handwriting(samples=3000)
    assert time.perf_counter() - started < 15  # five times the promise, for a loaded machine


@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0])
def test_moons_are_rotated_by_the_angle(angle):
    turned, upright = moons(angle).pair, moons(0.0).pair
    assert torch.equal(turned.source_train.x, upright.source_train.x)
    a, b = upright.target_train.x, turned.target_train.x
    assert torch.allclose(a.norm(dim=1), b.norm(dim=1), atol=1e-6)
    turn = torch.atan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1))  # signed, counter-clockwise
    assert torch.allclose(turn, torch.full_like(turn, math.radians(angle)), atol=1e-4)


def test_moons_splits_share_no_sample():
    pair = moons(angle=0.0).pair
    x = torch.cat([getattr(pair, split).x for split in SPLITS])
    assert x.shape == (2400, 2)
    assert len(x.unique(dim=0)) == len(x)


@pytest.mark.parametrize("name", [name for name, entry in TASKS.items() if not entry.sets and not entry.own])
def test_catalog_loads_every_built_in_task_by_its_name(name):
    task, entry = load(name), TASKS[name]
    assert isinstance(task, Task)
    assert task.name == name
    assert entry.dense == task.pair.dense


def test_unknown_task_is_refused_with_a_guess():
    with pytest.raises(UserError, match=r"unknown task 'moon'; known: fonts-handwriting, .*\. Did you mean 'moons'"):
        load("moon")
