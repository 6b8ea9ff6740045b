"""Office-31: 31 classes of office things from a shop (amazon) and two cameras (dslr, webcam).

No sum is published: recorded on the first run.
"""

from .source import File, Source

DOMAINS = ("amazon", "dslr", "webcam")

SOURCE = Source(
    folder="office31",
    page="https://people.eecs.berkeley.edu/~jhoffman/domainadapt/",
    terms="no licence stated: research and teaching",
    files=(
        File(
            "domain_adaptation_images.tar.gz",
            None,
            None,
            unpack={f"{domain}/images": f"{domain}/images" for domain in DOMAINS},
            by_hand="https://drive.google.com/file/d/0B4IapRTv9pJ1WGZVd1VDMmhwdlE/view (the page's link)",
        ),
    ),
    counts={"amazon/images/*/*.jpg": 2_817, "dslr/images/*/*.jpg": 498, "webcam/images/*/*.jpg": 795},
    note="served by Google Drive only, which wants a click in a browser",
)
