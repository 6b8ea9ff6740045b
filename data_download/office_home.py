"""Office-Home: 65 classes of things of office and home, as art, clipart, products of shops, and photographs."""

from .source import File, Source

DOMAINS = {"Art": 2_427, "Clipart": 4_365, "Product": 4_439, "Real World": 4_357}
LINK = "https://drive.google.com/file/d/0B81rNlvomiwed0V1YUxQdC1uOTg/view (the page's link)"
MD5 = "md5:b1c14819770c4448fd5b6d931031c91c"
PARTS = {domain: domain for domain in DOMAINS}

SOURCE = Source(
    folder="office_home",
    page="https://www.hemanthdv.org/officeHomeDataset.html",
    terms="non-commercial research (fair use of the images)",
    files=(File("OfficeHomeDataset_10072016.zip", None, None, MD5, unpack=PARTS, by_hand=LINK),),
    most=5_000_000_000,  # 15,588 images
    counts={f"{domain}/*/*.jpg": n for domain, n in DOMAINS.items()},
    note="only Google Drive has the archive, and it requires a click in a browser; the sum is that of public loaders",
)
