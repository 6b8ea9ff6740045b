"""Image sets: how files become tensors, which folders are refused, and the real layout of each set, made small."""

import copy
import os
import re
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from set_files import (
    CLASSES,
    picture,
    tree,
    write_domainnet,
    write_imageclef,
    write_office31,
    write_office_home,
    write_visda2017,
)
from torchvision.transforms import CenterCrop, Compose, Resize

from uda_core.data import TASKS, image_folders, load
from uda_core.data.image_folders import Images, Preprocessing, folders
from uda_core.errors import UserError
from uda_core.evaluation import evaluate, pseudo_label_accuracy, supervised
from uda_core.lab import checkpoints
from uda_core.methods import CGDM, Config, SourceOnly, adabn
from uda_core.task import Task, Truth

OFFICE31 = Path(__file__).parents[2] / "shared" / "data" / "office31_160.zip"
SMALL = Preprocessing(resize=36, crop=32)
QUICK = Config(network="small", features=8, hidden=(8,), batch_size=4)


@pytest.fixture
def two(tmp_path):
    """Source and target folders of three classes with four images each."""
    return tree(tmp_path / "photos"), tree(tmp_path / "drawings")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The user's own folders, at 32x32 pixels."""
    folder = tmp_path_factory.mktemp("own")
    return folders(tree(folder / "photos", images=12), tree(folder / "drawings"), SMALL)


# -- images as a network gets them -------------------------------------------------------------------------------------


def test_images_for_evaluation_are_resized_and_cropped_as_published(tmp_path):
    path = picture(tmp_path / "a.png", size=(300, 200))
    published = Compose([Resize((256, 256)), CenterCrop(224)])(Image.open(path))
    x = Images([path], Preprocessing())[torch.tensor([0])]
    assert x.shape == (1, 3, 224, 224)
    assert (x[0] - torch.from_numpy(np.array(published)).permute(2, 0, 1) / 255).abs().max() < 2.5 / 255  # rounding


def test_training_images_are_mirrored_and_only_imageclef_is_cropped_at_random(tmp_path):
    x = Images([picture(tmp_path / "a.png")], Preprocessing(resize=36, crop=32))
    clean, draw = (
        x[torch.tensor([0])],
        lambda preprocessing: Images(x.paths, preprocessing).draw(torch.zeros(64, dtype=int)),
    )
    mirrored = [bool((cut == clean[0].flip(2)).all()) for cut in draw(Preprocessing(36, 32))]
    assert all(
        m or bool((cut == clean[0]).all())
        for m, cut in zip(mirrored, draw(Preprocessing(36, 32, flip=0.0)), strict=True)
    )
    assert 10 < sum(mirrored) < 54
    cuts = draw(Preprocessing(36, 32, random_crop=True, flip=0.0))
    assert len(cuts.unique(dim=0)) > 15  # of 25 places
    assert not torch.equal(cuts[0], cuts[1])


@pytest.mark.parametrize("size", [(49, 47), (1, 1), (37, 250)])
def test_a_crop_never_leaves_the_image(size, tmp_path):
    x = Images([picture(tmp_path / "a.png", size=size)], Preprocessing(resize=36, crop=35, random_crop=True))
    assert x.draw(torch.zeros(64, dtype=int)).shape == (64, 3, 35, 35)


def test_drawing_follows_the_generator(task):
    i, draw = torch.arange(6), task.pair.source_train.draw
    state = torch.get_rng_state()
    first, again, other = (draw(i, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path):
    path = picture(tmp_path / "large.jpg", size=(1200, 900))
    fast, slow = Images([path], Preprocessing()), Images([path], Preprocessing())
    slow.draft = None
    assert fast._open(0).size == (600, 450)  # never below 256x256
    assert (fast[torch.tensor([0])] - slow[torch.tensor([0])]).abs().max() < 3 / 255


GREY = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "ending"),
    [
        (Image.fromarray(GREY), ".jpg"),
        (Image.fromarray(GREY), ".png"),
        (Image.fromarray(GREY.astype(np.uint16) * 257), ".png"),  # 16 bits, scaled, not clipped
        (Image.fromarray(GREY).convert("RGBA"), ".png"),
        (Image.fromarray(GREY).convert("LA"), ".png"),
        (Image.fromarray(GREY).convert("P"), ".png"),
        (Image.fromarray(GREY).convert("RGB").convert("CMYK"), ".jpg"),
    ],
    ids=["grey jpeg", "grey", "16 bits", "RGBA", "grey and alpha", "palette", "CMYK"],
)
def test_every_kind_of_image_is_read_as_rgb(image, ending, tmp_path):
    image.save(tmp_path / f"a{ending}")
    x = Images([tmp_path / f"a{ending}"], Preprocessing(64, 64))[torch.tensor([0])][0]
    assert (x - torch.from_numpy(GREY).float() / 255).abs().max() < 0.02


def test_what_is_transparent_lies_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(tmp_path / "red.png")
    clear, red = Images([tmp_path / "clear.png", tmp_path / "red.png"], Preprocessing(8, 8))[torch.arange(2)]
    assert clear.min() == 1
    assert red[:, 0, 0].tolist() == [1, 0, 0]


# -- ten kinds of bad folders ------------------------------------------------------------------------------------------


def empty(source, target):
    for path in source.glob("*/*"):
        path.unlink()
    for path in source.iterdir():
        path.rmdir()


def no_such_folder(source, target):
    empty(source, target)
    source.rmdir()


def missing_class(source, target):
    for path in (target / "pen").iterdir():
        path.unlink()
    (target / "pen").rmdir()


def other_names(source, target):
    (target / "pen").rename(target / "pencil")


def empty_class(source, target):
    for path in (target / "pen").iterdir():
        path.unlink()


def text_file(source, target):
    (source / "cup" / "notes.txt").write_text("taken in May")


def zero_bytes(source, target):
    (source / "lamp" / "2.jpg").write_bytes(b"")


def link_in_a_circle(source, target):
    (source / "lamp" / "more").symlink_to(source / "lamp", target_is_directory=True)


def link_to_itself(source, target):
    (source / "lamp" / "9.jpg").symlink_to(source / "lamp" / "9.jpg")


SEEN = [
    (no_such_folder, "{source}: no such folder"),
    (empty, "{source}: no class folders in it; images belong in one folder per class"),
    (missing_class, "the classes differ: {target} lacks pen; rename, add or take away folders until they agree"),
    (other_names, "the classes differ: {target} lacks pen; {source} lacks pencil; rename"),
    (empty_class, "{target}/pen: no image in it; fill this class, or take its folder away in both domains"),
    (text_file, "{source}/cup/notes.txt: no image (.jpg, .jpeg, .png, "),
    (zero_bytes, "{source}/lamp/2.jpg: the file is empty; unpack or download it again, or delete it"),
    (link_in_a_circle, "{source}/lamp/more: a link to {source}/lamp, in which it lies itself; delete the link"),
    (link_to_itself, "{source}/lamp/9.jpg: cannot be found ("),
]


@pytest.mark.parametrize(("spoil", "message"), SEEN, ids=[spoil.__name__ for spoil, _ in SEEN])
def test_bad_folders_are_named_in_one_line_when_the_task_is_made(spoil, message, two):
    spoil(*two)
    source, target = two
    with pytest.raises(UserError) as error:
        folders(*two)
    assert str(error.value).startswith(message.format(source=source, target=target))
    assert "\n" not in str(error.value)


def test_a_file_that_may_not_be_read_is_named_when_the_task_is_made(two, monkeypatch):
    path = two[1] / "lamp" / "1.jpg"
    monkeypatch.setattr(image_folders.os, "access", lambda p, mode: p != path or mode != os.R_OK)
    with pytest.raises(UserError, match=rf"{path}: you may not read this file; change its permissions"):
        folders(*two)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no JPEG at all"])
def test_damaged_images_are_named_when_they_are_read(damage, two):
    path = two[0] / "cup" / "0.jpg"
    path.write_bytes(damage(path.read_bytes()))
    task = folders(*two, SMALL)
    with pytest.raises(UserError) as error:
        SourceOnly(task.pair, replace(QUICK, batch_size=9)).step()
    line = str(error.value)
    assert line.startswith(f"{path}: cannot be read (")
    assert line.endswith("; unpack or download it again")
    assert "\n" not in line


def nested(source, target):
    tree(source / "drawings")
    return source, source / "drawings"


def linked(source, target):
    (link := source.parent / "link").symlink_to(source, target_is_directory=True)
    return source, link


@pytest.mark.parametrize(
    ("choose", "says"),
    [
        (lambda source, target: (source, source), "{0} and {1} are the same; give a target of its own"),
        (linked, "{0} and {1} are the same; give a target of its own"),
        (nested, "{0} and {1} are not apart: {1} lies in {0}; give a target of its own"),
        (lambda *two: nested(*two)[::-1], "{0} and {1} are not apart: {0} lies in {1}; give a target of its own"),
    ],
    ids=["same", "linked", "target in source", "source in target"],
)
def test_source_and_target_must_be_apart(choose, says, two):
    chosen = choose(*two)
    with pytest.raises(UserError) as error:
        folders(*chosen)
    assert str(error.value) == says.format(*chosen)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", os.fsdecode(b"caf\xe9"), "a\u2028b"], ids=ascii)
@pytest.mark.parametrize("what", ["class", "image"])
def test_names_that_fit_no_table_are_named_when_the_task_is_made(name, what, two):
    for folder in two:
        if what == "class":
            (folder / "pen").rename(folder / name)
        else:
            picture(folder / "pen" / "more.png").rename(folder / "pen" / f"{name}.png")
    with pytest.raises(UserError) as error:
        folders(*two)
    assert f"{two[0]}{'' if what == 'class' else '/pen'}: a name with control characters, or not in" in str(error.value)
    assert str(error.value).isprintable()


def tiff(path, pixels: np.ndarray, bits: int, kind: int = 1, white: int = 1):
    """A grey TIFF of its 10 tags and the pixels' bytes; kind 2 has a sign; white 0: the lowest value is white."""
    height, width = pixels.shape
    data = pixels.tobytes() if bits != 12 else bytes.fromhex("".join(f"{value:03x}" for value in pixels.flat))
    tags = [
        (256, width), (257, height), (258, bits), (259, 1), (262, white), (273, 134), (277, 1), (278, height),
        (279, len(data)), (339, kind),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data)
    return path


@pytest.mark.parametrize(
    ("kind", "bits"), [("<i4", 32), ("<u4", 32), ("<i2", 16), ("<i1", 8)], ids=["int32", "uint32", "int16", "int8"]
)
def test_integers_of_unknown_range_are_refused(kind, bits, tmp_path):
    path = tiff(tmp_path / "a.tif", (GREY // 2).astype(kind), bits, 2 if "i" in kind else 1)
    says = f"{path}: holds integers with a sign, or of more than 16 bits, of unknown range; save it with 8 or 16 bits"
    with pytest.raises(UserError, match=re.escape(says)):
        Images([path], SMALL)[torch.tensor([0])]


@pytest.mark.parametrize(
    ("bits", "scale", "white"), [(16, 257, 0), (16, 257, 1), (12, 4095 / 255, 1), (8, 1, 0), (8, 1, 1)]
)
def test_grey_of_any_depth_goes_from_black_to_white(bits, scale, white, tmp_path):
    pixels = (GREY.astype(float) * scale).astype("<u2" if bits > 8 else np.uint8)
    x = Images([tiff(tmp_path / "a.tif", pixels, bits, white=white)], Preprocessing(64, 64))[torch.tensor([0])][0]
    expected = torch.from_numpy(GREY).float() / 255
    assert (x - (expected if white else 1 - expected)).abs().max() < 0.01


def test_an_image_with_too_many_pixels_is_named(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(UserError, match=rf"{path}: more than 1,800 pixels; make it smaller"):
        Images([path], SMALL)[torch.tensor([0])]


def test_a_pipe_is_refused_before_anything_waits_for_it(two):
    os.mkfifo(two[0] / "pen" / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png: a folder, a pipe, a socket or a device, not a file; take it away"):
        folders(*two)
    with pytest.raises(UserError, match=r"pipe\.png: a folder, a pipe, a socket or a device, not a file; take it away"):
        Images([two[0] / "pen" / "pipe.png"], SMALL)[torch.tensor([0])]


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: holds floating-point values of unknown range"):
        Images([tmp_path / "a.tif"], SMALL)[torch.tensor([0])]


def test_hidden_files_are_left_out_and_images_found_in_folders_within(two):
    source, target = two
    (source / ".git").mkdir()
    (source / "cup" / ".DS_Store").write_bytes(b"x")
    picture(source / "cup" / "more" / "x.PNG", 7)
    paths = folders(source, target, SMALL).pair.source_train.x.paths
    assert source / "cup" / "more" / "x.PNG" in paths
    assert not any(part.startswith(".") for path in paths for part in path.relative_to(source).parts)


# -- tasks of one's own ------------------------------------------------------------------------------------------------


def test_a_tenth_of_each_class_of_ones_own_source_validates(task):
    pair = task.pair
    assert pair.classes == CLASSES
    assert [len(s) for s in (pair.source_train, pair.source_val, pair.target_train, pair.target_test)] == [
        30,
        6,
        12,
        12,
    ]
    assert pair.source_val.y.bincount().tolist() == [2, 2, 2]  # of twelve: the second and the twelfth
    assert not set(pair.source_train.x.paths) & set(pair.source_val.x.paths)
    for split in (pair.source_train, pair.source_val):
        assert [CLASSES[y] for y in split.y] == [path.parent.name for path in split.x.paths]
    assert [CLASSES[y] for y in task.truth.target_test] == [path.parent.name for path in pair.target_test.x.paths]


def test_files_and_the_same_images_in_memory_give_the_same_features(task):
    run, x = CGDM(task.pair, QUICK, refresh=2), task.pair.target_train.x
    held = x[torch.arange(len(x))]
    for _ in range(3):
        record = run.step()
    assert record.losses["pseudo_ce"] > 0
    assert torch.equal(run.features(x), run.features(held))
    assert all(torch.equal(a, b) for a, b in zip(run.predict(x), run.predict(held), strict=True))
    assert 0 <= pseudo_label_accuracy(run, task) <= 1
    adapted = [adabn(run, samples) for samples in (None, held)]
    assert torch.equal(*(other.features(held) for other in adapted))
    assert not torch.equal(adapted[0].features(held), run.features(held))


def test_statistics_of_many_samples_need_no_more_memory_than_a_chunk(task, monkeypatch):
    run = SourceOnly(task.pair, QUICK)
    whole = adabn(run).features(task.pair.target_train.x)
    monkeypatch.setattr("uda_core.samples.CHUNK", 6 * 3 * 32 * 32)
    sizes = []
    forward = type(run.extractor).forward
    monkeypatch.setattr(type(run.extractor), "forward", lambda net, x: sizes.append(len(x)) or forward(net, x))
    parts = adabn(run).features(task.pair.target_train.x)
    assert max(sizes) == 6
    assert (parts - whole).abs().mean() < 0.2 * whole.std()  # an average over two halves, not the same number


def test_the_ceiling_sees_augmented_target_images(task):
    pair = supervised(task)
    assert pair.source_train.x is task.pair.target_train.x
    draws = [pair.source_train.draw(torch.arange(12), torch.Generator().manual_seed(s))[0] for s in (0, 1)]
    assert not torch.equal(*draws)


def test_poisoned_truth_changes_nothing_that_trains(task, tmp_path):
    noise = torch.randint(3, (12,), generator=torch.Generator().manual_seed(1))
    for name, truth in (("clean", task.truth), ("poisoned", Truth(noise, noise))):
        run = CGDM(Task(task.pair, truth).pair, QUICK, refresh=1)
        for _ in range(3):
            run.step()
        checkpoints.save(run, tmp_path / name)
    assert (tmp_path / "clean").read_bytes() == (tmp_path / "poisoned").read_bytes()


def test_a_run_on_files_goes_on_bit_for_bit(task, tmp_path):
    whole, first, second = (CGDM(task.pair, QUICK, refresh=2) for _ in range(3))
    for _ in range(5):
        whole.step()
    for _ in range(2):
        first.step()
    checkpoints.save(first, tmp_path / "first")
    checkpoints.load(tmp_path / "first", second)
    twin = copy.deepcopy(second)
    for run in (second, twin):
        for _ in range(3):
            run.step()
        checkpoints.save(run, tmp_path / "again")
        checkpoints.save(whole, tmp_path / "whole")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()


# -- the public sets, in their layouts ---------------------------------------------------------------------------------


LAYOUTS = [
    (write_office31, "office31:A-W", [8, 2, 8, 8], "accuracy"),
    (write_office_home, "office-home:A-R", [8, 2, 8, 8], "accuracy"),
    (write_imageclef, "imageclef:I-P", [14, 1, 14, 14], "accuracy"),
    (write_visda2017, "visda2017", [12, 3, 12, 12], "mean_class_accuracy"),
    (write_domainnet, "domainnet:P-R", [344, 344, 345, 345], "accuracy"),
]


@pytest.mark.parametrize(("write", "name", "sizes", "metric"), LAYOUTS, ids=[name for _, name, *_ in LAYOUTS])
def test_each_set_is_found_in_its_real_layout(write, name, sizes, metric, tmp_path):
    write(tmp_path)
    task = load(name, tmp_path)
    pair = task.pair
    assert [len(s) for s in (pair.source_train, pair.source_val, pair.target_train, pair.target_test)] == sizes
    assert (task.name, task.metric) == (name, metric)
    assert task.source_split == "source_val" + ("" if name.startswith("domainnet") else ", part of what trained")


def test_imageclef_is_cropped_at_random_and_the_others_in_the_centre(tmp_path):
    write_imageclef(tmp_path)
    write_visda2017(tmp_path)
    assert load("imageclef:C-I", tmp_path).pair.target_train.x.preprocessing == Preprocessing(random_crop=True)
    assert load("visda2017", tmp_path).pair.target_train.x.preprocessing == Preprocessing(
        256, 224, random_crop=False, flip=0.5
    )


def test_domainnet_numbers_classes_as_its_lists_do(tmp_path):
    write_domainnet(tmp_path)
    task = load("domainnet:R-P", tmp_path)
    assert len(task.pair.classes) == 345
    assert task.pair.classes[300] == "The_Eiffel_Tower"
    assert 327 not in task.truth.target_test
    assert [path.name for path in task.pair.target_test.x.paths[:1]] == ["painting_test.jpg"]


LISTS = [
    ("i/n00_0.JPEG 12", "iList.txt, line 2: label 12, but the 12 classes go from 0 to 11"),
    ("i/n00_0.JPEG -1", "iList.txt, line 2: 'i/n00_0.JPEG -1' is not a path and a label; download the list again"),
    ("i/n00_0.JPEG", "iList.txt, line 2: 'i/n00_0.JPEG' is not a path and a label; download the list again"),
    ("i/gone.JPEG 3", "i/gone.JPEG: cannot be found (No such file or directory)"),
    ("i/n00_0.JPEG 1", "iList.txt: no image of class 2; download the list again"),
]


@pytest.mark.parametrize(("line", "message"), LISTS)
def test_wrong_lists_are_named_with_the_line(line, message, tmp_path):
    write_imageclef(tmp_path)
    file = tmp_path / "imageclef" / "list" / "iList.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], line, lines[1], *lines[3:]]))
    with pytest.raises(UserError) as error:
        load("imageclef:I-P", tmp_path)
    assert message in str(error.value)


def test_lists_that_number_classes_differently_are_refused(tmp_path):
    write_domainnet(tmp_path)
    file = tmp_path / "domainnet" / "painting_test.txt"
    file.write_text(
        file.read_text().replace("b001_", "b001").replace("b001/painting_test.jpg 1", "b001/painting_test.jpg 2")
    )
    with pytest.raises(UserError, match=r"has label 2, which is a002 elsewhere"):
        load("domainnet:R-P", tmp_path)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folders", "message"),
    [
        ("office31", {}, "office31 needs two of its domains, as in office31:A-D; known: A (amazon),"),
        ("office31:A-A", {}, "unknown task 'office31:A-A': office31 needs two of its domains"),
        ("office-home:A-W", {}, "known: A (Art), C (Clipart), P (Product), R (Real World)"),
        ("domainnet:R-X", {}, "known: C (clipart), I (infograph), P (painting), Q (quickdraw), R (real), S (sketch)"),
        ("ofice31:A-W", {}, "Did you mean 'office31'?"),
        ("moons:A-W", {}, "unknown task 'moons:A-W': moons has no domains to choose from"),
        ("folders", {}, "folders needs your own data: give both --source and --target"),
        ("folders", {"source": "."}, "folders needs your own data: give both --source and --target"),
        ("moons", {"source": ".", "target": "."}, "moons brings its own data; --source and --target belong to"),
        ("office31:A-W", {"data": "/"}, "office31: nothing in /office31/amazon/images"),
    ],
)
def test_wrong_names_are_refused_in_one_line(name, folders, message):
    with pytest.raises(UserError) as error:
        load(name, **folders)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_pair_of_domains_is_a_task(monkeypatch):
    asked = []
    monkeypatch.setattr(image_folders, "domainnet", lambda data, name, *domains: asked.append((name, *domains)))
    letters = TASKS["domainnet"].domains
    for s in letters:
        for t in letters:
            if s != t:
                load(f"domainnet:{s}-{t}")
    assert len(set(asked)) == 30
    assert ("domainnet:R-S", "real", "sketch") in asked


# -- Office-31 itself --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not OFFICE31.is_file(), reason=f"no {OFFICE31.name} beside the checkout")
def test_office31(tmp_path):
    with zipfile.ZipFile(OFFICE31) as archive:
        archive.extractall(tmp_path / "office31")
    counts = {"A": 2817, "D": 498, "W": 795}
    for source, target in (("A", "W"), ("W", "D")):
        task = load(f"office31:{source}-{target}", tmp_path)
        assert (len(task.pair.source_train), len(task.pair.target_train)) == (counts[source], counts[target])
        assert len(task.pair.classes) == 31
    run = SourceOnly(task.pair, QUICK)
    run.step()
    assert evaluate(run, task).confusion.sum() == counts["D"]
