"""ImageCLEF-DA: 12 classes that ImageNet (i), Pascal (p) and Caltech-256 (c) share, 600 images of each of the three."""

from .source import File, Source

PARTS = {part: part for part in ("i", "p", "c", "list")}
LINK = "https://drive.google.com/file/d/0B9kJH0-rJ2uRS3JILThaQXJhQlk/view (save it under the name below)"

SOURCE = Source(
    folder="imageclef",
    page="https://www.imageclef.org/2014/adaptation",
    terms="research and teaching",
    files=(File("image_CLEF.zip", None, None, unpack=PARTS, by_hand=LINK),),
    most=1_000_000_000,  # 1,800 photographs
    counts={"list/iList.txt": 600, "list/pList.txt": 600, "list/cList.txt": 600},
    also=("i/*", "p/*", "c/*"),
    note="the page of the challenge no longer offers it: the archive is that of CDAN's authors, on Google Drive",
)
