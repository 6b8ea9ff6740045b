"""MNIST: handwritten digits, 28x28, in the four files that torchvision reads."""

from .source import File, Source

HOST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SPLITS = {"train": 60_000, "t10k": 10_000}


def _file(name: str, size: int, md5: str) -> File:
    return File(f"{name}.gz", f"{HOST}{name}.gz", size, f"md5:{md5}", {name: f"raw/{name}"})


SOURCE = Source(
    folder="MNIST",
    page="http://yann.lecun.com/exdb/mnist/",
    terms="CC BY-SA 3.0",
    files=(
        _file("train-images-idx3-ubyte", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        _file("train-labels-idx1-ubyte", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        _file("t10k-images-idx3-ubyte", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        _file("t10k-labels-idx1-ubyte", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    most=50_000_000,  # the largest file has 47,040,016 bytes unpacked
    counts={f"raw/{split}-{kind}-ubyte": n for split, n in SPLITS.items() for kind in ("images-idx3", "labels-idx1")},
    note="the page refuses downloads (403): the files are torchvision's copies, the sums are torchvision's",
)
