"""Pseudo-labels, by clusters, anchors and confidence: against slow transcriptions and the authors' own labels."""

import math

import pytest
import torch
import transcriptions as slow
from scenes import SCENES, scene
from torch import tensor
from transcriptions import waves

from uda_core.anchors import Anchors, anchor_distances
from uda_core.pseudo_labels import anchor_labels, cluster_labels, confidence_labels
from uda_core.samples import IGNORE


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


def test_the_centroids_are_those_of_the_first_assignment():
    """(3, 4) and (0, 0) become (3, 4, 1) / sqrt(26) and (0, 0, 1); the second class is empty and keeps its soft one."""
    f, z = tensor([[3.0, 4.0], [0.0, 0.0], [3.0, 4.0]]), tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 4.0], [4.0, 0.0, 0.0]])
    clusters = cluster_labels(f, z)
    assert clusters.y_hat.tolist() == [0, 2, 0]
    assert clusters.empty.tolist() == [False, True, False]
    r = 1 / math.sqrt(26)
    c = clusters.centroids.tolist()
    assert c[0] == pytest.approx([3 * r, 4 * r, r])
    assert c[2] == pytest.approx([0, 0, 1])
    assert c[1] == pytest.approx([2 * r, 8 / 3 * r, (2 * r + 1) / 3], rel=1e-5)  # each sample with the same weight


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


# -- maps: by anchors and by confidence --------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0, 100.0])
@pytest.mark.parametrize("sizes", SCENES)
def test_anchor_labels_equal_their_transcription(sizes, margin):
    f, _, y, rows = scene(*sizes)
    d = slow.anchor_distances(f.detach(), rows)
    maps = torch.stack([tensor([row[c] for row in d.values()]).reshape(y.shape) for c in range(sizes[1])], 1)
    assert torch.equal(anchor_labels(maps, margin), slow.anchor_labels(d, y.shape, margin))


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("sizes", SCENES)
def test_confidence_labels_equal_their_transcription(sizes, threshold):
    z = scene(*sizes)[1].detach()
    ours = confidence_labels(z, threshold)
    assert torch.equal(ours, slow.confidence_labels(z, threshold))
    assert len(ours.unique()) > 1


def test_a_pixel_is_active_from_the_margin_on():
    d = tensor([[5.0, 3.0, 4.0], [1.0, 4.0, 4.5]]).T.reshape(1, 3, 1, 2)  # second minus first: 1, 3
    assert anchor_labels(d, 0.0).tolist() == anchor_labels(d, 1.0).tolist() == [[[1, 0]]]
    assert anchor_labels(d, 1.001).tolist() == anchor_labels(d, 3.0).tolist() == [[[IGNORE, 0]]]
    assert anchor_labels(d, 3.001).tolist() == [[[IGNORE, IGNORE]]]
    assert anchor_labels(d, 0.0).dtype == torch.int64


def test_a_pixel_between_two_anchors_is_active_only_without_a_margin():
    d = torch.full((1, 4, 1, 1), 2.0)
    assert anchor_labels(d, 0.0).item() in range(4)
    assert anchor_labels(d, 1e-6).item() == IGNORE


def test_confidence_must_be_above_the_threshold():
    z = tensor([[math.log(3), 0.0], [0.0, 0.0]]).T.reshape(1, 2, 1, 2)  # probabilities 3/4 and 1/2
    assert confidence_labels(z, 0.74).tolist() == [[[0, IGNORE]]]
    assert confidence_labels(z.zero_(), 0.5).tolist() == [[[IGNORE, IGNORE]]]  # not at it
    assert confidence_labels(z, 0.49).tolist() == [[[0, 0]]]
    assert confidence_labels(1e4 * torch.eye(2).reshape(1, 2, 1, 2), 1.0).tolist() == [[[IGNORE, IGNORE]]]
    assert confidence_labels(z, 0.5).dtype == torch.int64


def test_nothing_that_is_not_a_number_becomes_a_label():
    broken = torch.full((1, 3, 1, 2), math.nan)
    assert (anchor_labels(broken, 0.0) == IGNORE).all()
    assert (confidence_labels(broken, 0.0) == IGNORE).all()


def test_golden_labels_of_maps():
    """RogerZhangzz/CAG_UDA, commit 422f99e, models/adaptation_model.py, CustomMetrics.update, called as `test_anchors`
    says, at margin 2.5 and confidence 0.95; their maps are 128 x 224, ours is one tile of theirs."""
    a = 0.5 * waves(19, 256)
    k, t = torch.arange(28), (1 + waves(28, phase=1.0)) / 2
    f = (a[k % 19] + t[:, None] * (a[(5 * k + 3) % 19] - a[k % 19])).T.reshape(1, 256, 4, 7)
    y_hat = anchor_labels(anchor_distances(f, Anchors(a, torch.ones(19, dtype=torch.int64))), 2.5)
    assert y_hat.flatten().tolist() == [
        3, 8, 2, 18, 4, 9, 6, 7, 5, 9, 10, 1, IGNORE, 13, IGNORE, 2, 7, 17, 18, 0, IGNORE, 13, 18, 4, IGNORE, 6, 7, 8,
    ]  # fmt: skip
    labels = confidence_labels(100 * waves(1, 19, 4, 7, phase=2.0), 0.95).flatten().tolist()
    assert {pixel: c for pixel, c in enumerate(labels) if c != IGNORE} == {
        3: 13, 4: 13, 8: 9, 19: 3, 20: 16, 22: 14, 25: 2, 27: 10,
    }  # fmt: skip
