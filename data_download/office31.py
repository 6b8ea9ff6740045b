"""Office-31: 31 classes of office objects, from a shop (amazon) and from two cameras (dslr, webcam)."""

from .source import File, Source

IMAGES = {f"{domain}/images": f"{domain}/images" for domain in ("amazon", "dslr", "webcam")}
LINK = "https://drive.google.com/file/d/0B4IapRTv9pJ1WGZVd1VDMmhwdlE/view (the page's link)"

MD5 = "md5:1b536d114869a5a8aa4580b89e9758fb"

SOURCE = Source(
    folder="office31",
    page="https://people.eecs.berkeley.edu/~jhoffman/domainadapt/",
    terms="no licence stated: research and teaching",
    files=(File("domain_adaptation_images.tar.gz", None, None, MD5, unpack=IMAGES, by_hand=LINK),),
    most=2_000_000_000,  # 4,110 photographs
    counts={"amazon/images/*/*.jpg": 2_817, "dslr/images/*/*.jpg": 498, "webcam/images/*/*.jpg": 795},
    note="only Google Drive has the archive, and it requires a click in a browser; the sum is that of public loaders",
)
