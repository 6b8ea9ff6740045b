"""Office-31: 31 classes of office objects, from a shop (amazon) and from two cameras (dslr, webcam)."""

from .source import File, Source

IMAGES = {f"{domain}/images": f"{domain}/images" for domain in ("amazon", "dslr", "webcam")}
LINK = "https://drive.google.com/file/d/0B4IapRTv9pJ1WGZVd1VDMmhwdlE/view (the page's link)"

SOURCE = Source(
    folder="office31",
    page="https://people.eecs.berkeley.edu/~jhoffman/domainadapt/",
    terms="no licence stated: research and teaching",
    files=(File("domain_adaptation_images.tar.gz", None, None, unpack=IMAGES, by_hand=LINK),),
    counts={"amazon/images/*/*.jpg": 2_817, "dslr/images/*/*.jpg": 498, "webcam/images/*/*.jpg": 795},
    note="only Google Drive has the archive, and it requires a click in a browser",
)
