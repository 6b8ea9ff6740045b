"""The public data sets in their real layouts and file formats, with a handful of small images each."""

import bz2
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

RNG = np.random.default_rng(0)
CLASSES = ("cup", "lamp", "pen")
GREY, RGB, PALETTE, GREY_ALPHA = 0, 2, 3, 4  # colour types of the PNG standard


# -- one class an image ------------------------------------------------------------------------------------------------


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Path:
    """An image file of smooth random colours, different for each seed."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path)
    return path


def tree(folder: Path, classes=CLASSES, images: int = 4, ending: str = ".jpg") -> Path:
    """A folder with one folder of images per class."""
    for c, name in enumerate(classes):
        for n in range(images):
            picture(folder / name / f"{n}{ending}", 100 * c + n)
    return folder


def write_office31(folder):
    for domain in ("amazon", "dslr", "webcam"):
        tree(folder / "office31" / domain / "images", ("back_pack", "bike"))


def write_office_home(folder):
    for domain in ("Art", "Clipart", "Product", "Real World"):
        tree(folder / "office_home" / domain, ("Alarm_Clock", "Backpack"))


def write_imageclef(folder):
    """Files of all classes in one folder; the list says which is which."""
    for domain in ("i", "p", "c"):
        lines = []
        for label in (*range(12), 3, 3):
            path = picture(folder / "imageclef" / domain / f"n{label:02}_{len(lines)}.JPEG", len(lines))
            lines.append(f"{domain}/{path.name} {label}\n")
        (folder / "imageclef" / "list").mkdir(exist_ok=True)
        (folder / "imageclef" / "list" / f"{domain}List.txt").write_text("".join(lines))


def write_visda2017(folder):
    for split, ending in (("train", ".png"), ("validation", ".jpg")):
        tree(folder / "visda2017" / split, ("aeroplane", "bicycle", "bus"), ending=ending)
        (folder / "visda2017" / split / "image_list.txt").write_text("aeroplane/0.png 0\n")


def write_domainnet(folder, domains=("clipart", "infograph", "painting", "quickdraw", "real", "sketch")):
    """345 classes, not in the order of their names; paintings have no T-shirts."""
    data = picture(folder / "domainnet" / "a.jpg").read_bytes()
    for domain in domains:
        lists = {"train": [], "test": []}
        for label in range(345) if domain in ("real", "painting") else range(2):
            if domain == "painting" and label == 327:
                continue
            name = "The_Eiffel_Tower" if label == 300 else f"{'b' if label % 2 else 'a'}{label:03}"
            for split, lines in lists.items():
                path = folder / "domainnet" / domain / name / f"{domain}_{split}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                lines.append(f"{domain}/{name}/{path.name} {label}\n")
        for split, lines in lists.items():
            (folder / "domainnet" / f"{domain}_{split}.txt").write_text("".join(lines))


# -- road scenes -------------------------------------------------------------------------------------------------------


def write_png(path: Path, samples, colour: int, bits: int = 8) -> Path:
    """A PNG of samples [H, W] or [H, W, channels], chunk by chunk. Its palette maps index i to (255-i, 7i, 3) mod 256.

    Rows alternate between the standard's filters "none" and "up".
    """
    samples = np.asarray(samples)
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(">u2" if bits == 16 else "u1")
    if bits == 4:
        rows = rows[:, ::2] << 4 | rows[:, 1::2]
    raw = np.frombuffer(rows.tobytes(), np.uint8).reshape(height, -1)
    lines = (
        b"\x02" + (raw[i] - raw[i - 1]).tobytes() if i % 2 else b"\x00" + raw[i].tobytes() for i in range(height)
    )  # fmt: skip
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    if colour == PALETTE:
        chunks.append((b"PLTE", bytes(v % 256 for i in range(2**bits) for v in (255 - i, 7 * i, 3))))
    chunks += [(b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )
    return path


def write_jpeg(path: Path, grey: list[list[int]]) -> Path:
    """A baseline JPEG of flat 8x8 blocks, one grey value each, marker by marker.

    The one quantisation step is 8, so that a block's DC coefficient is its grey value - 128. The Huffman code of a DC
    category is the category in 4 bits; the one AC symbol, end of block, is a 0.
    """
    bits, last = "", 128
    for value in (value for row in grey for value in row):
        difference, last = value - last, value
        category = abs(difference).bit_length()
        offset = difference if difference > 0 else difference + 2**category - 1
        bits += f"{category:04b}" + (f"{offset:0{category}b}" if category else "") + "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    segments = [
        (0xDB, bytes([0] + [8] * 64)),
        (0xC0, struct.pack(">BHHB3B", 8, 8 * len(grey), 8 * len(grey[0]), 1, 1, 0x11, 0)),
        (0xC4, bytes([0x00, 0, 0, 0, 9, *[0] * 12, *range(9)])),
        (0xC4, bytes([0x10, 1, *[0] * 15, 0])),
        (0xDA, bytes([1, 1, 0, 0, 63, 0])),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    headers = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    path.write_bytes(b"\xff\xd8" + headers + scan + b"\xff\xd9")
    return path


def ramp(height: int, width: int, first: int = 0) -> np.ndarray:
    """A scene [H, W, 3]: red grows to the right, green downwards, blue numbers it."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([red, green, np.full_like(red, first)], 2).astype(np.uint8)


def blocks(height: int, width: int, ids: list[int]) -> np.ndarray:
    """A label [H, W]: the ids in stripes from left to right."""
    return np.repeat(np.array(ids)[np.arange(width) * len(ids) // width][None], height, 0)


def write_gta5(folder: Path, sizes=((22, 40), (22, 40), (24, 38)), ids=(7, 11, 24, 34)) -> Path:
    for n, size in enumerate(sizes, 1):
        write_png(folder / "images" / f"{n:05d}.png", ramp(*size, n), RGB)
        write_png(folder / "labels" / f"{n:05d}.png", blocks(*size, list(ids)), PALETTE)
    return folder


def write_synthia(folder: Path, images: int = 3, channels: int = 2) -> Path:
    """Class in the first channel, instances and noise in the others, 16 bits each."""
    for n in range(images):
        label = np.stack(
            [blocks(20, 32, [3, 22, 19, 16]), *np.random.default_rng(n).integers(0, 65536, (2, 20, 32))], 2
        )
        write_png(folder / "RGB" / f"{n:07d}.png", ramp(20, 32, n), RGB)
        write_png(
            folder / "GT" / "LABELS" / f"{n:07d}.png", label[..., :channels], {2: GREY_ALPHA, 3: RGB}[channels], 16
        )
    return folder


def write_cityscapes(folder: Path, ids=(0, 26, 29, 33)) -> Path:
    for split, city, n in (("train", "aachen", 3), ("train", "bochum", 1), ("val", "frankfurt", 2)):
        for frame in range(n):
            name = f"{split}/{city}/{city}_{frame:06d}_000019"
            write_png(folder / "leftImg8bit" / f"{name}_leftImg8bit.png", ramp(16, 32, frame), RGB)
            write_png(folder / "gtFine" / f"{name}_gtFine_labelIds.png", blocks(16, 32, list(ids)), GREY)
            write_png(folder / "gtFine" / f"{name}_gtFine_color.png", ramp(16, 32), RGB)
    return folder


def write_camvid(folder: Path, ending: str = "png") -> Path:
    films = {"train": ("0001TP", "0006R0", "0016E5"), "test": ("0001TP", "Seq05VD")}
    for split, names in films.items():
        for name in (f"{film}_{frame:05d}" for film in names for frame in range(3)):
            if ending == "png":
                write_png(folder / split / f"{name}.png", ramp(16, 24), RGB)
            else:
                write_jpeg(folder / split / f"{name}.jpg", [[0, 128, 255], [0, 128, 255]])
            write_png(folder / f"{split}annot" / f"{name}.png", blocks(16, 24, [0, 4, 9, 11]), GREY)
    return folder


# -- digits ------------------------------------------------------------------------------------------------------------


def digits(n, *shape):
    """n images of random bytes, and labels 0, 1, 2 ..."""
    return RNG.integers(256, size=(n, *shape), dtype=np.uint8), np.arange(n) % 10


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
