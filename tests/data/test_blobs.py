"""Three Gaussians in the plane: where they lie, how wide they are, and what `b`, `classes` and `seed` change."""

import pytest
import torch

from uda_core.data.blobs import blobs
from uda_core.errors import UserError
from uda_core.task import Task

SPLITS = ("source_train", "source_val", "target_train", "target_test")


def by_class(x, y):
    return [x[y == c] for c in range(3)]


def tensors(task: Task) -> list[torch.Tensor]:
    pair, truth = task.pair, task.truth
    x = [getattr(pair, split).x for split in SPLITS]
    return [*x, pair.source_train.y, pair.source_val.y, truth.target_train, truth.target_test]


@pytest.mark.parametrize("b", [2.0, 0.5, -1.0])
def test_means_and_widths_are_the_designed_ones(b):
    task = blobs(b)
    source = by_class(task.pair.source_train.x, task.pair.source_train.y)
    target = by_class(task.pair.target_train.x, task.truth.target_train)
    designed = [(source, [(-2, 0), (2, 0), (0, 2.5)], 0.45), (target, [(-2.6, -0.6), (b, -0.6), (0.3, 2.6)], 0.35)]
    for samples, means, sd in designed:
        assert [len(x) for x in samples] == [200, 200, 200]
        for x, mean in zip(samples, means, strict=True):  # four standard errors
            assert (x.mean(0) - torch.tensor(mean)).abs().max() < 4 * sd / 200**0.5
            assert (x.std(0) - sd).abs().max() < 4 * sd / 400**0.5


def test_b_moves_class_b_of_the_target_and_nothing_else():
    here, there = blobs(0.5), blobs(-0.5)
    moved = here.truth.target_train == 1
    step = here.pair.target_train.x - there.pair.target_train.x
    assert torch.allclose(step[moved], torch.tensor([1.0, 0.0]), atol=1e-6)
    assert not step[~moved].any()
    for a, b in zip(tensors(here), tensors(there), strict=True):
        assert a.shape == b.shape
    assert torch.equal(here.pair.source_train.x, there.pair.source_train.x)
    assert torch.equal(here.truth.target_test, there.truth.target_test)


def test_classes_are_counts_of_the_target():
    task = blobs(classes=(530, 20, 50))
    assert task.truth.target_train.bincount().tolist() == task.truth.target_test.bincount().tolist() == [530, 20, 50]
    assert task.pair.source_train.y.bincount().tolist() == [200, 200, 200]
    assert blobs(classes=(3, 0, 2)).truth.target_train.tolist() == [0, 0, 0, 2, 2]


@pytest.mark.parametrize("classes", [(200, 200), (1, 2, 3, 4), (-1, 2, 3), (0, 0, 0)])
def test_classes_that_make_no_sense_are_refused(classes):
    with pytest.raises(UserError, match=r"classes must be how many samples A, B and C have, .* got \("):
        blobs(classes=classes)


def test_the_seed_decides_every_sample_and_touches_no_other_random_number():
    state = torch.get_rng_state()
    first, again, other = blobs(seed=3), blobs(seed=3), blobs(seed=4)
    assert all(map(torch.equal, tensors(first), tensors(again)))
    assert not torch.equal(first.pair.source_train.x, other.pair.source_train.x)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_split_shares_a_sample_with_another():
    pair = blobs().pair
    x = torch.cat([getattr(pair, split).x for split in SPLITS])
    assert x.shape == (2400, 2)
    assert len(x.unique(dim=0)) == len(x)
