"""The drawn streets keep their word: the same by seed, one scene in two styles, every class in its place."""

import time

import numpy as np
import pytest
import torch

import uda_core.data.streets as module
from uda_core.data.street_styles import CLASSES, KINDS, RENDERED
from uda_core.data.streets import draw_streets, streets, streets_rehearsal
from uda_core.errors import UserError

SPLITS = ("source_train", "source_val", "target_train", "target_test")
SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, CAR, PERSON, POLE = range(8)


@pytest.fixture(scope="module")
def rendered():
    return draw_streets(60, seed=7, gap=0)


@pytest.fixture(scope="module")
def camera():
    return draw_streets(60, seed=7, gap=1)


@pytest.mark.parametrize("gap", [0, 1])
def test_same_seed_same_streets(gap):
    images, labels = draw_streets(6, seed=3, gap=gap)
    first, again = draw_streets(3, seed=3, gap=gap), draw_streets(3, seed=3, gap=gap)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(images[:3], first[0])  # more scenes leave the first ones as they were
    np.testing.assert_array_equal(labels[:3], first[1])
    assert (draw_streets(3, seed=4, gap=gap)[1] != first[1]).any((1, 2)).all()


@pytest.mark.parametrize("size", [(64, 128), (96, 192), (50, 70)])
def test_shapes_and_types(size):
    images, labels = draw_streets(2, seed=0, gap=1, size=size)
    assert (images.shape, images.dtype) == ((2, *size, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((2, *size), np.uint8)
    assert labels.max() < len(CLASSES)


def test_one_scene_in_both_styles(rendered, camera):
    np.testing.assert_array_equal(rendered[1], camera[1])
    assert (rendered[0] != camera[0]).any((1, 2, 3)).all()


def test_each_class_has_its_share(rendered):
    share = np.bincount(rendered[1].ravel(), minlength=8) / rendered[1].size
    low = np.array([0.05, 0.25, 0.15, 0.03, 0.05, 0.03, 0.004, 0.01])
    high = np.array([0.25, 0.55, 0.40, 0.15, 0.20, 0.15, 0.02, 0.04])
    assert (low < share).all(), share
    assert (share < high).all(), share
    for rare in (PERSON, POLE):
        assert (rendered[1] == rare).any((1, 2)).mean() > 0.8


def test_things_are_where_they_belong(rendered):
    rows = np.broadcast_to(np.arange(64)[:, None], (64, 128))
    mean = [np.mean([rows[y == k].mean() for y in rendered[1] if (y == k).any()]) for k in range(8)]
    assert mean[SKY] < mean[BUILDING] < mean[CAR] < mean[ROAD]
    assert not np.isin(rendered[1][:, :20], (ROAD, SIDEWALK)).any()  # the ground ends at the horizon
    assert not (rendered[1][:, -8:] == SKY).any()
    assert (rendered[1][:, -1] == ROAD).any(1).all()  # the camera stands on the road


def test_rendered_colours_are_clean_and_bright(rendered):
    images, labels = rendered[0].astype(int), rendered[1]
    red, green, blue = (images[..., channel] for channel in range(3))
    assert (blue >= red)[labels == SKY].mean() > 0.95
    assert (green > red)[labels == VEGETATION].mean() > 0.8
    colours = [len(np.unique(image.reshape(-1, 3), axis=0)) for image in rendered[0]]
    assert np.mean(colours) < 64 * 128 / 8  # flat: far fewer colours than pixels


def test_rendered_pixels_show_their_class():
    """Off the sky's gradient, the palette's colour nearest to a flat pixel is one of its class, up to shading."""
    images, labels = draw_streets(10, seed=7, gap=0)
    flat = np.zeros(labels.shape, bool)
    step = [np.abs(np.diff(images.astype(int), axis=axis)).sum(3) == 0 for axis in (1, 2)]
    flat[:, 1:-1, 1:-1] = step[0][:, 1:, 1:-1] & step[0][:, :-1, 1:-1] & step[1][:, 1:-1, 1:] & step[1][:, 1:-1, :-1]
    for kind in (ROAD, SIDEWALK, CAR, PERSON):
        pixels = images[flat & (labels == kind)] / 255
        shades = np.concatenate([RENDERED[kind == KINDS] * shade for shade in (1, 0.78)])
        distance = np.abs(pixels[:, None] - shades).max(2).min(1)
        assert (distance < 0.01).mean() > 0.97, CLASSES[kind]


def test_the_gap_grows_in_proportion(rendered):
    distance = [np.abs(draw_streets(20, 7, gap)[0] - rendered[0][:20].astype(int)).mean() for gap in (0.5, 1.0, 1.5)]
    assert 5 < distance[0] < distance[1] < distance[2]


def test_the_camera_is_noisier_and_duller(rendered, camera):
    def saturation(images):
        return (images.max(3).astype(int) - images.min(3)).mean()

    def roughness_of_road(images, labels):
        step = np.abs(np.diff(images.astype(int).sum(3), axis=2))
        return np.median(step[(labels[:, :, 1:] == ROAD) & (labels[:, :, :-1] == ROAD)])

    assert saturation(camera[0]) < 0.7 * saturation(rendered[0])
    assert roughness_of_road(*rendered) == 0 < roughness_of_road(*camera)


def test_task_holds_other_scenes_in_each_split():
    task = streets(samples=5, test_samples=3, seed=2)
    pair = task.pair
    assert (task.metric, pair.classes, pair.name) == ("miou", CLASSES, "streets")
    y = torch.cat([pair.source_train.y, pair.source_val.y, task.truth.target_train, task.truth.target_test])
    assert y.dtype == torch.uint8
    assert len(y.flatten(1).unique(dim=0)) == len(y) == 16
    for split, n in zip(SPLITS, (5, 3, 5, 3), strict=True):
        x = getattr(pair, split).x
        assert x.shape == (n, 3, 64, 128)
        assert x.dtype == torch.float32
        assert 0 <= x.min() < x.max() <= 1
    images, labels = draw_streets(5, seed=8, gap=0)  # four streams a seed
    torch.testing.assert_close((255 * pair.source_train.x).round().byte().permute(0, 2, 3, 1), torch.tensor(images))
    torch.testing.assert_close(pair.source_train.y, torch.tensor(labels))


def test_rehearsal_has_other_seeds_and_another_gap(monkeypatch):
    drawn = []

    def draw(n, seed, gap, size):
        drawn.append((seed, gap))
        return draw_streets(2, seed, gap, size)

    monkeypatch.setattr(module, "draw_streets", draw)
    assert streets().name != streets_rehearsal().name
    assert len({seed for seed, _ in drawn}) == 8
    assert [gap for _, gap in drawn] == [0, 0, 1, 1, 0, 0, 0.8, 0.8]


def test_four_hundred_scenes_are_drawn_in_five_seconds():
    started = time.process_time()
    draw_streets(40, seed=0, gap=1)
    assert time.process_time() - started < 3 * 5 * 40 / 400  # three times the promise, for a loaded machine


@pytest.mark.parametrize(
    "arguments", [{"gap": -0.1}, {"gap": float("nan")}, {"n": -1}, {"seed": -1}, {"size": (16, 128)}]
)
def test_wrong_arguments_are_told(arguments):
    with pytest.raises(UserError):
        draw_streets(**({"n": 1, "seed": 0, "gap": 1.0} | arguments))
