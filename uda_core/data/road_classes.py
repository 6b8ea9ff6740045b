"""Class lists and label ids of the road-scene sets, each in one table.

A raw id is the number of a pixel in a label file; a train id is the place of its class in the class list of a task.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from uda_core.samples import IGNORE

UNKNOWN = 254  # train id of a raw id that the set does not have

CITYSCAPES_19 = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "light", "sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_16 = tuple(name for name in CITYSCAPES_19 if name not in ("terrain", "truck", "train"))
CITYSCAPES_13 = tuple(name for name in CITYSCAPES_16 if name not in ("wall", "fence", "pole"))
CAMVID_11 = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip

# Raw id -> class; None: such pixels are ignored. A raw id that is not listed is an error.
CITYSCAPES_IDS = dict.fromkeys(range(34)) | {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "light", 20: "sign",
    21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus",
    31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
GTA5_IDS = CITYSCAPES_IDS | {34: None}  # licence plates, which Cityscapes does not draw
SYNTHIA_IDS = dict.fromkeys(range(23)) | {  # 22 is lane marking: ignored here, road in some other loaders
    1: "sky", 2: "building", 3: "road", 4: "sidewalk", 5: "fence", 6: "vegetation", 7: "pole", 8: "car", 9: "sign",
    10: "person", 11: "bicycle", 12: "motorcycle", 15: "light", 16: "terrain", 17: "rider", 18: "truck", 19: "bus",
    20: "train", 21: "wall",
}  # fmt: skip
CAMVID_IDS = dict(enumerate(CAMVID_11)) | {11: None}

# Class -> class of another list; a class that is not listed is ignored.
CITYSCAPES_TO_CAMVID = {
    "sky": "sky", "building": "building", "wall": "building", "pole": "pole", "road": "road", "sidewalk": "pavement",
    "vegetation": "tree", "light": "sign", "sign": "sign", "fence": "fence", "car": "car", "truck": "car", "bus": "car",
    "person": "pedestrian", "rider": "bicyclist", "bicycle": "bicyclist", "motorcycle": "bicyclist",
}  # fmt: skip
CAMVID_TO_STREETS = {
    "sky": "sky", "building": "building", "road": "road", "pavement": "sidewalk", "tree": "vegetation", "car": "car",
    "pedestrian": "person", "pole": "pole",
}  # fmt: skip


def train_ids(
    ids: Mapping[int, str | None],
    classes: Sequence[str],
    rename: Mapping[str, str] | None = None,
) -> np.ndarray:
    """A table uint8 [65536]: the train id of every 16-bit raw id, `IGNORE` or, where the set has no such id, `UNKNOWN`.

    Args:
        ids: raw id -> class of the set, or None.
        classes: those of the task; other classes of the set are ignored.
        rename: class of the set -> class of the task; None: the two use the same names.
    """
    table = np.full(2**16, UNKNOWN, np.uint8)
    for raw, name in ids.items():
        name = name if rename is None else rename.get(name)
        table[raw] = classes.index(name) if name in classes else IGNORE
    return table
