"""ImageCLEF-DA: 12 classes that ImageNet (i), Pascal (p) and Caltech-256 (c) share, 600 images of each.

No sum is published: recorded on the first run.
"""

from .source import File, Source

SOURCE = Source(
    folder="imageclef",
    page="https://www.imageclef.org/2014/adaptation",
    terms="research and teaching",
    files=(
        File(
            "image_CLEF.zip",
            None,
            None,
            unpack={part: part for part in ("i", "p", "c", "list")},
            by_hand="https://drive.google.com/file/d/0B9kJH0-rJ2uRS3JILThaQXJhQlk/view (save it under the name below)",
        ),
    ),
    counts={"list/iList.txt": 600, "list/pList.txt": 600, "list/cList.txt": 600},
    also=("i/*", "p/*", "c/*"),
    note="the challenge's page serves it no more: the archive is that of CDAN's authors, on Google Drive",
)
