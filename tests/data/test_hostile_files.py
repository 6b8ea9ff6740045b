"""Files, folders and arguments that mean harm or make no sense: a right result, or one line that names the file."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from set_files import picture, tree

from uda_core.data import feature_files, load
from uda_core.data.image_folders import Images, Preprocessing, folders, from_list
from uda_core.errors import UserError

N, SMALL = 12, Preprocessing(8, 8)
X, Y = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32), np.arange(N) % 3
NAMES = np.array(["bike", "mug", "pen"])


def refused(call, *args, names: Path | str = "", says: str = "") -> None:
    """The call raises a `UserError` of one line, which can be printed, names the file and says this."""
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 600, message
    assert str(names) in message
    assert says in message


def written(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture
def target(tmp_path):
    """A sound file of features."""
    return written(tmp_path / "target.npz", features=X, labels=Y)


@pytest.fixture
def two(tmp_path):
    """Source and target folders of three classes with two images each."""
    return tree(tmp_path / "photos", images=2), tree(tmp_path / "drawings", images=2)


# -- arrays ------------------------------------------------------------------------------------------------------------


def beyond(kind, value):
    x = X.astype(kind)
    x[-1, -1] = value
    return x


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "g", ">f2", ">f4", ">f8", ">g"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_features_of_every_float_and_order(kind, order, tmp_path, target):
    x = np.asarray(X.astype(kind), order=order)
    source = written(tmp_path / "source.npz", features=x, labels=Y)
    task = feature_files.load(source, target)
    assert task.pair.source_train.x.equal(torch.from_numpy(x.astype(np.float32)[[0, 1, 2, *range(6, 12)]]))


FEATURES = {
    "complex64": X.astype(np.complex64),
    "complex256": X.astype(np.clongdouble),
    "bool": X > 0,
    "int8": X.astype(np.int8),
    "uint64": X.astype(np.int64).astype(np.uint64),
    "datetime": X.astype(np.int64).astype("M8[s]"),
    "timedelta": X.astype(np.int64).astype("m8[s]"),
    "text": X.astype("U8"),
    "bytes": X.astype("S8"),
    "objects": X.astype(object),
    "structured": np.zeros(N, [("a", "f4"), ("b", "f4")]),
    "void": np.zeros((N, 4), "V4"),
    "0-d": np.float32(1),
    "1-d": X[:, 0],
    "3-d": X[:, None],
    "no samples": X[:0],
    "no columns": X[:, :0],
    "NaN": beyond("f4", np.nan),
    "infinity": beyond("f2", np.inf),
    "minus infinity": beyond("f8", -np.inf),
    "1e300": beyond("f8", 1e300),
    "1e4000": beyond("g", np.finfo(np.longdouble).max),
}


@pytest.mark.parametrize("x", FEATURES.values(), ids=FEATURES)
def test_features_that_are_none(x, tmp_path, target):
    source = written(tmp_path / "source.npz", features=x, labels=Y)
    refused(feature_files.load, source, target, names=source)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", ">i4", ">u8"])
def test_labels_of_every_whole_number(kind, tmp_path, target):
    source = written(tmp_path / "source.npz", features=X, labels=Y.astype(kind))
    pair = feature_files.load(source, target).pair
    assert pair.source_train.y.tolist() == Y[[0, 1, 2, *range(6, 12)]].tolist()
    assert pair.classes == ("0", "1", "2")


LABELS = {
    "bool": Y > 0,
    "whole floats": Y.astype(float),
    "halves": Y + 0.5,
    "complex": Y.astype(complex),
    "text": Y.astype(str),
    "bytes": Y.astype("S"),
    "objects": Y.astype(object),
    "datetime": Y.astype("M8[s]"),
    "structured": np.zeros(N, [("y", "i8")]),
    "0-d": np.int64(1),
    "column": Y[:, None],
    "row": Y[None],
    "one-hot": np.eye(3, dtype=int)[Y],
    "none": Y[:0],
    "one fewer": Y[1:],
    "one more": np.arange(N + 1) % 3,
    "negative": Y - 1,
    "2**63": Y.astype(np.uint64) + 2**63,
    "2**64 - 1": np.uint64(2**64 - 1) - Y.astype(np.uint64),
    "2**63 - 1": np.int64(2**63 - 1) - Y,
    "ids": Y * 10**9,
    "from 1": Y + 1,
    "from 7": Y + 7,
    "gaps": 2 * Y,
    "one class": 0 * Y,
    "one sample each": np.arange(N),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_labels_that_are_no_classes(y, tmp_path, target):
    source = written(tmp_path / "source.npz", features=X, labels=y)
    refused(feature_files.load, source, target, names=source)


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b", "c"],
        ["", "b", "c"],
        ["é", "\U0001f9d1\u200d\U0001f373", "日本"],
        ["a" * 500, "=1+1", "'"],
        ["-", "b c", "pen\0"],
    ],
    ids=["letters", "empty", "unicode", "long", "odd"],
)
def test_names_of_classes_that_stay_as_they_are(names, tmp_path, target):
    source = written(tmp_path / "source.npz", features=X, labels=Y, classes=np.array(names))
    assert list(feature_files.load(source, target).pair.classes) == [name.rstrip("\0") for name in names]


CLASSES = {
    "bytes": NAMES.astype("S"),
    "numbers": np.arange(3),
    "objects": NAMES.astype(object),
    "0-d": np.array("bike"),
    "2-d": NAMES[None],
    "none": NAMES[:0],
    "one fewer": NAMES[:2],
    "one more": np.array([*NAMES, "rug"]),
    "twice": np.array(["bike", "mug", "bike"]),
    **{repr(bad): np.array(["bike", "mug", f"p{bad}n"]) for bad in "\0\t\n\r\x1b\x7f\x85\u2028\u2029\ud800\udcff"},
}


@pytest.mark.parametrize("names", CLASSES.values(), ids=CLASSES)
def test_names_of_classes_that_are_none(names, tmp_path, target):
    source = written(tmp_path / "source.npz", features=X, labels=Y, classes=names)
    refused(feature_files.load, source, target, names=source)


FILES = np.array([f"{i}.png" for i in range(N)])
PATHS = {
    "one fewer": FILES[1:],
    "one more": np.array([*FILES, "more.png"]),
    "numbers": np.arange(N),
    "bytes": FILES.astype("S"),
    "objects": FILES.astype(object),
    "column": FILES[:, None],
    "0-d": np.array("a.png"),
    "new line": np.char.add(FILES, "\n.png"),
    "not UTF-8": np.char.add(FILES, "\udce9.png"),
}


@pytest.mark.parametrize("paths", PATHS.values(), ids=PATHS)
def test_paths_that_are_none(paths, tmp_path, target):
    source = written(tmp_path / "source.npz", features=X, labels=Y, paths=paths)
    refused(feature_files.load, source, target, names=source)


# -- archives ----------------------------------------------------------------------------------------------------------


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str, version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode()


def archive(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    """A zip file with these members; `__` stands for a dot, a last `_` for a second one of the same name."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name.rstrip("_").replace("__", "."), content)
    return path


GOOD = {"features__npy": npy(X), "labels__npy": npy(Y)}
SHAPE = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}\n"
ARCHIVES = {
    "no array": {},
    "another name": {"x__npy": npy(X)},
    "names of many lines": {f"{i}\n\n__npy": npy(Y) for i in range(50)},
    "in a folder": {"a/features__npy": npy(X), "a/labels__npy": npy(Y)},
    "text": GOOD | {"features__npy": b"features"},
    "text without ending": {"features": b"features", "labels__npy": npy(Y)},
    "labels of text": {"features__npy": npy(X), "labels": b"0 1 2"},
    "empty member": GOOD | {"features__npy": b""},
    "twice": GOOD | {"features__npy_": npy(X + 1)},
    "labels twice": GOOD | {"labels__npy_": npy(Y)},
    "with and without ending": GOOD | {"features": npy(X + 1)},
    "unknown version": GOOD | {"features__npy": header(SHAPE % "(12, 4)", b"\x09\0")},
    "no data": GOOD | {"features__npy": header(SHAPE % "(12, 4)")},
    "too few data": GOOD | {"features__npy": header(SHAPE % "(12, 4)") + bytes(100)},
    "negative": GOOD | {"features__npy": header(SHAPE % "(-12, 4)") + bytes(192)},
    "10**15 numbers": GOOD | {"features__npy": header(SHAPE % "(10**15, 4)") + bytes(192)},
    "1000000000000000 numbers": GOOD | {"features__npy": header(SHAPE % "(1000000000000000, 4)") + bytes(192)},
    "2**80 numbers": GOOD | {"features__npy": header(SHAPE % f"({2**40}, {2**40})") + bytes(192)},
    "no shape": GOOD | {"features__npy": header("{}\n")},
    "code": GOOD | {"features__npy": header("__import__('os').abort()\n")},
    "deep": GOOD | {"features__npy": header("(" * 5000 + ")" * 5000 + "\n")},
    "pickle": GOOD | {"features__npy": b"\x80\x04cos\nabort\n(tR."},
}


@pytest.mark.parametrize("members", ARCHIVES.values(), ids=ARCHIVES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_hold_no_features(members, tmp_path, target):
    source = archive(tmp_path / "source.npz", **members)
    refused(feature_files.load, source, target, names=source)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_of_every_compression(compression, tmp_path, target):
    source = archive(tmp_path / "source.npz", compression, **GOOD, notes__txt=b"taken in May")
    assert feature_files.load(source, target).pair.source_train.x.shape == (9, 4)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_archives_cut_short(share, target):
    content = target.read_bytes()
    target.write_bytes(content[: int(share * len(content))])
    refused(feature_files.read, target, names=target)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.6])
def test_archives_with_a_wrong_bit(share, target):
    content = bytearray(target.read_bytes())
    content[int(share * len(content))] ^= 4
    target.write_bytes(content)
    refused(feature_files.read, target, names=target)


def bound(path):
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path has up to 107 characters
        server.bind(path.name)
        os.chdir(before)


NO_FILES = {
    "nothing": lambda path: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "socket": bound,
    "broken link": lambda path: path.symlink_to(path.parent / "nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_holds_no_features(make, tmp_path, target):
    make(path := tmp_path / "source.npz")
    refused(feature_files.load, path, target, names=path)
    refused(feature_files.load, target, path, names=path)


def test_a_file_of_features_may_be_named_by_text(tmp_path, target):
    source = written(tmp_path / "source.npz", features=X, labels=Y)
    assert load("features", None, str(source), str(target)).name == "features:source-target"


def test_what_needs_more_than_the_free_memory_is_not_unpacked(target, monkeypatch):
    monkeypatch.setattr(feature_files, "_free_memory", lambda: 600.0)
    refused(feature_files.read, target, names=target, says="needs 0.0 GiB of memory, but 0.0 GiB are free")


# -- images ------------------------------------------------------------------------------------------------------------


def first_of(path: Path) -> torch.Tensor:
    return Images([path], SMALL)[torch.tensor([0])][0]


KINDS = ["png", "jpeg", "bmp", "tiff", "webp", "gif", "ppm"]


def saved(kind: str, size: tuple[int, int] = (48, 40)) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), kind)
    return buffer.getvalue()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_images_cut_short(kind, share, tmp_path):
    content = saved(kind)
    (path := tmp_path / "a.png").write_bytes(content[: int(share * len(content))])
    refused(first_of, path, names=path, says="; unpack or download it again")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_the_content_counts_not_the_ending(kind, ending, tmp_path):
    (path := tmp_path / f"a.{ending}").write_bytes(saved(kind))
    expected = Image.open(path).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    images = Images([path], SMALL)
    images.draft = None  # which JPEGs have, whatever they are called
    x = images[torch.tensor([0])][0]
    assert (255 * x - torch.from_numpy(np.array(expected)).permute(2, 0, 1)).abs().max() < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3), (8, 8)])
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif"])
def test_images_of_odd_sizes(kind, size, tmp_path):
    (path := tmp_path / "a.png").write_bytes(saved(kind, size))
    x = Images([path], Preprocessing(36, 32, random_crop=True)).draw(torch.zeros(8, dtype=int))
    assert x.shape == (8, 3, 32, 32)
    assert 0 <= x.min() <= x.max() <= 1


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, rows: bytes = b"\0\0\0\0") -> bytes:
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURES = {
    "0 x 0": png_of(0, 0),
    "0 x 5": png_of(0, 5),
    "5 x 0": png_of(5, 0),
    "0 x 0 ppm": b"P6 0 0 255\n",
    "0 x 0 bmp": saved("bmp")[:18] + bytes(8) + saved("bmp")[26:],
    "0 x 0 gif": b"GIF89a" + bytes(7) + b",\0\0\0\0\0\0\0\0\0\2\0;",
    "no rows": png_of(4, 4, b""),
    "60000 x 60000": png_of(60_000, 60_000),
    "2**31 - 1 squared": png_of(2**31 - 1, 2**31 - 1),
    "10**9 x 10**9 ppm": b"P6 1000000000 1000000000 255\n" + bytes(100),
    "text": b"taken in May",
    "a page": b"<!DOCTYPE html><title>404 Not Found</title>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n",
    "npz": npy(X),
    "signature": b"\x89PNG\r\n\x1a\n",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("content", PICTURES.values(), ids=PICTURES)
def test_what_is_no_image(content, tmp_path):
    (path := tmp_path / "a.png").write_bytes(content)
    refused(first_of, path, names=path)


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_no_image(make, tmp_path):
    make(path := tmp_path / "a.png")
    refused(first_of, path, names=path)


@pytest.mark.parametrize("wrong", [[2, 7, 1], [-9]])
def test_samples_that_are_not_there(wrong, tmp_path):
    with pytest.raises(IndexError):
        Images([picture(tmp_path / "a.png")], SMALL)[torch.tensor(wrong)]


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NO_FILES if name not in ("nothing", "folder")])
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_no_file_is_named_when_the_task_is_made(name, which, two):
    NO_FILES[name](path := two[which] / "pen" / "a.png")
    refused(folders, *two, names=path)


FOLDERS = {
    "a file": lambda source, target: (source / "cup" / "0.jpg", target),
    "nothing": lambda source, target: (source / "nothing", target),
    "broken link": lambda source, target: (make_link(source.parent / "link", source / "nothing"), target),
    "link to itself": lambda source, target: (make_link(source.parent / "link", source.parent / "link"), target),
    "the same": lambda source, target: (source, source),
    "the same by dots": lambda source, target: (source, source / "cup" / ".."),
    "the same by a link": lambda source, target: (source, make_link(source.parent / "link", source)),
    "one in the other": lambda source, target: (source, source / "cup"),
    "one in the other by a link": lambda source, target: (make_link(source.parent / "link", source / "cup"), source),
    "the one above": lambda source, target: (source, source.parent),
}


def make_link(link, to):
    link.symlink_to(to, target_is_directory=True)
    return link


@pytest.mark.parametrize("choose", FOLDERS.values(), ids=FOLDERS)
def test_folders_that_are_no_domains(choose, two):
    source, target = choose(*two)
    refused(folders, source, target, names=source if choose is not FOLDERS["the one above"] else target)
    refused(folders, target, source, names=source)


@pytest.mark.parametrize("name", ["\n", "\t", "\x1b[31m", "\x7f", "\u2028", os.fsdecode(b"\xff\xfe")], ids=ascii)
@pytest.mark.parametrize("place", ["{0}", "{0}.png", "pen/{0}/a.png", "pen/{0}.png"])
def test_names_that_fit_no_table(name, place, two):
    for folder in two:
        path = folder / place.format(f"a{name}")
        picture((path if "pen" in place else path / "a") / "0.png")
    refused(folders, *two, names=two[0], says="rename it")


def test_folders_of_one_class_or_one_image_each(two, tmp_path):
    refused(folders, tree(tmp_path / "one", ["cup"]), tree(tmp_path / "other", ["cup"]), names="one-other")
    refused(folders, one := tree(tmp_path / "few", images=1), two[1], names=one, says="no class has two samples")


def test_folders_may_be_deep_and_named_by_text(two):
    source, target = two
    picture(source / "cup" / Path(*["a"] * 200) / "b.png")
    (target / "cup" / "c.png").mkdir()  # a folder with the name of an image
    picture(target / "cup" / "c.png" / "d.png")
    pair = load("folders", None, str(source), str(target)).pair
    assert len(pair.source_train) + len(pair.source_val) == 7
    assert len(pair.target_train) == 7


LISTS = {
    "no label": "a.png",
    "no number": "a.png cup",
    "negative": "a.png -1",
    "a fraction": "a.png 0.5",
    "superscript": "a.png ²",
    "too large": "a.png 2",
    "of 5000 digits": "a.png " + "9" * 5000,
    "not there": "b.png 0",
    "no image": "list.txt 0",
    "a NUL": "a\0.png 0",
    "empty": "",
}


@pytest.mark.parametrize("line", LISTS.values(), ids=LISTS)
def test_lists_with_a_wrong_line(line, tmp_path):
    picture(tmp_path / "a.png")
    (path := tmp_path / "list.txt").write_text(line)
    refused(from_list, path, tmp_path, 2, names=tmp_path)


def test_lists_that_are_no_text(tmp_path):
    (path := tmp_path / "list.txt").write_bytes(b"\xff\xfe\0")
    refused(from_list, path, tmp_path, 2, names=path)
    refused(from_list, tmp_path, tmp_path, 2, names=tmp_path)


CALLS = {
    "": "unknown task ''",
    "moon": "Did you mean 'moons'?",
    "moons:A-B": "moons has no domains to choose from",
    "office31": "office31 needs two of its domains",
    "office31:A-A": "office31 needs two of its domains",
    "office31:A-W-D": "office31 needs two of its domains",
    "office31:A-W": "get it with: uda download office31",
    "folders": "give both --source and --target",
    "../../etc/passwd": "unknown task",
}


@pytest.mark.parametrize("name", CALLS)
def test_names_that_are_no_tasks(name, tmp_path):
    refused(load, name, tmp_path, says=CALLS[name])
    refused(load, name or "x", tmp_path / "nowhere", says="" if name != "office31:A-W" else "no such folder")


# -- what could fill the memory or wait for ever: in a process that may take little of either --------------------------


def bomb(path: Path, gib: int) -> None:
    """An .npz file of half a megabyte and zeros: one flushed block of 64 MiB, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**26)) + packer.flush(zlib.Z_FULL_FLUSH)
    start = header(SHAPE % f"({gib * 2**20}, 256)")
    first = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = first.compress(start) + first.flush(zlib.Z_FULL_FLUSH) + block * (16 * gib) + b"\3\0"
    sizes = (0, len(data), len(start) + gib * 2**30, 12, 0)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, *sizes) + b"features.npy"
    central = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes, 0, 0, 0, 0, 0) + b"features.npy"
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    path.write_bytes(local + data + central + end)


DANGERS = {
    "bomb.npz": "grows from",
    "ids.npz": "labels run from 0 to 2000000000, but none is 1, 2, 3, 4, 5",
    "shape.npz": "cannot be read (",
    "large.png": "more than 178,956,970 pixels; make it smaller",
    "pipe.png": "a folder, a pipe, a socket or a device, not a file",
    "pipe.npz": "no such file",
    "zero.png": "a folder, a pipe, a socket or a device, not a file",
}
CODE = """
import json, resource, sys
from pathlib import Path
import torch
from uda_core.data import feature_files
from uda_core.data.image_folders import Images, Preprocessing
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
feature_files._free_memory = lambda: float("inf")
found, folder = {}, Path(sys.argv[1])
for name in sys.argv[2:]:
    try:
        if name.endswith("npz"):
            feature_files.load(folder / name, folder / "good.npz")
        else:
            Images([folder / name], Preprocessing(8, 8))[torch.tensor([0])]
        found[name] = "read"
    except Exception as error:
        found[name] = f"{type(error).__name__} {error}"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def survived(tmp_path_factory):
    """What comes of each danger in a process that may take one GiB more than its imports, and a minute."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("limits the memory as Linux does")
    folder = tmp_path_factory.mktemp("dangers")
    bomb(folder / "bomb.npz", 3)
    written(folder / "good.npz", features=X, labels=Y)
    written(folder / "ids.npz", features=X, labels=Y * 10**9)
    archive(folder / "shape.npz", **GOOD | {"features__npy": header(SHAPE % f"({2**28}, 16)") + bytes(10)})
    (folder / "large.png").write_bytes(png_of(60_000, 60_000))
    for name in ("pipe.png", "pipe.npz"):
        os.mkfifo(folder / name)
    (folder / "zero.png").symlink_to("/dev/zero")
    command = [sys.executable, "-c", CODE, folder, *DANGERS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("name", DANGERS)
def test_nothing_fills_the_memory_or_waits(name, survived):
    folder, found = survived
    assert found[name].startswith(f"UserError {folder / name}: ")
    assert DANGERS[name] in found[name]
    assert found[name].isprintable()
