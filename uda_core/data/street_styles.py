"""The two styles of the drawn streets: a palette for each, and the effects of a camera."""

import numpy as np
from PIL import Image, ImageFilter

CLASSES = ("sky", "building", "road", "sidewalk", "vegetation", "car", "person", "pole")

# role -> class, colours in the rendered style, the same colours in the camera's style
PALETTE = {
    "sky": ("sky", "4fb3f6 58bdf2 6a9cf5 7cc7ff", "9cc6e6 93bce0 a9bfe4 b4d2e8"),
    "cloud": ("sky", "ffffff eef7ff fff4e8", "ebeded d5dce4 efe6db"),
    "wall": ("building", "f6bd60 f28482 84a9e8 f7ede2 b48ae0 f4a261 e5738a",
             "d2ad72 c5827c 8ea3c6 dbd2c5 9c81ae c88c60 af6b75"),
    "roof": ("building", "b5445a 7d4f9e c8553d 5a5f9c", "8d4b56 664d7a a05645 585c7f"),
    "window": ("building", "d8f3ff 9fd8f5 3f6fb0 fff1b8", "99acb7 88acc0 38557c cdc39b"),
    "shop": ("building", "e63970 12b5a6 ffcf3f 3d6fe0", "a74562 298884 c2a047 3b5a9d"),
    "road": ("road", "5b5f8a 636795 545b80", "68697e 646782 68697a"),
    "mark": ("road", "ffffff", "dddcd8"),
    "shadow": ("road", "40446b", "42445c"),
    "walk": ("sidewalk", "f3cfc0 efd9b4 e6cbd8", "c6b0a4 c9bba2 b8a8ae"),
    "curb": ("sidewalk", "ffe9dc", "d4c6bc"),
    "grass": ("vegetation", "7bd35a 93d94e 63c66a", "6ea24f 82a84b 599555"),
    "leaf": ("vegetation", "2fae5f 1f9d74 57b947 3fbf8a", "36814a 327c58 47823e 4b9265"),
    "trunk": ("vegetation", "8a5a44", "6b4d3e"),
    "car": ("car", "ff3b3f ffd23f 2f7cf6 ffffff 00b894 ff7f2a", "9f3539 ccb565 3564ad e0e0e0 217d69 b77347"),
    "glass": ("car", "c4ecff", "849dab"),
    "tyre": ("car", "2b2d42", "262734"),
    "tail": ("car", "c4001d", "ac1321"),
    "head": ("car", "fffbd0", "eeeacb"),
    "skin": ("person", "f6c7a4 c68a63 8d5a3b", "d3ab8e a9795a 775039"),
    "shirt": ("person", "ff2e93 ff9f1c 2ec4f6 8f2de2 f4f12d", "c23a80 cd8b3c 3f9fc0 7a44a8 cdc24a"),
    "trousers": ("person", "27348b 5c2a70 1d3557", "2a3366 4e3156 273a53"),
    "metal": ("pole", "3a3f5c 4b4f73", "3f4249 4a4c50"),
    "sign": ("pole", "ff2f3c 1f6fff ffc400", "cb383e 3065c5 d4ab21"),
    "lamp": ("pole", "fff3a6", "e7ddaa"),
}  # fmt: skip
SWATCHES = tuple(
    (role, kind, *pair)
    for role, (kind, *styles) in PALETTE.items()
    for pair in zip(*(style.split() for style in styles), strict=True)
)
COLUMNS = {role: [i for i, swatch in enumerate(SWATCHES) if swatch[0] == role] for role in PALETTE}
KINDS = np.array([CLASSES.index(kind) for _, kind, *_ in SWATCHES], np.uint8)
RENDERED, CAMERA = (np.array([[*bytes.fromhex(s[i])] for s in SWATCHES], np.float32) / 255 for i in (2, 3))

# exposure of red, green, blue; colour of the haze; its density per metre
WEATHER = (
    ((1.00, 1.00, 1.00), (0.78, 0.80, 0.83), 0.002),  # overcast
    ((1.10, 1.02, 0.92), (0.92, 0.83, 0.72), 0.002),  # low sun
    ((0.93, 0.86, 0.92), (0.78, 0.70, 0.75), 0.002),  # dusk
    ((0.98, 0.99, 0.99), (0.78, 0.80, 0.82), 0.006),  # fog
)
TEXTURE = np.array([0.01, 0.03, 0.03, 0.03, 0.11, 0.03, 0.03, 0.03], np.float32)  # by class, relative to brightness


def photograph(
    image: np.ndarray, labels: np.ndarray, depth: np.ndarray, gap: float, rng: np.random.Generator
) -> np.ndarray:
    """A rendered image as a camera takes it, with each effect in proportion to the gap.

    Args:
        image: [H, W, 3] from 0 to 1.
        labels: uint8 [H, W], places in `CLASSES`.
        depth: [H, W] in metres.
        gap: 0: without any effect; 1: as a camera.
        rng: chooses the weather and makes the noise.
    Returns:
        [H, W, 3], not clipped to the range from 0 to 1.
    """
    shape = labels.shape
    exposure, haze, density = WEATHER[rng.integers(len(WEATHER))]
    exposure = np.array(exposure) * np.exp(rng.normal(0, 0.02, 3) + rng.normal(0, 0.08))
    texture = 0.7 * rng.standard_normal(shape, np.float32) + _smooth(rng, shape, 4)
    rows, columns = (np.linspace(-1, 1, length) ** 2 for length in shape)
    light = 1 + gap * TEXTURE[labels] * texture
    light *= np.exp(gap * (0.08 * _smooth(rng, shape, 32) - 0.18 * (rows[:, None] + columns)))  # patches, vignette
    clear = np.exp(-gap * density * rng.uniform(0.5, 1.5) * depth)[..., None]
    image = (clear * image * light[..., None] + (1 - clear) * np.array(haze)) * exposure**gap
    lens = ImageFilter.GaussianBlur(gap * rng.uniform(0.2, 0.5))
    image = np.asarray(Image.fromarray(np.uint8(255 * image.clip(0, 1))).filter(lens), np.float32) / 255
    return image + gap * rng.uniform(0.005, 0.012) * rng.standard_normal(image.shape, np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """A random field [H, W], of unit variance at its nodes, which lie `cell` pixels apart."""
    nodes = rng.standard_normal((shape[0] // cell + 2, shape[1] // cell + 2), np.float32)
    return np.asarray(Image.fromarray(nodes).resize(shape[::-1], Image.Resampling.BICUBIC))
