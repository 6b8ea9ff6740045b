"""Clustered pseudo-labels: against a slow transcription and the authors' own labels; the empty cluster mended."""

import math

import pytest
import torch
import transcriptions as slow
from torch import tensor
from transcriptions import waves

from uda_core.pseudo_labels import cluster_labels


def random_target(samples, features, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda columns: torch.randn(samples, columns, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(features), draw(classes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "d", "c"), [(6, 3, 2), (20, 4, 5), (12, 2, 8)])
def test_labels_equal_their_transcription(n, d, c, seed):
    f, z = random_target(n, d, c, seed)
    assert cluster_labels(f, z).y_hat.tolist() == slow.cluster_labels(f, z, mended=True)


# The authors' own labels: lijin118/CGDM, commit 012d631, utils.py, obtain_label, on the CPU with `Tensor.cuda` stubbed,
# a loader of one batch, a backbone that returns f, and heads that return z1 and z2: f = waves(12, 3, phase=1 + phase),
# z1 = scale waves(12, 4, phase=phase), z2 = scale waves(12, 4, phase=1 + phase).
GOLDEN = [  # scale, phase, labels
    (2.0, 0.0, [1, 1, 3, 3, 0, 1, 3, 1, 2, 0, 0, 0]),
    (0.3, 1.0, [0, 3, 3, 3, 0, 2, 1, 2, 2, 1, 1, 1]),
    (0.3, 3.0, [2, 0, 1, 1, 0, 2, 1, 2, 3, 3, 3, 3]),
]
GOLDEN_COLLAPSE = (0.3, 5.0, [1] * 12)  # class 1 is empty after the first assignment


def golden_target(scale, phase):
    z1, z2 = (scale * waves(12, 4, phase=phase + i).float() for i in (0, 1))
    return waves(12, 3, phase=1.0 + phase).float(), z1 + z2


@pytest.mark.parametrize(("scale", "phase", "labels"), GOLDEN)
def test_golden_labels(scale, phase, labels):
    assert cluster_labels(*golden_target(scale, phase)).y_hat.tolist() == labels


def test_an_empty_cluster_swallows_everything_in_the_authors_code_and_nothing_here():
    scale, phase, collapsed = GOLDEN_COLLAPSE
    f, z = golden_target(scale, phase)
    assert slow.cluster_labels(f, z, mended=False) == collapsed
    clusters = cluster_labels(f, z)
    assert clusters.empty.tolist() == [False, True, False, False]
    assert clusters.y_hat.unique().tolist() == [0, 1, 2, 3]  # the soft centroid wins a sample back
    assert clusters.y_hat.tolist() == slow.cluster_labels(f, z, mended=True)


def test_clusters_correct_a_wrong_belief():
    """Two tight clusters; the heads are wrong about one sample of each, and their neighbours outvote them."""
    f = tensor([[5.0, 0.0], [5.1, 0.1], [4.9, 0.0], [0.0, 5.0], [0.1, 5.1], [0.0, 4.9]])
    z = tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 3.0], [1.0, 0.0]])
    assert z.argmax(1).tolist() == [0, 0, 1, 1, 1, 0]
    assert cluster_labels(f, z).y_hat.tolist() == [0, 0, 0, 1, 1, 1]


def test_one_class():
    f, _ = random_target(5, 3, 1, 0)
    clusters = cluster_labels(f, f[:, :1])
    assert clusters.y_hat.tolist() == [0] * 5
    assert clusters.empty.tolist() == [False]


def test_one_sample_gets_one_label():
    clusters = cluster_labels(tensor([[1.0, 2.0]]), tensor([[0.0, 1.0, 0.5]]))
    assert clusters.y_hat.shape == (1,)
    assert clusters.empty.sum() == 2


def test_all_samples_alike_fall_into_one_class():
    clusters = cluster_labels(torch.ones(4, 2), tensor([[0.0, 1.0, 0.0]] * 4))
    assert len(clusters.y_hat.unique()) == 1
    assert clusters.empty.sum() == 2


def test_features_of_zero_are_labelled_too():
    clusters = cluster_labels(torch.zeros(3, 2), torch.eye(3))
    assert clusters.y_hat.shape == (3,)
    assert clusters.y_hat.dtype == torch.int64


@pytest.mark.parametrize(
    ("f", "z", "message"),
    [
        (torch.ones(3, 2), torch.ones(4, 2), "one length"),
        (torch.ones(0, 2), torch.ones(0, 2), "above 0"),
        (tensor([[math.nan, 1.0]]), torch.ones(1, 2), "finite"),
        (torch.ones(1, 2), tensor([[math.inf, 1.0]]), "finite"),
    ],
)
def test_bad_input_is_refused(f, z, message):
    with pytest.raises((ValueError, FloatingPointError), match=message):
        cluster_labels(f, z)
