"""Scores by hand, and who may see the truth."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score

import uda_core
from uda_core import evaluation
from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth


class Fixed:
    """A "run" whose heads' logits add up to x itself: the predicted class is the largest column of x."""

    pseudo_labels = None

    def predict(self, x, domain):
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
    with pytest.raises(UserError, match="unknown metric 'f1'; known: accuracy, mean_class_accuracy, miou"):
        evaluation.evaluate(Fixed(), task("f1"))


def test_accuracy_of_samples_and_of_pseudo_labels():
    run, pets = Fixed(), task()
    assert evaluation.accuracy(run, one_hot(0, 1, 2, 2), torch.tensor([0, 1, 2, 0])) == 0.75
    assert evaluation.pseudo_label_accuracy(run, pets) is None
    run.pseudo_labels = torch.tensor([2, 2])
    assert evaluation.pseudo_label_accuracy(run, pets) == 0.5


class Painted:
    """A "run" that predicts what its images say: the logits are the images."""

    def predict(self, x, domain):
        return (x,)


def street(truth, predictions, **changes):
    """Two target images of 1 x 4 pixels, three classes; the source's two images are predicted right."""
    y = torch.tensor(truth, dtype=torch.uint8)
    x = torch.eye(3)[torch.tensor(predictions)].movedim(-1, 1).contiguous()
    right = torch.eye(3)[torch.tensor([[[0, 1]], [[2, 1]]])].movedim(-1, 1).contiguous()
    source = Labelled(right.repeat(1, 1, 1, 2), torch.tensor([[[0, 1, 0, 1]], [[2, 1, 2, 255]]], dtype=torch.uint8))
    pair = Pair("street", ("road", "car", "pole"), source, source, Unlabelled(x), Unlabelled(x))
    return Task(pair, Truth(y, y), "miou", **changes)


def test_mean_iou_by_hand():
    """Road: 2 right, 1 missed, 1 too many. Car: 1 right, 1 missed, 2 too many. Pole: 1 right, 1 missed. One ignored."""
    task = street([[[0, 0, 0, 1]], [[1, 2, 2, 255]]], [[[0, 0, 1, 1]], [[0, 2, 1, 2]]])
    result = evaluation.evaluate(Painted(), task)
    assert result.per_class == {"road": 2 / 4, "car": 1 / 4, "pole": 1 / 2}
    assert result.score == pytest.approx((2 / 4 + 1 / 4 + 1 / 2) / 3)
    assert (result.source_score, result.confusion.sum()) == (1.0, 7)


def test_mean_iou_of_classes_that_the_truth_lacks():
    """Road 3 of 4, car none but predicted once, pole none and never predicted. The authors' mean: (3/4 + 0) / 2."""
    confusion = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert evaluation.mean_iou(confusion) == 3 / 4
    assert evaluation.mean_iou(confusion, absent_counts=True) == 3 / 8
    assert evaluation.mean_iou(confusion, [0, 2], absent_counts=True) == 3 / 4
    complete = np.array([[3, 1], [1, 1]])
    assert evaluation.mean_iou(complete) == evaluation.mean_iou(complete, absent_counts=True)


def test_mean_iou_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    y, prediction = (torch.randint(5, (3, 8, 9), generator=generator) for _ in range(2))
    confusion = evaluation.confusion_counts(y, prediction, 5)
    assert np.array_equal(confusion, confusion_matrix(y.flatten(), prediction.flatten()))
    assert evaluation.class_ious(confusion) == pytest.approx(
        jaccard_score(y.flatten(), prediction.flatten(), average=None)
    )


def test_absent_class_is_named_and_in_no_mean_but_costs_those_that_are_mistaken_for_it():
    result = evaluation.evaluate(Painted(), street([[[0, 0, 0, 1]], [[1, 1, 0, 0]]], [[[0, 0, 2, 1]], [[1, 1, 0, 0]]]))
    assert result.absent == ["pole"]
    assert result.score == pytest.approx((4 / 5 + 1) / 2)
    assert "without pole" in str(result)
    assert str(result).splitlines()[-1].split() == ["pole", "0", "no", "pixels"]


def test_a_protocol_scores_columns_of_the_same_confusion():
    task = street(
        [[[0, 0, 0, 1]], [[1, 2, 2, 255]]], [[[0, 0, 1, 1]], [[0, 2, 1, 2]]], subsets={"two": ("road", "pole")}
    )
    result = evaluation.evaluate(Painted(), task)
    assert result.subsets == {"two": 2 / 4}  # pixels taken for the third class still count against these
    assert "mIoU over two 50.0%" in str(result)


def test_class_255_of_images_counts_like_any_other():
    confusion = evaluation.confusion_counts(torch.tensor([255, 255, 3]), torch.tensor([255, 3, 3]), 345)
    assert (confusion[255, 255], confusion[255, 3], confusion[3, 3], confusion.sum()) == (1, 1, 1, 3)


def test_label_quality_by_hand():
    """Of 4 roads two are labelled, one right; of 2 cars both are, one right; no pole is seen and none is given."""
    quality = evaluation.label_quality(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]]), np.array([4, 2, 0]))
    assert np.array_equal(quality.coverage, [2 / 4, 1, np.nan], equal_nan=True)
    assert np.array_equal(quality.precision, [1 / 2, 1 / 2, np.nan], equal_nan=True)
    assert np.array_equal(quality.recall, [1 / 4, 1 / 2, np.nan], equal_nan=True)
    assert (quality.overall_coverage, quality.overall_precision) == (4 / 6, 2 / 4)


def test_the_ceiling_trains_on_the_labelled_target_and_nothing_else_does():
    task = street([[[0, 0, 0, 1]], [[1, 2, 2, 255]]], [[[0, 0, 1, 1]], [[0, 2, 1, 2]]])
    ceiling = evaluation.supervised(task)
    assert torch.equal(ceiling.source_train.y, task.truth.target_train)
    assert torch.equal(ceiling.source_train.x, task.pair.target_train.x)
    assert task.pair.source_train.y is not task.truth.target_train


def test_only_evaluation_the_task_and_the_board_open_the_truth():
    package, lessons = Path(uda_core.__file__).parent, Path(__file__).parents[2] / "notebooks" / "uda_lessons"
    readers = {
        path.relative_to(room).as_posix()
        for room in (package, lessons)
        for path in room.rglob("*.py")
        if any(isinstance(n, ast.Attribute) and n.attr == "truth" for n in ast.walk(ast.parse(path.read_text("utf8"))))
    }
    assert "evaluation.py" in readers
    assert readers <= {"evaluation.py", "task.py", "board/page.py", "films/recording.py"}  # which hands it to a board
