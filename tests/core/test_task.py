"""Data that cannot be trained on is refused where it enters, in one line."""

import dataclasses
import math

import pytest
import torch
from torch import tensor

from uda_core import methods
from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth


def samples(n=6, columns=2):
    return torch.linspace(-1, 1, n * columns).reshape(n, columns)


SOURCE = Labelled(samples(), tensor([0, 1, 2, 0, 1, 2]))
TARGET = Unlabelled(samples())
PAIR = Pair("toy", ("a", "b", "c"), SOURCE, SOURCE, TARGET, TARGET)
TRUTH = Truth(SOURCE.y, SOURCE.y)


def with_value(value):
    x = samples()
    x[3, 1] = value
    return x


def refusal(make):
    """The message of the one `UserError` that `make` raises: a single line."""
    with pytest.raises(UserError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_sound_task_is_taken():
    assert Task(PAIR, TRUTH).name == "toy"
    assert len(PAIR.source_train) == len(PAIR.target_train) == 6


@pytest.mark.parametrize("split", ["source_train", "source_val"])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Labelled(samples(6), tensor([0, 1])), "6 samples but 2 labels"),
        (Labelled(with_value(math.nan), SOURCE.y), "NaN"),
        (Labelled(with_value(math.inf), SOURCE.y), "infinity"),
        (Labelled(samples(), SOURCE.y + 1), "labels run from 1 to 3, but there are 3 classes"),
        (Labelled(samples(), SOURCE.y - 1), "labels run from -1 to 1"),
        (Labelled(samples(), SOURCE.y.float()), "int64"),
        (Labelled(samples(), SOURCE.y[:, None]), "got torch.int64 of shape [6, 1]"),
        (Labelled(samples().double(), SOURCE.y), "must be float32, got torch.float64"),
        (Labelled(samples(0), SOURCE.y[:0]), "is empty"),
    ],
)
def test_a_bad_source_is_refused_by_name(split, bad, says):
    message = refusal(lambda: dataclasses.replace(PAIR, **{split: bad}))
    assert f"toy: {split}" in message
    assert says in message


@pytest.mark.parametrize("split", ["target_train", "target_test"])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (samples(0), "is empty"),
        (with_value(math.nan), "NaN"),
        (samples().int(), "must be float32, got torch.int32"),
        (samples(columns=3), "samples of shape [3], those of source_train [2]"),
    ],
)
def test_a_bad_target_is_refused_by_name(split, bad, says):
    message = refusal(lambda: dataclasses.replace(PAIR, **{split: Unlabelled(bad)}))
    assert f"toy: {split}" in message
    assert says in message


def test_one_class_only_is_refused():
    one = Labelled(samples(), torch.zeros(6, dtype=torch.int64))
    assert "one class only" in refusal(lambda: dataclasses.replace(PAIR, source_train=one))


@pytest.mark.parametrize("split", ["target_train", "target_test"])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (tensor([0, 1]), "6 samples but 2 labels"),
        (SOURCE.y + 1, "labels run from 1 to 3"),
        (SOURCE.y.double(), "int64"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused_by_name(split, bad, says):
    message = refusal(lambda: Task(PAIR, dataclasses.replace(TRUTH, **{split: bad})))
    assert f"truth of {split}" in message
    assert says in message


def test_a_batch_larger_than_the_data_is_refused():
    message = refusal(lambda: methods.MCD(PAIR, methods.Config(batch_size=7)))
    assert "batch_size 7" in message
    assert "6 training samples" in message


def test_inputs_without_an_extractor_are_refused():
    flat = Labelled(torch.zeros(6), SOURCE.y)
    pair = Pair("toy", PAIR.classes, flat, flat, Unlabelled(flat.x), Unlabelled(flat.x))
    with pytest.raises(UserError, match="network small takes samples of shape"):
        methods.MCD(pair, methods.Config(batch_size=4))
