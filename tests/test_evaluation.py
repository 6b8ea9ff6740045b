"""Scores by hand, and who may see the truth."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import uda_core
from uda_core import evaluation
from uda_core.data.task import Labelled, Pair, Task, Truth, Unlabelled
from uda_core.errors import UserError


class Fixed:
    """A "run" whose heads' logits add up to x itself: the predicted class is the largest column of x."""

    pseudo_labels = None

    def predict(self, x):
        return 3 * x, -2 * x


def one_hot(*classes):
    return torch.eye(3)[list(classes)]


def task(metric="accuracy"):
    """Target test: four cats (three right, one taken for a dog), two dogs (one right, one taken for a cat), no owl."""
    pair = Pair(
        "pets",
        ("cat", "dog", "owl"),
        Labelled(one_hot(0, 1, 2), torch.tensor([0, 1, 2])),
        Labelled(one_hot(0, 1, 2, 2), torch.tensor([0, 1, 2, 0])),
        Unlabelled(one_hot(2, 2)),
        Unlabelled(one_hot(0, 0, 0, 1, 1, 0)),
    )
    return Task(pair, Truth(torch.tensor([2, 0]), torch.tensor([0, 0, 0, 0, 1, 1])), metric)


def test_overall_accuracy():
    result = evaluation.evaluate(Fixed(), task())
    assert (result.metric, result.split, result.source_split) == ("accuracy", "target_test", "source_val")
    assert result.score == 4 / 6
    assert result.source_score == 3 / 4
    assert np.array_equal(result.confusion, [[3, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_mean_of_class_accuracies_leaves_an_absent_class_out():
    result = evaluation.evaluate(Fixed(), task("mean_class_accuracy"))
    assert result.score == (3 / 4 + 1 / 2) / 2
    assert result.source_score == pytest.approx((1 / 2 + 1 + 1) / 3)


def test_class_without_samples_is_named():
    result = evaluation.evaluate(Fixed(), task())
    assert result.per_class == {"cat": 3 / 4, "dog": 1 / 2, "owl": None}
    rows = str(result).splitlines()
    assert rows[-3].split() == ["cat", "4", "75.0%", "dog", "(1)"]
    assert rows[-1].split() == ["owl", "0", "no", "samples"]


def test_target_train_is_the_other_split():
    result = evaluation.evaluate(Fixed(), task(), "target_train")
    assert result.split == "target_train"
    assert result.per_class == {"cat": 0.0, "dog": None, "owl": 1.0}


def test_unknown_split_or_metric_is_refused():
    with pytest.raises(UserError, match=r"unknown split 'target_tset'.*Did you mean 'target_test'"):
        evaluation.evaluate(Fixed(), task(), "target_tset")
    with pytest.raises(UserError, match="unknown metric 'f1'; known: accuracy, mean_class_accuracy"):
        evaluation.evaluate(Fixed(), task("f1"))


def test_accuracy_of_samples_and_of_pseudo_labels():
    run, pets = Fixed(), task()
    assert evaluation.accuracy(run, one_hot(0, 1, 2, 2), torch.tensor([0, 1, 2, 0])) == 0.75
    assert evaluation.pseudo_label_accuracy(run, pets) is None
    run.pseudo_labels = torch.tensor([2, 2])
    assert evaluation.pseudo_label_accuracy(run, pets) == 0.5


def test_only_evaluation_and_the_board_open_the_truth():
    package = Path(uda_core.__file__).parent
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(isinstance(n, ast.Attribute) and n.attr == "truth" for n in ast.walk(ast.parse(path.read_text("utf8"))))
    }
    assert "evaluation.py" in readers
    assert readers <= {"evaluation.py", "data/task.py", "live/board.py"}
