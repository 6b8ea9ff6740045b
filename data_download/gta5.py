"""GTA5 (Playing for Data): 24,966 frames of a game, with a label for every pixel, in ten parts."""

from .source import File, Source

HOST = "https://download.visinf.tu-darmstadt.de/data/from_games/"
GIGABYTES = {  # of the ten parts, as the page gives them
    "images": (5.71, 5.73, 5.72, 5.55, 5.67, 5.31, 5.66, 5.95, 5.74, 5.31),
    "labels": (0.07,) * 10,
}

SOURCE = Source(
    folder="gta5",
    page=HOST,
    terms="non-commercial research",
    files=tuple(
        File(f"{part:02}_{kind}.zip", f"{HOST}data/{part:02}_{kind}.zip", round(size * 1e9), unpack={kind: kind})
        for kind, sizes in GIGABYTES.items()
        for part, size in enumerate(sizes, 1)
    ),
    most=8_000_000_000,  # the largest archive has 5.95 GB, of PNGs
    counts={"images/*.png": 24_966, "labels/*.png": 24_966},
)
