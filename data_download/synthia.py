"""SYNTHIA-RAND-CITYSCAPES: 9,400 rendered street scenes with a label for every pixel."""

from .source import File, Source

PAGE = "https://synthia-dataset.net/downloads/"
URL = "http://synthia-dataset.cvc.uab.cat/SYNTHIA_RAND_CITYSCAPES.rar"
PARTS = {part: part for part in ("RGB", "GT/LABELS")}
LINK = f"{PAGE}, SYNTHIA-RAND-CITYSCAPES (CVPR16)"

SOURCE = Source(
    folder="synthia",
    page=PAGE,
    terms="CC BY-NC-SA 3.0",
    files=(File("SYNTHIA_RAND_CITYSCAPES.rar", URL, None, unpack=PARTS, by_hand=LINK),),
    most=180_000_000_000,  # 9,400 frames of 1280x760, with depth 18 bytes a pixel at most
    counts={"RGB/*.png": 9_400, "GT/LABELS/*.png": 9_400},
    note="public scripts skip the check of this host's certificate; here it is checked",
)
