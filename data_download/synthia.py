"""SYNTHIA-RAND-CITYSCAPES: 9,400 rendered street scenes with labels for every pixel.

No sum is published: recorded on the first run.
"""

from .source import File, Source

SOURCE = Source(
    folder="synthia",
    page="https://synthia-dataset.net/downloads/",
    terms="CC BY-NC-SA 3.0",
    files=(
        File(
            "SYNTHIA_RAND_CITYSCAPES.rar",
            "http://synthia-dataset.cvc.uab.cat/SYNTHIA_RAND_CITYSCAPES.rar",
            None,
            unpack={"RGB": "RGB", "GT/LABELS": "GT/LABELS"},
            by_hand="https://synthia-dataset.net/downloads/, SYNTHIA-RAND-CITYSCAPES (CVPR16)",
        ),
    ),
    counts={"RGB/*.png": 9_400, "GT/LABELS/*.png": 9_400},
    note="public scripts skip the check of this host's certificate; here it is checked",
)
