"""MNIST, USPS, SVHN and MNIST-M from files that are written here byte by byte, in the formats of their hosts."""

import bz2
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from uda_core import __main__ as cli
from uda_core.data import digit_files, load
from uda_core.errors import UserError
from uda_core.lab.benchmarks import accuracy

SHARED = Path(__file__).parents[2] / "shared" / "data"
RNG = np.random.default_rng(0)


def digits(n, *shape):
    """n images of random bytes, and labels 0, 1, 2 ..."""
    return RNG.integers(256, size=(n, *shape), dtype=np.uint8), np.arange(n) % 10


def unit(x):
    """Bytes as numbers from -1 to 1, as MCD's code has them: mean and standard deviation of a half."""
    return (np.asarray(x, np.float64) / 255 - 0.5) / 0.5


def enlarged(x, size):
    """[..., h, w] -> [..., size, size], bilinear: pixel centres lie at i + 1/2, beyond the last ones it stays level."""

    def along(length):
        places = (np.arange(size) + 0.5) * length / size - 0.5
        return np.array([np.interp(places, np.arange(length), row) for row in np.eye(length)]).T

    return np.einsum("ih,...hw,jw->...ij", along(x.shape[-2]), x, along(x.shape[-1]))


# -- the formats -------------------------------------------------------------------------------------------------------


def write_mnist(data, split, x, y, magic=(0x803, 0x801), declared=None):
    """IDX: a magic number (type 8, unsigned byte; dimensions), the sizes, big-endian, then the bytes."""
    folder = data / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    name = {"train": "train", "test": "t10k"}[split]
    images = folder / f"{name}-images-idx3-ubyte"
    labels = folder / f"{name}-labels-idx1-ubyte"
    images.write_bytes(struct.pack(">4I", magic[0], declared or len(x), *x.shape[1:]) + x.tobytes())
    labels.write_bytes(struct.pack(">2I", magic[1], len(y)) + bytes(y.tolist()))
    return images, labels


def write_usps(data, split, x, y):
    """LIBSVM's text: label from 1, then `place:value`, places from 1, values from -1 to 1, in the middle of a step."""
    values = np.where(x == 255, 1.0, 2 * (x.reshape(len(x), -1) + 0.5).reshape(x.shape) / 255 - 1)
    rows = values.reshape(len(x), -1).tolist()
    lines = [
        f"{label + 1} " + " ".join(f"{i}:{v:.6f}" for i, v in enumerate(row, 1))
        for label, row in zip(y.tolist(), rows, strict=True)
    ]
    path = data / "usps" / {"train": "usps.bz2", "test": "usps.t.bz2"}[split]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))
    return path


def write_svhn(data, split, x, y):
    """MATLAB 5: X [32, 32, 3, N], y [N, 1] from 1 to 10, where 10 is the digit 0."""
    path = data / "svhn" / f"{split}_32x32.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"X": x.transpose(1, 2, 3, 0), "y": y[:, None].astype(np.uint8)}, do_compression=True)
    return path


def write_mnist_m(data, split, x, y):
    """PNG files, and a list with lines such as `00000000.png 5`."""
    folder = data / "mnist_m" / f"mnist_m_{split}"
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:08}.png" for i in range(len(x))]
    for name, image in zip(names, x, strict=True):
        (folder / name).write_bytes(png(image))
    path = data / "mnist_m" / f"mnist_m_{split}_labels.txt"
    path.write_text("".join(f"{name} {label}\n" for name, label in zip(names, y, strict=True)))
    return path


def png(image):
    """An RGB image [h, w, 3]: signature, header, compressed rows with filter 0, end; each with its checksum."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist(split, tmp_path):
    x, y = digits(12, 28, 28)
    write_mnist(tmp_path, split, x, y)
    images, labels = digit_files.mnist(tmp_path, split)
    np.testing.assert_allclose(images, unit(x)[:, None], atol=1e-6)
    assert images.dtype == torch.float32
    assert labels.tolist() == y.tolist()
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("split", ["train", "test"])
def test_usps(split, tmp_path):
    x, y = digits(12, 16, 16)
    write_usps(tmp_path, split, x, y)
    images, labels = digit_files.usps(tmp_path, split)
    np.testing.assert_allclose(images, enlarged(unit(x), 28)[:, None], atol=1e-5)
    assert images.dtype == torch.float32
    assert labels.tolist() == y.tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_svhn(split, tmp_path):
    x, y = digits(12, 32, 32, 3)
    write_svhn(tmp_path, split, x, np.where(y == 0, 10, y))
    images, labels = digit_files.svhn(tmp_path, split)
    np.testing.assert_allclose(images, unit(x).transpose(0, 3, 1, 2), atol=1e-6)
    assert labels.tolist() == y.tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_m(split, tmp_path):
    x, y = digits(12, 32, 32, 3)
    write_mnist_m(tmp_path, split, x, y)
    images, labels = digit_files.mnist_m(tmp_path, split)
    np.testing.assert_allclose(images, unit(x).transpose(0, 3, 1, 2), atol=1e-6)
    assert labels.tolist() == y.tolist()


def test_tasks_keep_the_target_unlabelled_and_every_split_in_its_place(tmp_path):
    splits = {}
    for n, split in ((40, "train"), (20, "test")):
        splits[split] = {name: digits(n, *shape) for name, shape in (("mnist", (28, 28)), ("usps", (16, 16)))}
        write_mnist(tmp_path, split, *splits[split]["mnist"])
        write_usps(tmp_path, split, *splits[split]["usps"])
    for source, target in (("mnist", "usps"), ("usps", "mnist")):
        task = load(f"{source}-{target}", tmp_path)
        pair = task.pair
        for split, domain, x in (
            ("train", source, pair.source_train.x),
            ("test", source, pair.source_val.x),
            ("train", target, pair.target_train.x),
            ("test", target, pair.target_test.x),
        ):
            pixels = splits[split][domain][0]
            expected = unit(pixels) if domain == "mnist" else enlarged(unit(pixels), 28)
            np.testing.assert_allclose(x, expected[:, None], atol=1e-5)
        assert not hasattr(pair.target_train, "y")
        assert task.truth.target_train.tolist() == splits["train"][target][1].tolist()
        assert (pair.name, pair.classes, task.metric) == (f"{source}-{target}", tuple("0123456789"), "accuracy")


def test_colour_tasks_turn_grey_digits_into_colour_of_32x32(tmp_path):
    grey, y = digits(20, 28, 28)
    colour, _ = digits(20, 32, 32, 3)
    for split in ("train", "test"):
        write_mnist(tmp_path, split, grey, y)
        write_svhn(tmp_path, split, colour, np.where(y == 0, 10, y))
        write_mnist_m(tmp_path, split, colour, y)
    expected = np.repeat(enlarged(unit(grey), 32)[:, None], 3, 1)
    np.testing.assert_allclose(load("svhn-mnist", tmp_path).pair.target_train.x, expected, atol=1e-5)
    np.testing.assert_allclose(load("mnist-mnistm", tmp_path).pair.source_train.x, expected, atol=1e-5)
    assert load("mnist-mnistm", tmp_path).pair.target_test.x.shape == (20, 3, 32, 32)


@pytest.mark.parametrize("name", ["mnist-usps", "usps-mnist"])
def test_table_measures_every_row_with_what_train_would_take(name, tmp_path, monkeypatch):
    for n, split in ((40, "train"), (33, "test")):
        write_mnist(tmp_path, split, *digits(n, 28, 28))
        write_usps(tmp_path, split, *digits(n, 16, 16))
    _, measured, note = accuracy.TABLES[name]
    rows = {row: replace(told, steps=2) for row, told in measured.items()}
    monkeypatch.setitem(accuracy.TABLES, name, (lambda data: load(name, data), rows, note))
    accuracy.main([0], tmp_path / "out.json", name, tmp_path)
    held = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert list(held) == list(measured)
    for row, told in held.items():
        assert {key: value for key, value in told.items() if key != "seeds"} == rows[row].describe(name)
        assert (told["all_settings"]["batch_size"], told["all_settings"]["network"]) == (32, "mcd_digits")
        scores, samples = told["seeds"]["0"], {"score": 33, "train_score": 40, "source_score": 33}
        right = [scores[name] * n for name, n in samples.items()]
        np.testing.assert_allclose(right, np.round(right), atol=3e-3)  # shares of the right splits

    out = tmp_path / "run"
    assert cli.main(["train", "cgdm", name, "--data", str(tmp_path), "--steps", "2", "--out", str(out)]) == 0
    trained = json.loads((out / "settings.json").read_text())
    config = {key: value for key, value in trained["config"].items() if key in held["CGDM (code)"]["all_settings"]}
    assert config | trained["settings"] == held["CGDM (code)"]["all_settings"]
    summary = json.loads((out / "summary.json").read_text())
    assert round(summary["target"]["score"], 4) == held["CGDM (code)"]["seeds"]["0"]["score"]


# -- what is refused ---------------------------------------------------------------------------------------------------


def refusal(loader, data, path):
    with pytest.raises(UserError) as caught:
        loader(data, "train")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_bad_idx_files(tmp_path):
    x, y = digits(12, 28, 28)
    mnist = digit_files.mnist
    images, _ = write_mnist(tmp_path, "train", x, y, magic=(0x804, 0x801))
    assert refusal(mnist, tmp_path, images).startswith("cannot be read (")
    images, _ = write_mnist(tmp_path, "train", x, y, magic=(0xD03, 0x801))  # floats
    assert refusal(mnist, tmp_path, images).startswith("cannot be read (")
    images, _ = write_mnist(tmp_path, "train", x, y, declared=13)
    assert "[13, 28, 28]" in refusal(mnist, tmp_path, images)
    _, labels = write_mnist(tmp_path, "train", x, y, magic=(0x803, 0x803))
    assert refusal(mnist, tmp_path, labels).startswith("cannot be read (")
    _, labels = write_mnist(tmp_path, "train", x, y[:-1])
    assert refusal(mnist, tmp_path, labels) == "11 labels for 12 images; download it again"
    _, labels = write_mnist(tmp_path, "train", x, y + 1)
    assert refusal(mnist, tmp_path, labels).startswith("labels run from 1 to 10, those of digits from 0 to 9")
    images, labels = write_mnist(tmp_path, "train", x, y)
    for path in (labels, images):
        content = path.read_bytes()
        for length in (0, 3, 9, len(content) - 1):
            path.write_bytes(content[:length])
            assert refusal(mnist, tmp_path, path).startswith("cannot be read (")
        path.unlink()
        assert "no such file" in refusal(mnist, tmp_path, path)


def test_bad_usps_files(tmp_path):
    x, y = digits(12, 16, 16)
    path = write_usps(tmp_path, "train", x, y + 1)
    assert refusal(digit_files.usps, tmp_path, path).startswith("labels run from 1 to 10, those of digits")
    path = write_usps(tmp_path, "train", x.repeat(2, 1), y)
    assert refusal(digit_files.usps, tmp_path, path) == "12 labels for 24 images; download it again"
    path = write_usps(tmp_path, "train", x, y)
    content, lines = path.read_bytes(), bz2.decompress(path.read_bytes())
    for bad in (
        b"",
        content[:-20],
        lines,
        bz2.compress(b""),
        bz2.compress(lines[:-30]),
        bz2.compress(lines.replace(b" 7:", b" 7:x", 1)),
    ):
        path.write_bytes(bad)
        refusal(digit_files.usps, tmp_path, path)
    path.unlink()
    assert "no such file" in refusal(digit_files.usps, tmp_path, path)


def test_bad_svhn_files(tmp_path):
    x, y = digits(12, 32, 32, 3)
    path = write_svhn(tmp_path, "train", x, y)
    assert refusal(digit_files.svhn, tmp_path, path) == "labels run from 0 to 9, those of SVHN from 1 to 10"
    path = write_svhn(tmp_path, "train", x, y + 2)
    assert refusal(digit_files.svhn, tmp_path, path) == "labels run from 2 to 11, those of SVHN from 1 to 10"
    path = write_svhn(tmp_path, "train", x, (y + 1)[:-1])
    assert refusal(digit_files.svhn, tmp_path, path) == "11 labels for 12 images; download it again"
    savemat(path, {"images": x})
    assert refusal(digit_files.svhn, tmp_path, path) == "cannot be read ('X'); unpack or download it again"
    path = write_svhn(tmp_path, "train", x, y + 1)
    content = path.read_bytes()
    for bad in (b"", b"MATLAB 7.3 MAT-file", content[:100], content[: len(content) // 2], content[:-200]):
        path.write_bytes(bad)
        assert refusal(digit_files.svhn, tmp_path, path).startswith("cannot be read (")
    path.unlink()
    assert "no such file" in refusal(digit_files.svhn, tmp_path, path)


def test_bad_mnist_m_files(tmp_path):
    x, y = digits(12, 32, 32, 3)
    labels = write_mnist_m(tmp_path, "train", x, y + 1)
    assert refusal(digit_files.mnist_m, tmp_path, labels).startswith("labels run from 1 to 10, those of digits")
    labels = write_mnist_m(tmp_path, "train", x, y)
    image = tmp_path / "mnist_m" / "mnist_m_train" / "00000003.png"
    content = image.read_bytes()
    for bad in (b"", content[:20], content[:200], b"text"):
        image.write_bytes(bad)
        assert refusal(digit_files.mnist_m, tmp_path, image).startswith("cannot be read (")
    image.unlink()
    assert "no such file" in refusal(digit_files.mnist_m, tmp_path, image)
    for bad in ("", "00000001.png\n", "00000001.png one\n"):
        labels.write_text(bad)
        assert refusal(digit_files.mnist_m, tmp_path, labels).startswith("cannot be read (")
    labels.unlink()
    assert "no such file" in refusal(digit_files.mnist_m, tmp_path, labels)


# -- the real ones -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real():
    """A function that gives the arrays of one of the real sets beside the checkout."""

    def arrays(name):
        path = SHARED / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"needs {path.name} in shared/data beside the checkout")
        return np.load(path)

    return arrays


def test_real_mnist(real, tmp_path):
    held = real("mnist")
    x, y = held["test_images"], held["test_labels"]
    write_mnist(tmp_path, "test", x, y)
    images, labels = digit_files.mnist(tmp_path, "test")
    assert images.shape == (10_000, 1, 28, 28)
    np.testing.assert_allclose(images[:, 0], unit(x), atol=1e-6)
    assert labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_real_usps(real, tmp_path):
    held = real("usps")
    x, y = held["test_images"], held["test_labels"]
    write_usps(tmp_path, "test", x, y)
    images, labels = digit_files.usps(tmp_path, "test")
    assert images.shape == (2007, 1, 28, 28)
    np.testing.assert_allclose(images[:, 0], enlarged(unit(x), 28), atol=1e-5)
    assert labels.bincount().tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
