"""Category anchors: against a slow transcription, the authors' own numbers, and numbers worked out by hand."""

import math
import statistics

import pytest
import torch
import transcriptions as slow
from scenes import SCENES, as_anchors, golden_scene, scene
from torch import tensor

from uda_core.anchors import (
    Anchors,
    anchor_distances,
    category_anchors,
    class_means,
    margin_from_ratio,
    min_pixels,
    shut_out,
    where_right,
)
from uda_core.errors import UserError
from uda_core.pseudo_labels import anchor_labels
from uda_core.samples import IGNORE

F64 = torch.float64


def same(ours, theirs, f):
    """Value and gradient with respect to f, to 1e-10 of the largest entry."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)
    a, b = (torch.autograd.grad(x.square().sum(), f, retain_graph=True)[0] for x in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * b.abs().max().item())


# -- class means and anchors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SCENES)
def test_class_means_equal_their_transcription(sizes):
    f, _, y, _ = scene(*sizes)
    b, c, d = sizes[:3]
    v, n = class_means(f, y, c)
    pairs = [[slow.class_mean(f, y, image, k) for k in range(c)] for image in range(b)]
    assert n.tolist() == [[count for _, count in row] for row in pairs]
    zero = [f.sum() * 0] * d
    same(v, torch.stack([torch.stack([torch.stack(mean or zero) for mean, _ in row]) for row in pairs]), f)


def test_class_means_by_hand():
    f = tensor([[[[1.0, 2.0, 6.0], [5.0, 7.0, 9.0]]]])  # one image of 2 x 3 pixels, D = 1
    v, n = class_means(f, tensor([[[0, 0, 0], [2, IGNORE, 2]]]), 4)
    assert v.flatten().tolist() == [3, 0, 7, 0]
    assert n.tolist() == [[3, 0, 2, 0]]


@pytest.mark.parametrize("weighting", ["image", "pixel"])
@pytest.mark.parametrize("sizes", SCENES)
def test_anchors_equal_their_transcription(sizes, weighting):
    batches = [(f.detach(), y) for f, _, y, _ in (scene(*sizes, seed=seed) for seed in range(3))]
    ours = category_anchors(batches, sizes[1], weighting)
    rows, weights = slow.category_anchors(batches, sizes[1], weighting)
    assert ours.weight.tolist() == weights
    for a, row in zip(ours.a, rows, strict=True):
        torch.testing.assert_close(a, tensor(row or [0.0] * sizes[2], dtype=F64), rtol=1e-10, atol=1e-14)


def test_each_image_counts_once_or_each_pixel():
    f = tensor([[[[0.0] * 4 + [9.0] * 4]], [[[6.0] * 6 + [8.0] * 2]]])  # two images of 1 x 8 pixels
    y = tensor([[[0] * 4 + [1] * 4], [[0] * 6 + [1] * 2]])  # class 1 has but two pixels in the second
    image, pixel = (category_anchors([(f, y)], 3, weighting) for weighting in ("image", "pixel"))
    assert image.a.flatten().tolist() == [3, 9, 0]
    assert image.weight.tolist() == [2, 1, 0]
    assert pixel.a.flatten().tolist() == pytest.approx([3.6, 9, 0])
    assert pixel.weight.tolist() == [10, 4, 0]
    assert image.present.tolist() == [True, True, False]
    with pytest.raises(UserError, match=r"unknown weighting 'images'.*Did you mean 'image'"):
        category_anchors([(f, y)], 3, "images")


def test_images_of_different_sizes_make_anchors_together():
    batches = [
        (torch.full((1, 2, h, w), float(h)), torch.zeros(1, h, w, dtype=torch.int64)) for h, w in ((2, 3), (4, 5))
    ]
    assert category_anchors(batches, 1).a.tolist() == [[3.0, 3.0]]


def test_ten_pixels_of_the_authors_map_are_as_many_of_any_other():
    assert min_pixels(128, 224) == 10
    assert min_pixels(256, 224) == 20
    assert min_pixels(16, 32) == 3  # a mean of fewer is no mean
    f, y = torch.ones(2, 1, 128, 224), torch.full((2, 128, 224), IGNORE)
    y[0, 0, :9], y[1, 0, :10] = 0, 1
    assert category_anchors([(f, y)], 2).weight.tolist() == [0, 1]


def test_pixels_are_counted_beyond_the_whole_numbers_of_float32():
    f, y = torch.ones(1, 1, 2000, 2000), torch.zeros(1, 2000, 2000, dtype=torch.int64)
    y[0, 0, 0] = IGNORE
    anchors = category_anchors([(f, y)] * 5, 1, "pixel")  # 5 x 3,999,999 > 2^24
    assert anchors.weight.tolist() == [19_999_995]
    assert anchors.a.tolist() == [[1.0]]


def test_only_rightly_predicted_pixels_are_left():
    z = tensor([[[[3.0, 0.0, 0.0]], [[0.0, 2.0, 1.0]]]])  # predicted 0 1 1
    assert where_right(tensor([[[0, 0, 1]]]), z).tolist() == [[[0, IGNORE, 1]]]
    assert where_right(tensor([[[IGNORE, 1, IGNORE]]]), z).tolist() == [[[IGNORE, 1, IGNORE]]]


@pytest.mark.parametrize("weighting", ["image", "pixel"])
def test_a_source_without_one_right_pixel_has_no_anchors(weighting):
    f, y = torch.rand(2, 3, 4, 4), torch.full((2, 4, 4), IGNORE)
    anchors = category_anchors([(f, y)], 5, weighting)
    assert anchors.a.tolist() == [[0.0] * 3] * 5
    assert not anchors.present.any()
    assert margin_from_ratio(0.27, anchors) == 0
    d = anchor_distances(f, anchors)
    assert d.isinf().all()
    assert (anchor_labels(d, 0.0) == IGNORE).all()
    assert not shut_out(anchors, 1e9).any()


# -- distances ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SCENES)
def test_distances_equal_their_transcription(sizes):
    f, _, _, rows = scene(*sizes)
    b, c, _, h, w = sizes
    ours, theirs = anchor_distances(f, as_anchors(rows)), slow.anchor_distances(f, rows)
    assert ours.shape == (b, c, h, w)
    for k, row in enumerate(rows):
        if row is None:
            assert ours[:, k].isinf().all()
        else:
            same(ours[:, k], torch.stack([d[k] for d in theirs.values()]).reshape(b, h, w), f)


def test_distances_by_hand():
    anchors = Anchors(tensor([[0.0, 0.0], [3.0, 4.0], [7.0, 7.0]]), tensor([1, 2, 0]))
    d = anchor_distances(tensor([0.0, 4.0]).reshape(1, 2, 1, 1), anchors)
    assert d.flatten().tolist() == pytest.approx([4, 3, math.inf])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_on_an_anchor_itself_the_distance_is_zero_and_its_gradient_finite(dtype):
    anchors = as_anchors([[3.0, 1.0], [0.0, 0.0]], dtype)
    f = tensor([3.0, 1.0], dtype=dtype).reshape(1, 2, 1, 1).requires_grad_()
    d = anchor_distances(f, anchors)
    assert d.flatten().tolist() == pytest.approx([0, math.sqrt(10)], abs=2e-6)
    assert torch.autograd.grad(d[:, 0].sum(), f)[0].flatten().tolist() == [0, 0]


def half_precision_distances(f, anchors):
    """The same formula as a half-precision network would compute it."""
    with torch.autocast("cpu", torch.bfloat16):
        products = torch.nn.functional.conv2d(f, -2 * anchors.a[:, :, None, None], anchors.a.square().sum(1))
    return (f.square().sum(1, keepdim=True) + products.float()).clamp_min(0).sqrt()


def test_autocast_flips_no_label_where_distances_in_half_precision_flip_some():
    a = 2 * torch.rand(8, 64, generator=torch.Generator().manual_seed(0))
    i = torch.arange(32 * 64)
    t = torch.linspace(0, 1, len(i))[:, None]
    f = (a[i % 8] + t * (a[(i // 8) % 8] - a[i % 8])).T.reshape(1, 64, 32, 64)  # from one anchor to another
    anchors = Anchors(a, torch.ones(8, dtype=torch.int64))
    margin = margin_from_ratio(0.27, anchors)
    exact = anchor_labels(anchor_distances(f.double(), anchors), margin)
    with torch.autocast("cpu", torch.bfloat16):
        d = anchor_distances(f, anchors)
        assert anchor_distances(f.bfloat16(), anchors).dtype == torch.float32
    assert d.dtype == torch.float32
    assert torch.equal(d, anchor_distances(f, anchors))
    assert torch.equal(anchor_labels(d, margin), exact)
    assert 0.2 < (exact != IGNORE).float().mean() < 0.95
    assert (anchor_labels(half_precision_distances(f, anchors), margin) != exact).sum() > 5


def test_settings_of_convolutions_are_as_before():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    anchor_distances(torch.rand(1, 2, 3, 3), as_anchors([[0.0, 1.0], [1.0, 0.0]], torch.float32))
    after = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    assert after == before


# -- the margin --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", SCENES)
def test_margin_and_classes_shut_out_equal_their_transcription(sizes, seed):
    rows = scene(*sizes, seed=seed)[3]
    anchors, gaps = as_anchors(rows), slow.gaps(rows)
    assert margin_from_ratio(0.27, anchors) == pytest.approx(0.27 * statistics.median(gaps), rel=1e-10)
    for margin in [0.0, *gaps, 1.01 * max(gaps)]:  # equal to a gap: the pixel on the anchor itself is active
        margin *= 1 - 1e-12
        assert shut_out(anchors, margin).tolist() == slow.shut_out(rows, margin)


def test_margin_by_hand():
    line = as_anchors([[0.0], [3.0], None, [7.0], [8.0]])  # gaps 3 7 8 4 5 1
    assert margin_from_ratio(0.5, line) == pytest.approx(0.5 * 4.5)
    assert line.gaps[0].tolist() == [math.inf, 3, math.inf, 7, 8]
    assert line.gaps[2].tolist() == [math.inf] * 5
    assert shut_out(line, 1).tolist() == [False] * 5
    assert shut_out(line, 3.5).tolist() == [True, True, False, True, True]
    assert shut_out(line, 2).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("rows", [[[5.0]], [[5.0], None]])
def test_one_class_has_no_margin_and_is_never_shut_out(rows):
    anchors = as_anchors(rows)
    assert margin_from_ratio(0.27, anchors) == 0
    assert not shut_out(anchors, 1e9).any()
    d = anchor_distances(tensor([5.0, 9.0], dtype=F64).reshape(1, 1, 1, 2), anchors)
    assert anchor_labels(d, 1e9).tolist() == [[[0, 0]]]  # no second anchor to be near to


def test_a_class_shut_out_is_never_a_label():
    """Not on its anchor, nor anywhere else; the others are."""
    anchors = as_anchors([[0.0, 0.0], [1.0, 0.0], [6.0, 0.0]])
    grid = torch.cartesian_prod(torch.linspace(-9, 15, 97), torch.linspace(-9, 9, 37)).double()
    y_hat = anchor_labels(anchor_distances(grid.T.reshape(1, 2, 97, 37), anchors), 1.5)
    assert shut_out(anchors, 1.5).tolist() == [True, True, False]
    assert y_hat.unique().tolist() == [2, IGNORE]


# -- the authors' own numbers ------------------------------------------------------------------------------------------
# Repository RogerZhangzz/CAG_UDA, commit 422f99e (2020-01-05); only numbers are kept here. Their functions were cut out
# of their files with `ast`, compiled under python 3.11 and torch 2.15, and called on the CPU in float64 (default dtype
# set, `Tensor.cuda` stubbed), with an object for `self` that has the attributes they read and nothing else.


def test_golden_anchors():
    """cac.py, Class_Features.calculate_mean_vector, then models/adaptation_model.py, update_objective_SingleVector,
    'mean': of golden_scene(0) and golden_scene(3), one batch each, ignored pixels 250. Theirs keep at most 3,000 in the
    count of a class, so that from the 3,001st image on the mean forgets; ours does not."""
    golden = {
        0: [-0.0009188407656687131, -0.04246076900724177, -0.009464175614057407, 0.047772490741240035,
            -0.0017881418047671002],
        1: [-0.4109391699749527, -0.27518369912226226, -0.33614841358411945, -0.035335258329396324,
            -0.0018510418278284424],
        7: [-0.1168056779843637, -0.2830560472911998, -0.23344851247032347, 0.0067607936169069155,
            0.034320971278360375],
        18: [-0.2568963003131586, 0.33656680563993396, -0.20167342646068254, 0.034837505888276846,
             -0.24129355136915553],
    }  # fmt: skip
    scenes = [golden_scene(phase) for phase in (0.0, 3.0)]
    anchors = category_anchors([(f.detach(), where_right(y, z)) for f, z, y in scenes], 19)
    assert {c: int(n) for c, n in enumerate(anchors.weight) if n} == {0: 4, 1: 4, 7: 4, 18: 2}
    for c, row in golden.items():
        assert anchors.a[c].tolist() == pytest.approx(row, rel=1e-10)


def test_golden_class_mean():
    """models/adaptation_model.py, CustomModel.calculate_mean_vector of golden_scene(): the first of seven vectors."""
    f, z, y = golden_scene()
    v, n = class_means(f, where_right(y, z), 19)
    kept = [(image, c) for image in range(2) for c in range(19) if n[image, c] >= min_pixels(8, 12)]
    assert [c for _, c in kept] == [0, 1, 7, 18, 0, 1, 7]
    golden = [-0.9108505377175884, 0.015128003838650497, 0.178643479456949, -0.33964272751101554, 0.005808382239564333]
    assert v[0, 0].tolist() == pytest.approx(golden, rel=1e-10)
