"""VisDA-2017, classification: 12 classes, rendered images (train) and photographs (validation)."""

from .source import File, Source

HOST = "https://csr.bu.edu/ftp/visda17/clf/"

SOURCE = Source(
    folder="visda2017",
    page="https://github.com/VisionLearningGroup/taskcv-2017-public/tree/master/classification",
    terms="non-commercial research",
    files=(
        File("train.tar", f"{HOST}train.tar", 7_698_031_104, unpack={"train": "train"}),
        File("validation.tar", f"{HOST}validation.tar", 1_023_758_336, unpack={"validation": "validation"}),
    ),
    most=10_000_000_000,
    counts={"train/*/*.png": 152_397, "validation/*/*.jpg": 55_388},
    also=("train/image_list.txt", "validation/image_list.txt"),
    note="the page links to http; loaders use https on this host",
)
