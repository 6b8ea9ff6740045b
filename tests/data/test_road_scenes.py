"""Road scenes from files made here byte by byte: formats, ids, sizes, crops, and error messages."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from set_files import (
    GREY_ALPHA,
    PALETTE,
    RGB,
    blocks,
    ramp,
    write_camvid,
    write_cityscapes,
    write_gta5,
    write_jpeg,
    write_png,
    write_synthia,
)
from torch.nn import functional as F

from uda_core.data import catalog, road_classes, road_scenes, sets
from uda_core.data.road_classes import CAMVID_11, CITYSCAPES_13, CITYSCAPES_16, CITYSCAPES_19, train_ids
from uda_core.data.scene_files import ImageFiles, LabelFiles, LabelledScenes, RandomCrop, UnlabelledScenes, ids_8bit
from uda_core.data.streets import CLASSES as STREETS
from uda_core.errors import UserError
from uda_core.samples import IGNORE

CAMVID_ZIP = Path(__file__).parents[2] / "shared" / "data" / "camvid_240x180.zip"


def some_scenes(folder: Path, sizes=((22, 40), (22, 40)), ids=(7, 11, 24, 34), size=None) -> tuple:
    """Images and labels of GTA5 files made for a test."""
    scenes = road_scenes.gta5(write_gta5(folder, sizes, ids))
    table = train_ids(road_classes.GTA5_IDS, CITYSCAPES_19)
    return ImageFiles([image for image, _ in scenes], size), LabelFiles(scenes, ids_8bit, table, size)


def labels_at(y: torch.Tensor) -> list[int]:
    """The four stripes of `blocks`, read in the middle of each."""
    width = y.shape[-1]
    return y[0, y.shape[1] // 2, [width // 8, 3 * width // 8, 5 * width // 8, 7 * width // 8]].tolist()


# -- classes and ids ---------------------------------------------------------------------------------------------------


def test_class_lists_are_those_of_the_benchmarks():
    assert [CITYSCAPES_19.index(name) for name in CITYSCAPES_16] == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        10,
        11,
        12,
        13,
        15,
        17,
        18,
    ]
    assert set(CITYSCAPES_16) - set(CITYSCAPES_13) == {"wall", "fence", "pole"}
    assert len(CAMVID_11) == 11


@pytest.mark.parametrize(
    ("ids", "raw_ids", "expected"),
    [
        (
            road_classes.CITYSCAPES_IDS,
            34,
            "7>0 8>1 11>2 12>3 13>4 17>5 19>6 20>7 21>8 22>9 23>10 24>11 25>12 26>13 27>14 28>15 31>16 32>17 33>18",
        ),
        (
            road_classes.GTA5_IDS,
            35,
            "7>0 8>1 11>2 12>3 13>4 17>5 19>6 20>7 21>8 22>9 23>10 24>11 25>12 26>13 27>14 28>15 31>16 32>17 33>18",
        ),
        (
            road_classes.SYNTHIA_IDS,
            23,
            "1>10 2>2 3>0 4>1 5>4 6>8 7>5 8>13 9>7 10>11 11>18 12>17 15>6 16>9 17>12 18>14 19>15 20>16 21>3",
        ),
    ],
    ids=["cityscapes", "gta5", "synthia"],
)
def test_raw_ids_become_the_published_train_ids(ids, raw_ids, expected):
    table = train_ids(ids, CITYSCAPES_19)
    assert " ".join(f"{raw}>{table[raw]}" for raw in np.flatnonzero(table < 19)) == expected
    assert (table != road_classes.UNKNOWN).sum() == raw_ids
    assert (table[raw_ids:] == road_classes.UNKNOWN).all()


def test_classes_outside_the_protocol_are_ignored():
    table = train_ids(road_classes.SYNTHIA_IDS, CITYSCAPES_16)
    assert table[[16, 18, 20, 22]].tolist() == [IGNORE] * 4
    assert table[19] == 13  # bus is the fourteenth of the sixteen
    assert (train_ids(road_classes.SYNTHIA_IDS, CITYSCAPES_13) < 13).sum() == 13


def test_cityscapes_classes_as_those_of_camvid():
    table = train_ids(road_classes.CITYSCAPES_IDS, CAMVID_11, road_classes.CITYSCAPES_TO_CAMVID)
    groups = {name: [raw for raw in range(34) if table[raw] == i] for i, name in enumerate(CAMVID_11)}
    assert groups == {
        "sky": [23], "building": [11, 12], "pole": [17], "road": [7], "pavement": [8], "tree": [21],
        "sign": [19, 20], "fence": [13], "car": [26, 27, 28], "pedestrian": [24], "bicyclist": [25, 32, 33],
    }  # fmt: skip
    assert table[22] == table[31] == IGNORE  # terrain and train


def test_camvid_classes_as_those_of_the_drawn_streets():
    table = train_ids(road_classes.CAMVID_IDS, STREETS, road_classes.CAMVID_TO_STREETS)
    assert [STREETS[i] if i < 8 else i for i in table[:12]] == [
        "sky", "building", "pole", "road", "sidewalk", "vegetation", IGNORE, IGNORE, "car", "person", IGNORE, IGNORE,
    ]  # fmt: skip


# -- formats -----------------------------------------------------------------------------------------------------------


def test_gta5_labels_are_palette_indices_not_colours(tmp_path):
    x, y = some_scenes(tmp_path)
    assert torch.equal(x[torch.tensor([1])][0], torch.from_numpy(ramp(22, 40, 2)).permute(2, 0, 1) / 255)
    assert labels_at(y[torch.tensor([0])]) == [0, 2, 11, IGNORE]
    assert (x[torch.tensor([0])].dtype, y[torch.tensor([0])].dtype) == (torch.float32, torch.uint8)


def test_a_palette_of_16_colours_is_read_too(tmp_path):
    image = write_png(tmp_path / "images" / "1.png", ramp(4, 8), RGB)
    label = write_png(tmp_path / "labels" / "1.png", blocks(4, 8, [7, 8, 11, 13]), PALETTE, bits=4)
    y = LabelFiles([(image, label)], ids_8bit, train_ids(road_classes.GTA5_IDS, CITYSCAPES_19))
    assert labels_at(y[torch.tensor([0])]) == [0, 1, 2, 4]


@pytest.mark.parametrize("channels", [2, 3])
def test_synthia_class_is_the_first_of_the_16_bit_channels(tmp_path, channels):
    write_synthia(tmp_path / "synthia", channels=channels)
    write_cityscapes(tmp_path / "cityscapes")
    task = road_scenes.synthia_cityscapes(tmp_path)
    assert task.pair.classes == CITYSCAPES_16
    assert (len(task.pair.source_train), len(task.pair.source_val)) == (2, 1)
    assert labels_at(task.pair.source_train.y[torch.tensor([0, 1])]) == [0, IGNORE, CITYSCAPES_16.index("bus"), IGNORE]
    assert task.subsets == {"13 of its classes": CITYSCAPES_13}
    thirteen = road_scenes.synthia_cityscapes_13(tmp_path)
    assert (thirteen.name, thirteen.pair.classes, thirteen.subsets) == ("synthia-cityscapes-13", CITYSCAPES_13, {})
    assert labels_at(thirteen.pair.source_val.y[torch.tensor([0])]) == [0, IGNORE, CITYSCAPES_13.index("bus"), IGNORE]


def test_a_jpeg_is_read_as_written(tmp_path):
    path = write_jpeg(tmp_path / "1.jpg", [[0, 255, 7], [200, 201, 128]])
    x = ImageFiles([path])[torch.tensor([0])]
    assert x.shape == (1, 3, 16, 24)
    assert (x[0, :, ::8, ::8] * 255).round().tolist() == [[[0, 255, 7], [200, 201, 128]]] * 3
    assert torch.equal(x[0, 0], x[0, 0, ::8, ::8].repeat_interleave(8, 0).repeat_interleave(8, 1))


def test_gta5_cityscapes_task(tmp_path):
    write_gta5(tmp_path / "gta5")
    write_cityscapes(tmp_path / "cityscapes")
    task = road_scenes.gta5_cityscapes(tmp_path)
    pair, everything = task.pair, torch.arange(2)
    assert (task.metric, pair.dense, pair.classes) == ("miou", True, CITYSCAPES_19)
    splits = (pair.source_train, pair.source_val, pair.target_train, pair.target_test)
    assert [len(split) for split in splits] == [2, 1, 4, 2]
    assert [path.name for path in pair.target_train.x.paths[2:]] == [
        "aachen_000002_000019_leftImg8bit.png",
        "bochum_000000_000019_leftImg8bit.png",
    ]
    assert pair.source_train.x[everything].shape == (2, 3, 1052, 1914)
    assert pair.target_test.x[everything].shape == (2, 3, 16, 32)
    assert labels_at(task.truth.target_test[everything]) == [IGNORE, 13, IGNORE, 18]
    x_s, y_s = pair.source_train.draw(everything)
    assert x_s.shape == (2, 3, 512, 896)
    assert y_s.shape == (2, 512, 896)
    assert pair.target_train.draw(torch.tensor([3])).shape == (1, 3, 512, 896)


def test_gta5_is_read_without_the_two_labels_that_do_not_fit(tmp_path):
    write_gta5(tmp_path)
    for number in ("15188", "17705"):
        write_png(tmp_path / "images" / f"{number}.png", ramp(20, 30), RGB)
        write_png(tmp_path / "labels" / f"{number}.png", blocks(10, 30, [7]), PALETTE)
    assert [image.stem for image, _ in road_scenes.gta5(tmp_path)] == ["00001", "00002", "00003"]


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_camvid_day_and_dusk_are_told_apart_by_the_film(tmp_path, ending):
    write_camvid(tmp_path / "camvid", ending)
    task = road_scenes.camvid_day_dusk(tmp_path)
    names = {split: [p.stem for p in getattr(task.pair, split).x.paths] for split in ("source_train", "source_val")}
    assert names == {
        "source_train": ["0006R0_00000", "0006R0_00001", "0016E5_00000", "0016E5_00001"],
        "source_val": ["0006R0_00002", "0016E5_00002"],
    }
    assert {path.parent.name for path in task.pair.target_train.x.paths} == {"train"}
    assert {path.parent.name for path in task.pair.target_test.x.paths} == {"test"}
    assert {path.stem[:6] for path in task.pair.target_test.x.paths + task.pair.target_train.x.paths} == {"0001TP"}
    x, y = task.pair.target_test.x[torch.tensor([0])], task.truth.target_test[torch.tensor([0])]
    assert x.shape == (1, 3, 180, 240)
    assert labels_at(y) == [0, 4, 9, IGNORE]
    assert x[0, 0, 90, [0, 120, 239]].tolist() == pytest.approx([0, 0.5, 1], abs=0.03)  # red grows to the right


@pytest.fixture(scope="session")
def camvid(tmp_path_factory) -> Path:
    """A data folder with the real CamVid."""
    if not CAMVID_ZIP.is_file():
        pytest.skip(f"{CAMVID_ZIP.name} is not beside the checkout")
    folder = tmp_path_factory.mktemp("data")
    zipfile.ZipFile(CAMVID_ZIP).extractall(folder / "camvid")
    return folder


def test_real_camvid_has_305_images_by_day_and_62_and_62_at_dusk(camvid):
    task = road_scenes.camvid_day_dusk(camvid)
    pair = task.pair
    assert len(pair.source_train) + len(pair.source_val) == 305
    assert len(pair.source_val) == 30
    assert (len(pair.target_train), len(pair.target_test)) == (62, 62)
    day, dusk = pair.source_val.x[torch.arange(30)], pair.target_test.x[torch.arange(62)]
    assert day.mean() > dusk.mean() + 0.1
    assert task.truth.target_test[torch.arange(62)].unique().tolist() == [*range(11), IGNORE]


def test_streets_teach_the_real_camvid(camvid):
    task = road_scenes.streets_camvid(camvid)
    assert task.pair.classes == STREETS
    assert [len(s) for s in (task.pair.source_train, task.pair.source_val)] == [400, 150]
    assert task.pair.target_train.x.shape == (367, 3, 96, 128)
    assert task.truth.target_test.shape == (233, 96, 128)
    shares = task.truth.target_train.flatten().bincount(minlength=8)[:8] / task.truth.target_train.numel()
    road, building = STREETS.index("road"), STREETS.index("building")
    assert shares[[road, building]].tolist() == pytest.approx([0.317, 0.233], abs=0.005)  # as counted by others


# -- sizes, batches and cuts -------------------------------------------------------------------------------------------


def test_files_of_different_sizes_are_served_one_by_one_or_resized(tmp_path):
    sizes = ((22, 40), (24, 38))
    x, y = some_scenes(tmp_path, sizes)
    with pytest.raises(UserError, match=r"00001.png is 40x22 and .*00002.png is 38x24: .* one by one"):
        x[torch.tensor([0, 1])]
    with pytest.raises(UserError, match="one by one"):
        y[torch.tensor([0, 1])]
    for i, size in enumerate(sizes):
        assert x[torch.tensor([i])].shape[2:] == y[torch.tensor([i])].shape[1:] == size
    x, y = some_scenes(tmp_path, sizes, size=(11, 20))
    assert x[torch.tensor([0, 1])].shape == (2, 3, 11, 20)
    assert labels_at(y[torch.tensor([0, 1])]) == [0, 2, 11, IGNORE]
    assert set(y[torch.tensor([0, 1])].unique().tolist()) == {0, 2, 11, IGNORE}  # nearest: no class in between


def test_a_batch_keeps_the_order_of_its_indices(tmp_path):
    x, _ = some_scenes(tmp_path, ((4, 8),) * 20)
    i = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal((x[i][:, 2, 0, 0] * 255).round().long(), i + 1)
    assert torch.equal(x[torch.tensor([-1])], x[torch.tensor([19])])


@pytest.mark.parametrize("width", [80, 100, 160])  # the file has 100; at these no sample falls between two pixels
def test_a_crop_equals_that_of_the_whole_scaled_file(tmp_path, width):
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (60, 100, 3)), rng.choice([7, 8, 11, 24], (60, 100))
    pair = (
        write_png(tmp_path / "images" / "1.png", image, RGB),
        write_png(tmp_path / "labels" / "1.png", label, PALETTE),
    )
    table = train_ids(road_classes.GTA5_IDS, CITYSCAPES_19)
    crop = RandomCrop((24, 32), width=(width, width))
    scenes = LabelledScenes(ImageFiles([pair[0]]), LabelFiles([pair], ids_8bit, table), crop)
    height = round(0.6 * width)
    whole_x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    whole_x = F.interpolate(whole_x, (height, width), mode="bilinear", antialias=True)
    whole_y = F.interpolate(torch.from_numpy(table[label])[None, None].float(), (height, width), mode="nearest-exact")

    for seed in range(8):
        torch.manual_seed(seed)
        x, y = scenes.draw(torch.tensor([0]))
        torch.manual_seed(seed)
        _, right, down, mirror = torch.rand(4).tolist()
        left, top = int(right * (width - 31)), int(down * (height - 23))
        expected_x, expected_y = (w[:, :, top : top + 24, left : left + 32] for w in (whole_x, whole_y))
        if mirror < 0.5:
            expected_x, expected_y = expected_x.flip(3), expected_y.flip(3)
        assert (x - expected_x).abs().max() < 2 / 255  # the file's 8 bits, rounded twice
        assert torch.equal(y, expected_y[:, 0].byte())


def test_a_scene_smaller_than_the_crop_is_filled_up_with_ignored_black(tmp_path):
    x, y = some_scenes(tmp_path, ((22, 40), (24, 38)), ids=(7, 8))
    x, y = LabelledScenes(x, y, RandomCrop((60, 90), width=(80, 80), flip=0.0)).draw(torch.tensor([0, 1]))
    for image, label, height in zip(x, y, (44, 51), strict=True):
        assert (label[:height, :80] < 2).all()
        assert (label[height:] == IGNORE).all()
        assert (label[:, 80:] == IGNORE).all()
        assert not image[:, label == IGNORE].any()


def test_crops_follow_the_global_generator_and_vary(tmp_path):
    x, y = some_scenes(tmp_path)
    labelled, unlabelled = (kind(*files, RandomCrop((20, 30), (40, 80))) for kind, files in (
        (LabelledScenes, (x, y)), (UnlabelledScenes, (x,)),
    ))  # fmt: skip
    i = torch.zeros(6, dtype=torch.int64)
    torch.manual_seed(3)
    first, state = labelled.draw(i), torch.get_rng_state()
    torch.manual_seed(3)
    again = labelled.draw(i)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(unlabelled.draw(i), first[0])
    assert not torch.equal(unlabelled.draw(i), first[0])
    assert len({tuple(crop.flatten().tolist()) for crop in first[0]}) == 6
    assert torch.equal(x[i[:1]], x[i[1:2]])  # whole samples are never cropped


def test_half_of_the_crops_are_mirrored(tmp_path):
    x, _ = some_scenes(tmp_path)
    torch.manual_seed(0)
    crops = UnlabelledScenes(x, RandomCrop((20, 30), (40, 80))).draw(torch.zeros(200, dtype=torch.int64))
    mirrored = (crops[:, 0, 10, 0] > crops[:, 0, 10, -1]).float().mean()
    assert mirrored == pytest.approx(0.5, abs=0.12)


# -- what is wrong is told in one line that names the file -------------------------------------------------------------


def told(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_label_of_another_size_than_its_image(tmp_path):
    x, y = some_scenes(tmp_path)
    write_png(tmp_path / "labels" / "00002.png", blocks(22, 38, [7]), PALETTE)
    assert labels_at(y[torch.tensor([0])]) == [0, 2, 11, IGNORE]
    with pytest.raises(UserError) as error:
        LabelledScenes(x, y).draw(torch.tensor([0, 1]))
    image, label = tmp_path / "images" / "00002.png", tmp_path / "labels" / "00002.png"
    assert told(error) == f"{label}: the label is 38x22 pixels, its image {image} is 40x22"


def test_an_unknown_id(tmp_path):
    _, y = some_scenes(tmp_path, ids=(7, 77, 200))
    with pytest.raises(UserError) as error:
        y[torch.tensor([1])]
    label = tmp_path / "labels" / "00002.png"
    assert told(error) == f"{label}: unknown label id 77, 200; the ids of this set are 0 to 34"


def test_an_unknown_id_beyond_8_bits(tmp_path):
    write_synthia(tmp_path / "synthia")
    write_cityscapes(tmp_path / "cityscapes")
    label = tmp_path / "synthia" / "GT" / "LABELS" / "0000001.png"
    write_png(label, np.dstack([blocks(20, 32, [3, 259])] * 2), GREY_ALPHA, 16)
    y = road_scenes.synthia_cityscapes(tmp_path).pair.source_train.y
    with pytest.raises(UserError) as error:
        y[torch.tensor([1])]
    assert told(error) == f"{label}: unknown label id 259; the ids of this set are 0 to 22"


def test_colours_instead_of_ids(tmp_path):
    _, y = some_scenes(tmp_path)
    write_png(tmp_path / "labels" / "00001.png", ramp(22, 40), RGB)
    with pytest.raises(UserError, match=r"labels.00001.png: holds colours \(RGB\), not label ids"):
        y[torch.tensor([0])]


def test_8_bits_where_synthia_has_16(tmp_path):
    label = write_png(tmp_path / "0000000.png", ramp(20, 32), RGB)
    with pytest.raises(UserError, match=r"0000000.png: not a 16-bit PNG.*GT/LABELS"):
        road_scenes.ids_16bit(label)


def test_an_image_without_a_label_and_a_label_without_an_image(tmp_path):
    write_gta5(tmp_path)
    lone = [tmp_path / "images" / f"0000{n}.png" for n in (1, 3)]
    for path in lone:
        (tmp_path / "labels" / path.name).unlink()
    with pytest.raises(UserError) as error:
        road_scenes.gta5(tmp_path)
    assert told(error).startswith(f"{lone[0]}: its label is missing (and 1 more files)")
    for path in lone:
        path.unlink()
    write_png(tmp_path / "labels" / "00007.png", blocks(22, 40, [7]), PALETTE)
    with pytest.raises(UserError) as error:
        road_scenes.gta5(tmp_path)
    assert told(error).startswith(f"{tmp_path / 'labels' / '00007.png'}: its image is missing;")


def test_a_missing_pair_of_any_set_is_told_when_the_task_is_made(tmp_path):
    write_gta5(tmp_path / "gta5")
    write_synthia(tmp_path / "synthia")
    write_cityscapes(tmp_path / "cityscapes")
    write_camvid(tmp_path / "camvid")
    (tmp_path / "camvid" / "testannot" / "0001TP_00001.png").unlink()
    with pytest.raises(UserError, match=r"test.0001TP_00001.png: its label is missing"):
        road_scenes.camvid_day_dusk(tmp_path)
    (tmp_path / "synthia" / "RGB" / "0000002.png").unlink()
    with pytest.raises(UserError, match=r"LABELS.0000002.png: its image is missing"):
        road_scenes.synthia_cityscapes(tmp_path)
    (tmp_path / "cityscapes" / "gtFine" / "val" / "frankfurt" / "frankfurt_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(UserError, match=r"frankfurt_000001_000019_leftImg8bit.png: its label is missing"):
        road_scenes.gta5_cityscapes(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.9], ids=["empty", "20 bytes", "half", "most of it"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "8-bit label", "16-bit label"])
def test_a_truncated_file(tmp_path, kind, keep):
    rng = np.random.default_rng(0)
    image = write_png(tmp_path / "images" / "1.png", rng.integers(0, 256, (20, 32, 3)), RGB)
    label = write_png(tmp_path / "labels" / "1.png", rng.integers(0, 23, (20, 32)), PALETTE)
    wide = write_png(tmp_path / "labels" / "2.png", rng.integers(0, 23, (20, 32, 2)), GREY_ALPHA, 16)
    jpeg = write_jpeg(tmp_path / "images" / "2.jpg", rng.integers(0, 256, (20, 32)).tolist())
    table = train_ids(road_classes.SYNTHIA_IDS, CITYSCAPES_16)
    files = {
        "PNG": (ImageFiles([image]), image),
        "JPEG": (ImageFiles([jpeg]), jpeg),
        "8-bit label": (LabelFiles([(image, label)], ids_8bit, table), label),
        "16-bit label": (LabelFiles([(image, wide)], road_scenes.ids_16bit, table), wide),
    }
    samples, path = files[kind]
    assert len(samples[torch.tensor([0])]) == 1
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep == 20 else int(keep * len(whole))])
    with pytest.raises(UserError) as error:
        samples[torch.tensor([0])]
    assert told(error).startswith(f"{path}: cannot be read (")


def test_a_file_that_went_away(tmp_path):
    x, y = some_scenes(tmp_path)
    x.paths[1].unlink()
    for samples in (x, y):
        with pytest.raises(UserError, match=r"images.00002.png: no such file"):
            samples[torch.tensor([1])]


def test_no_images_and_no_folder(tmp_path):
    with pytest.raises(UserError, match=r"images: no such folder"):
        road_scenes.gta5(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "readme.txt").write_text("nothing yet")
    (tmp_path / "images" / ".hidden.png").write_text("not an image")
    with pytest.raises(UserError, match=r"images: no files \*.png in it; is it the right folder\?"):
        road_scenes.gta5(tmp_path)


def test_camvid_without_the_film_at_dusk(tmp_path):
    write_camvid(tmp_path / "camvid")
    for path in (tmp_path / "camvid").glob("test*/0001TP*"):
        path.unlink()
    with pytest.raises(UserError, match=r"test: no image of sequence 0001TP"):
        road_scenes.camvid_day_dusk(tmp_path)


# -- the data folder ---------------------------------------------------------------------------------------------------


def test_data_folder_is_the_option_then_the_variable_then_data(tmp_path, monkeypatch):
    monkeypatch.delenv("UDA_DATA", raising=False)
    assert sets.data_folder() == Path("data")
    (tmp_path / "of variable").mkdir()
    monkeypatch.setenv("UDA_DATA", str(tmp_path / "of variable"))
    assert sets.data_folder() == tmp_path / "of variable"
    assert sets.data_folder(tmp_path) == tmp_path
    with pytest.raises(UserError, match=r"nowhere: no such folder; --data names"):
        sets.data_folder(tmp_path / "nowhere")
    monkeypatch.setenv("UDA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere: no such folder; UDA_DATA names"):
        sets.data_folder()


def test_missing_says_what_is_not_there_and_how_to_get_it(tmp_path):
    with pytest.raises(UserError) as error:
        road_scenes.gta5_cityscapes(tmp_path)
    assert "gta5: nothing in" in told(error)
    assert "cityscapes: nothing in" in told(error)
    write_gta5(tmp_path / "gta5")
    (tmp_path / "cityscapes" / "leftImg8bit" / "train").mkdir(parents=True)
    lines = catalog.missing("gta5-cityscapes", tmp_path).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"cityscapes: nothing in {tmp_path / 'cityscapes' / 'leftImg8bit' / 'train'}, ")
    assert lines[0].endswith(f"get it with: uda download cityscapes --to {tmp_path}")
    with pytest.raises(UserError, match="cityscapes: nothing in"):
        road_scenes.gta5_cityscapes(tmp_path)
    write_cityscapes(tmp_path / "cityscapes")
    assert catalog.missing("gta5-cityscapes", tmp_path) is None
    assert len(catalog.missing("synthia-cityscapes", tmp_path).splitlines()) == 1
    assert catalog.missing("camvid-day-dusk", tmp_path) == catalog.missing("streets-camvid", tmp_path)
    with pytest.raises(UserError, match="Did you mean 'camvid-day-dusk'"):
        catalog.missing("camvid-day-dusc", tmp_path)


def test_loading_imports_neither_umap_nor_matplotlib():
    code = "import sys, uda_core.data.road_scenes; print({'umap', 'matplotlib'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
