"""MNIST, USPS, SVHN and MNIST-M from files that are written here byte by byte, in the formats of their hosts."""

import bz2
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from set_files import digits, png, write_mnist, write_mnist_m, write_svhn, write_usps

from uda_core.data import digit_files, load
from uda_core.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "data"


def unit(x):
    """Bytes as numbers from -1 to 1, as MCD's code has them: mean and standard deviation of a half."""
    return (np.asarray(x, np.float64) / 255 - 0.5) / 0.5


def enlarged(x, size):
    """[..., h, w] -> [..., size, size], bilinear: pixel centres lie at i + 1/2, beyond the last ones it stays level."""

    def along(length):
        places = (np.arange(size) + 0.5) * length / size - 0.5
        return np.array([np.interp(places, np.arange(length), row) for row in np.eye(length)]).T

    return np.einsum("ih,...hw,jw->...ij", along(x.shape[-2]), x, along(x.shape[-1]))


def framed(x):
    """[..., 16, 16] -> [..., 28, 28]: three pixels of background on each side, then enlarged."""
    return enlarged(np.pad(x, [(0, 0)] * (x.ndim - 2) + [(3, 3)] * 2, constant_values=-1), 28)


# -- the formats -------------------------------------------------------------------------------------------------------


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
    np.testing.assert_allclose(images, framed(unit(x))[:, None], atol=1e-5)
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


@pytest.fixture
def decoded(monkeypatch):
    """The images of MNIST-M that are decoded, by name, as long as the test runs."""
    names, decode = [], digit_files._decoded
    monkeypatch.setattr(digit_files, "_decoded", lambda file: names.append(file.name) or decode(file))
    return names


def other_pixels(folder):
    (folder / "00000003.png").write_bytes(png(np.zeros((32, 32, 3), np.uint8)))


def other_time(folder):
    os.utime(folder / "00000003.png", (1, 1))


def one_more(folder):
    (folder / "00000012.png").write_bytes(png(np.zeros((32, 32, 3), np.uint8)))
    with (folder.parent / "mnist_m_train_labels.txt").open("a") as file:
        file.write("00000012.png 4\n")


def other_order(folder):
    file = folder.parent / "mnist_m_train_labels.txt"
    file.write_text("\n".join(reversed(file.read_text().splitlines())))


def flipped(folder):
    kept = folder.with_name("mnist_m_train_32x32.npz")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)


def cut_short(folder):
    kept = folder.with_name("mnist_m_train_32x32.npz")
    kept.write_bytes(kept.read_bytes()[:-1000])


def of_others(folder):
    np.savez(folder.with_name("mnist_m_train_32x32.npz"), images=np.zeros((12, 32, 32, 3), np.uint8))


def folder_in_its_place(folder):
    folder.with_name("mnist_m_train_32x32.npz").unlink()
    folder.with_name("mnist_m_train_32x32.npz").mkdir()


@pytest.mark.parametrize(
    "change",
    [other_pixels, other_time, one_more, other_order, flipped, cut_short, of_others, folder_in_its_place],
    ids=lambda change: change.__name__,
)
def test_mnist_m_is_decoded_once_until_it_changes(change, decoded, tmp_path):
    x, y = digits(12, 32, 32, 3)
    write_mnist_m(tmp_path, "train", x, y)
    first = digit_files.mnist_m(tmp_path, "train")
    assert len(decoded) == 12
    again = digit_files.mnist_m(tmp_path, "train")
    assert len(decoded) == 12
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    change(tmp_path / "mnist_m" / "mnist_m_train")
    images, labels = digit_files.mnist_m(tmp_path, "train")
    assert len(decoded) >= 24
    for kept in tmp_path.glob("mnist_m/*.npz"):
        kept.rmdir() if kept.is_dir() else kept.unlink()
    fresh, fresh_labels = digit_files.mnist_m(tmp_path, "train")
    assert images.equal(fresh)
    assert labels.equal(fresh_labels)


def test_mnist_m_needs_no_folder_that_can_be_written_to(decoded, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digit_files, "write_whole", full)
    write_mnist_m(tmp_path, "train", *digits(12, 32, 32, 3))
    first, again = (digit_files.mnist_m(tmp_path, "train")[0] for _ in range(2))
    assert first.equal(again)
    assert len(decoded) == 24
    assert not list(tmp_path.glob("mnist_m/*.npz*"))


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
            expected = unit(pixels) if domain == "mnist" else framed(unit(pixels))
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
    np.testing.assert_allclose(images[:, 0], framed(unit(x)), atol=1e-5)
    assert labels.bincount().tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]


def test_real_usps_lies_in_mnist_s_frame(real, tmp_path):
    """The padding's reason needs no label: stretched to 28, the mean images lie three times as far apart."""
    for name, write in (("mnist", write_mnist), ("usps", write_usps)):
        write(tmp_path, "test", real(name)["test_images"], real(name)["test_labels"])
    mnist, usps = (read(tmp_path, "test")[0].mean(0).numpy() for read in (digit_files.mnist, digit_files.usps))
    stretched = enlarged(unit(real("usps")["test_images"]).mean(0), 28)

    def distance(x):
        return np.sqrt(((x - mnist) ** 2).mean())

    assert distance(usps) < distance(stretched) / 3
