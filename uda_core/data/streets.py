"""Drawn streets teach photographed ones: a synthetic-to-real gap for segmentation that needs no download.

A scene is drawn once, as a map of flat paints on a canvas of twice the size; a style turns paints into colours. So the
scenes of both domains have the same distribution, and one seed gives the same street in either style. World coordinates
are metres: x to the right of the camera, y above the ground, z ahead.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw

from uda_core.data.street_styles import CAMERA, CLASSES, COLUMNS, KINDS, RENDERED, photograph
from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

FAR = 130.0  # metres to the end of the street, and to the sky as far as haze is concerned


def streets(
    samples: int = 400, test_samples: int = 150, seed: int = 0, gap: float = 1.0, size: tuple[int, int] = (64, 128)
) -> Task:
    """Source: rendered street scenes, each pixel labelled. Target: other scenes seen by a camera.

    Args:
        samples: training images of either domain.
        test_samples: images of the source's validation and of the target's test.
        seed: of the drawing.
        gap: width of the gap, see `draw_streets`.
        size: height and width in pixels.
    Returns:
        A task with x [N, 3, H, W] in [0, 1] and y uint8 [N, H, W], eight classes, scored by mIoU.
    Raises:
        UserError: as `draw_streets`.
    """
    return _task("streets", samples, test_samples, seed, gap, size)


def streets_rehearsal() -> Task:
    """The rehearsal pair: settings are tried on it, so that `streets` is not tuned on its target labels."""
    return _task("streets-rehearsal", 400, 150, seed=1000, gap=0.8, size=(64, 128))


def draw_streets(n: int, seed: int, gap: float, size: tuple[int, int] = (64, 128)) -> tuple[np.ndarray, np.ndarray]:
    """`n` street scenes: images uint8 [n, H, W, 3] and labels uint8 [n, H, W].

    `gap` is the width of the gap to the rendered style. 0: rendered; 1: as a camera sees the same scene, in its own
    colours, weather and light, textured, blurred and noisy; between and beyond in proportion. Scene i depends on `seed`
    and i alone, and its labels do not depend on `gap`.

    Raises:
        UserError: if n, seed or gap is negative, or the size is under 32 pixels.
    """
    if n < 0 or seed < 0 or not 0 <= gap < float("inf"):
        raise UserError(f"n, seed and gap must not be negative or infinite, got {n}, {seed} and {gap}")
    if min(size) < 32:
        raise UserError(f"size must be at least 32x32 pixels, got {size[0]}x{size[1]}")
    images, labels = np.empty((n, *size, 3), np.uint8), np.empty((n, *size), np.uint8)
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        scene = _street(rng, size)
        image, labels[i], depth = scene.render(gap)
        if gap:
            image = photograph(image, labels[i], depth, gap, rng)
        images[i] = np.rint(255 * image.clip(0, 1))
    return images, labels


def _task(name: str, samples: int, test_samples: int, seed: int, gap: float, size: tuple[int, int]) -> Task:
    splits = ((samples, 0.0), (test_samples, 0.0), (samples, gap), (test_samples, gap))
    drawn = [draw_streets(n, 4 * seed + i, width, size) for i, (n, width) in enumerate(splits)]
    x = [torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 for images, _ in drawn]
    y = [torch.from_numpy(labels) for _, labels in drawn]
    pair = Pair(name, CLASSES, Labelled(x[0], y[0]), Labelled(x[1], y[1]), Unlabelled(x[2]), Unlabelled(x[3]))
    return Task(pair, Truth(y[2], y[3]), metric="miou")


class _Scene:
    """A canvas of paint numbers at twice the size, seen by a pinhole camera, and the colour and depth of each paint."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]):
        self.rng, (height, width) = rng, (2 * size[0], 2 * size[1])
        self.canvas = Image.new("I", (width, height))
        self.draw = ImageDraw.Draw(self.canvas)
        self.focal, self.eye = width * self.uniform(0.55, 0.8), self.uniform(1.4, 2.2)
        self.centre, self.horizon = width * self.uniform(0.38, 0.62), height * self.uniform(0.42, 0.56)
        self.columns, self.shades, self.depths = [], [], []

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def paint(self, role: str, z: float = FAR, shade: float = 1.0, like: int | None = None) -> int:
        """The number of a new paint, in a colour of its role at random or in that of the paint `like`."""
        column = COLUMNS[role][int(len(COLUMNS[role]) * self.rng.random())]
        self.columns.append(column if like is None else self.columns[like])
        self.shades.append(shade)
        self.depths.append(z)
        return len(self.columns) - 1

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        scale = self.focal / z
        return self.centre + scale * x, self.horizon + scale * (self.eye - y)

    def fill(self, paint: int, *points: tuple[float, float, float]) -> None:
        self.draw.polygon([self.project(*point) for point in points], fill=paint)

    def across(self, paint: int, x1: float, x2: float, y1: float, y2: float, z: float, taper: float = 0.0) -> None:
        """An upright rectangle that faces the camera; its top is narrower by `taper` on both sides."""
        x1, x2 = sorted((x1, x2))
        self.fill(paint, (x1, y1, z), (x2, y1, z), (x2 - taper, y2, z), (x1 + taper, y2, z))

    def along(self, paint: int, x: float, y1: float, y2: float, z1: float, z2: float) -> None:
        """An upright rectangle that runs along the street."""
        self.fill(paint, (x, y1, z1), (x, y2, z1), (x, y2, z2), (x, y1, z2))

    def flat(self, paint: int, x1: float, x2: float, z1: float, z2: float) -> None:
        """A rectangle on the ground."""
        self.fill(paint, (x1, 0, z1), (x2, 0, z1), (x2, 0, z2), (x1, 0, z2))

    def disc(self, paint: int, x: float, y: float, z: float, rx: float, ry: float) -> None:
        (left, top), (right, bottom) = self.project(x - rx, y + ry, z), self.project(x + rx, y - ry, z)
        self.draw.ellipse((left, top, max(right, left + 1), max(bottom, top + 1)), fill=paint)

    def render(self, gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image [H, W, 3] in [0, 1], labels [H, W], depth [H, W] in metres."""
        ids, columns, shades = np.asarray(self.canvas), np.array(self.columns), np.array(self.shades, np.float32)
        colours = ((1 - gap) * RENDERED[columns] + gap * CAMERA[columns]) * shades[:, None]
        image = sum(colours.clip(0, 1)[ids[i::2, j::2]] for i in (0, 1) for j in (0, 1)) / 4
        ids = ids[::2, ::2]
        labels = KINDS[columns][ids]
        below = np.arange(0, 2 * len(ids), 2, dtype=np.float32) - self.horizon  # each row, from the horizon down
        ground = np.where(below > 0, self.focal * self.eye / below.clip(1), FAR).clip(0, FAR)
        depth = np.minimum(np.array(self.depths)[ids], ground[:, None])
        pale = (labels == 0) * 0.55 * (1 + below / self.horizon).clip(0, 1)[:, None] ** 1.5  # the sky, near the horizon
        return image + pale[..., None] * (1 - image), labels, depth


def _street(rng: np.random.Generator, size: tuple[int, int]) -> _Scene:
    """A street straight ahead: sky, ground, houses on both sides, then all that stands in front, from far to near."""
    scene = _Scene(rng, size)
    scene.paint("sky")  # paint 0, the empty canvas
    kerbs = -scene.uniform(3.2, 6.0), scene.uniform(3.2, 6.0)  # x
    walks = scene.uniform(2.2, 4.8), scene.uniform(2.2, 4.8)  # width
    _background(scene, kerbs, walks)
    things, lit = [], rng.integers(2)
    for i, (side, kerb, walk) in enumerate(zip((-1, 1), kerbs, walks, strict=True)):
        _houses(scene, side, kerb + side * walk, 1.0 if i == lit else 0.74)
        things += [(z, _tree, kerb + side * scene.uniform(0.6, 1.2)) for z in _places(scene, 7, 18, 0.5)]
        things += [(z, _tree, kerb + side * (walk + scene.uniform(2, 5))) for z in _places(scene, 12, 30, 0.5)]
        things += [(z, _lamp, kerb + side * 0.4) for z in _places(scene, 14, 22, 0.8, last=30)]
        things += [(z, _sign, kerb + side * 0.5) for z in _places(scene, 12, 30, 0.6, last=24)]
        things += [(z, _car, kerb - side * 1.1) for z in _places(scene, 6, 12, 0.5)]
        things += [(z, _person, kerb + side * scene.uniform(0.4, walk)) for z in _places(scene, 4, 12, 0.7, last=24)]
    things += [(z, _car, scene.uniform(0.2, 0.5) * kerbs[rng.integers(2)]) for z in _places(scene, 14, 50, 0.6)]
    things += [(z, _person, scene.uniform(*kerbs)) for z in _places(scene, 10, 60, 0.5, last=24)]
    for z, thing, x in sorted(things, key=lambda thing: -thing[0]):
        thing(scene, x, z)
    return scene


def _places(scene: _Scene, least: float, most: float, share: float, last: float = 50.0) -> list[float]:
    """Distances ahead, up to `last`, `least` to `most` metres apart, of which a share is taken."""
    places, z = [], 4 + most * scene.rng.random()
    while z < last:
        if scene.chance(share):
            places.append(z)
        z += scene.uniform(least, most)
    return places


def _background(scene: _Scene, kerbs: tuple[float, float], walks: tuple[float, float]) -> None:
    """Clouds, ground with its markings, and the far blocks and trees that close the street."""
    for _ in range(scene.rng.integers(4)):
        cloud, x, y = scene.paint("cloud"), scene.uniform(-90, 90), scene.uniform(25, 80)
        for puff in (-12, -4, 4, 12):
            scene.disc(cloud, x + puff, y + scene.uniform(-2, 2), FAR, scene.uniform(6, 12), scene.uniform(2, 5))
    for side, kerb, walk in zip((-1, 1), kerbs, walks, strict=True):
        scene.flat(scene.paint("grass" if scene.chance(0.6) else "walk"), kerb, 300 * side, 1, FAR)
        scene.flat(scene.paint("walk"), kerb, kerb + side * walk, 1, FAR)
        scene.flat(scene.paint("curb"), kerb, kerb + side * 0.25, 1, FAR)
    scene.flat(scene.paint("road"), *kerbs, 1, FAR)
    mark, middle = scene.paint("mark"), sum(kerbs) / 2
    for z in np.arange(scene.uniform(2, 7), 60, 7):
        scene.flat(mark, middle - 0.09, middle + 0.09, z, z + 3)
    if scene.chance(0.3):  # a zebra crossing
        z = scene.uniform(7, 16)
        for x in np.arange(kerbs[0] + 0.5, kerbs[1] - 0.5, 1.1):
            scene.flat(mark, x, x + 0.55, z, z + 3)
    for x in range(-150, 150, 16):
        if scene.chance(0.5):
            scene.across(scene.paint("wall", FAR, 0.9), x, x + 16, 0, scene.uniform(4, 22), FAR)
        else:
            scene.disc(scene.paint("leaf"), x, 0, FAR, 16, scene.uniform(3, 12))


def _houses(scene: _Scene, side: int, front: float, shade: float) -> None:
    """A row of houses along x = `front`, with gaps, from far to near."""
    z2 = 100.0
    while z2 > 3:
        z1 = z2 - scene.uniform(7, 16)
        if scene.chance(0.82):
            _house(scene, front, front + 12 * side, max(z1, 1.0), z2, shade)
        z2 = z1 - scene.uniform(2, 7) * scene.chance(0.3)


def _house(scene: _Scene, front: float, back: float, z1: float, z2: float, shade: float) -> None:
    floors, roof, wall = int(scene.rng.integers(1, 7)), scene.paint("roof", z1), scene.paint("wall", z1, shade)
    top, gable = 3.2 * floors + 0.6, scene.paint("wall", z1, 0.86, like=wall)
    if scene.chance(0.5):  # a pitched roof, its gable towards the camera
        ridge = (front + back) / 2, top + scene.uniform(2, 4)
        scene.fill(roof, (front, top, z1), (*ridge, z1), (*ridge, z2), (front, top, z2))
        scene.fill(gable, (front, top, z1), (*ridge, z1), (back, top, z1))
    scene.across(gable, front, back, 0, top, z1)
    scene.along(wall, front, 0, top, z1, z2)
    scene.along(roof, front, top - 0.4, top, z1, z2)
    if z1 > 60:
        return
    scene.along(scene.paint("shop", z1, shade), front, 0.2, 2.6, z1 + 0.6, z2 - 0.6)
    glass, inner, outer = scene.paint("window", z1), 0.88 * front + 0.12 * back, 0.12 * front + 0.88 * back
    for y in 3.2 * np.arange(1, floors) + 0.9:  # bands of glass, which the wall's piers then cut into windows
        scene.along(glass, front, y, y + 1.6, z1, z2)
        scene.across(glass, inner, outer, y, y + 1.6, z1)
    for z in np.linspace(z1, z2, max(3, round((z2 - z1) / 2.8) + 1)):
        scene.along(wall, front, 3.2, top - 0.4, max(z - 0.7, z1), min(z + 0.7, z2))
    for x in np.linspace(inner, outer, 4):
        scene.across(gable, x - 0.8, x + 0.8, 3.2, top, z1)


def _tree(scene: _Scene, x: float, z: float) -> None:
    size, leaf = scene.uniform(0.85, 1.5), None
    scene.across(scene.paint("trunk", z), x - 0.15, x + 0.15, 0, 2.8 * size, z)
    for shade, lift, spread in ((0.8, 0.0, 1.0), (1.0, 0.35, 0.8), (1.18, 0.8, 0.45)):
        leaf = scene.paint("leaf", z, shade, like=leaf)
        for _ in range(3):
            dx, dy = scene.uniform(-0.9, 0.9) * spread, scene.uniform(-0.8, 0.8) * spread + lift
            scene.disc(leaf, x + size * dx, size * (3.6 + dy), z, size * spread, size * spread * 0.9)


def _lamp(scene: _Scene, x: float, z: float) -> None:
    metal, height, arm = scene.paint("metal", z), scene.uniform(5, 7), -1.4 * np.sign(x)
    radius = max(0.1, 1.7 * z / scene.focal)  # far ones stay visible
    scene.across(metal, x - radius, x + radius, 0, height, z)
    scene.across(metal, x, x + arm, height - 0.12, height, z)
    scene.across(scene.paint("lamp", z), x + 0.5 * arm, x + arm, height - 0.35, height - 0.12, z)


def _sign(scene: _Scene, x: float, z: float) -> None:
    sign, height, radius = scene.paint("sign", z), scene.uniform(2.3, 3.0), max(0.09, 1.7 * z / scene.focal)
    scene.across(scene.paint("metal", z), x - radius, x + radius, 0, height, z)
    shape = scene.rng.integers(3)
    if shape == 2:
        scene.disc(sign, x, height, z, 0.42, 0.42)
    else:  # a square or a triangle
        scene.across(sign, x - 0.42, x + 0.42, height - 0.4, height + 0.4, z, taper=0.42 * shape)


def _car(scene: _Scene, x: float, z: float) -> None:
    """Seen from behind on the right, from ahead on the left, with the flank that faces the camera."""
    length, top = (4.3, 1.45) if scene.chance(0.8) else (4.9, 2.1)
    body, glass, tyre = scene.paint("car", z), scene.paint("glass", z), scene.paint("tyre", z)
    scene.flat(scene.paint("shadow"), x - 1, x + 1, z - 0.2, z + length)
    if abs(x) > 0.9:
        flank, side = scene.paint("car", z, 0.78, like=body), x - 0.9 * np.sign(x)
        scene.along(flank, side, 0.25, 1.0, z, z + length)
        scene.along(flank, side, 1.0, top, z + 0.3, z + 0.75 * length)
        scene.along(glass, side, 1.0, top - 0.12, z + 0.6, z + 0.68 * length)
        for wheel in (z + 0.5, z + length - 1.1):
            scene.along(tyre, side, 0, 0.55, wheel, wheel + 0.65)
    for left in (-0.85, 0.6):
        scene.across(tyre, x + left, x + left + 0.25, 0, 0.4, z)
    scene.across(body, x - 0.85, x + 0.85, 0.9, top, z + 0.3, taper=0.15)
    scene.across(glass, x - 0.7, x + 0.7, 1.0, top - 0.12, z + 0.3, taper=0.12)
    scene.across(body, x - 0.9, x + 0.9, 0.25, 0.97, z)
    light = scene.paint("tail" if x > 0 else "head", z)
    for left in (-0.85, 0.55):
        scene.across(light, x + left, x + left + 0.3, 0.62, 0.82, z)


def _person(scene: _Scene, x: float, z: float) -> None:
    size, stride = scene.uniform(0.95, 1.15), scene.uniform(0.05, 0.3)
    legs, shirt, skin = (scene.paint(role, z) for role in ("trousers", "shirt", "skin"))
    for foot, hip in ((x - stride, x - 0.1), (x + stride, x + 0.1)):
        scene.fill(legs, (foot - 0.08, 0, z), (foot + 0.08, 0, z), (hip + 0.11, 0.85, z), (hip - 0.11, 0.85, z))
    scene.across(shirt, x - 0.27 * size, x + 0.27 * size, 0.75 * size, 1.42 * size, z, taper=0.04)
    scene.disc(skin, x, 1.58 * size, z, 0.13 * size, 0.15 * size)
