"""Image sets, one class an image: Office-31, Office-Home, ImageCLEF-DA, VisDA-2017, DomainNet, and your own folders.

No image stays in memory: each is decoded when a batch needs it.  What can be checked without decoding (classes that
differ, stray or empty files, links in a circle, wrong labels) is checked when a task is made; a damaged image raises a
`UserError` when it is read.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from uda_core.data.image_files import NO_FILE, ImageFiles, Transform, reading
from uda_core.data.names import apart, fit
from uda_core.data.sets import require
from uda_core.data.splits import every, tenth
from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

IMAGECLEF = (
    "aeroplane", "bike", "bird", "boat", "bottle", "bus", "car", "dog", "horse", "monitor", "motorbike", "people",
)  # fmt: skip
DOMAINNET_CLASSES = 345


# -- images as a network gets them -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preprocessing:
    """Resize an image to a square, whatever its aspect, crop a smaller square from it and, while training, mirror it.

    The defaults are those of CGDM's scripts, which crop and mirror at random when they test too; here evaluation always
    takes the centre, not mirrored.
    """

    resize: int = 256  # side of the square, in pixels
    crop: int = 224  # side of the smaller square
    random_crop: bool = False  # whether training crops at a random place, as for ImageCLEF-DA, or in the centre
    flip: float = 0.5  # probability that a training image is mirrored

    def random(self, n: int, generator: torch.Generator | None = None) -> list[Transform]:
        """n random transforms for training; each takes three numbers from the generator, needed or not."""
        return [partial(self._random, *u) for u in torch.rand(n, 3, generator=generator).tolist()]

    def centre(self, image: Image.Image, resample: Image.Resampling, fill: int) -> Image.Image:
        """The transform for evaluation: the crop in the centre, of crop x crop pixels."""
        return self._crop(0.5, 0.5, image, resample)

    def _random(
        self, u: float, v: float, w: float, image: Image.Image, resample: Image.Resampling, _: int
    ) -> Image.Image:
        crop = self._crop(u, v, image, resample) if self.random_crop else self._crop(0.5, 0.5, image, resample)
        return ImageOps.mirror(crop) if w < self.flip else crop

    def _crop(self, u: float, v: float, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """The crop at shares u and v of the room left of and above it, resized straight from its box in the image."""
        room = self.resize - self.crop
        left, top = (int(share * (room + 1)) for share in (u, v))
        x, y = image.width / self.resize, image.height / self.resize
        right, bottom = min((left + self.crop) * x, image.width), min((top + self.crop) * y, image.height)  # rounded
        box = (left * x, top * y, right, bottom)
        return image.resize((self.crop, self.crop), resample, box)


class Images(ImageFiles):
    """Preprocessed images: x[i] for evaluation, `x.draw(i, generator)` for training; both [n, 3, crop, crop]."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing):
        side = preprocessing.resize
        super().__init__(paths, (preprocessing.crop, preprocessing.crop))
        self.preprocessing, self.draft, self.whole = preprocessing, (side, side), preprocessing.centre

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images i [n] with a random crop and flip each, as a training step gets them: [n, 3, crop, crop].

        Raises:
            UserError: naming an image that cannot be read.
        """
        return self.transformed(i, self.preprocessing.random(len(i), generator))


@dataclass(frozen=True)
class LabelledImages(Labelled):
    """Images and the class of each, int64 [N]; a training step gets random crops and flips."""

    x: Images
    y: Tensor

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Images i [n], cropped and mirrored at random, and their labels: [n, 3, crop, crop] and [n]."""
        return self.x.draw(i, generator), self.y[i]


@dataclass(frozen=True)
class UnlabelledImages(Unlabelled):
    """Images without labels; a training step gets random crops and flips."""

    x: Images

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images i [n], cropped and mirrored at random: [n, 3, crop, crop]."""
        return self.x.draw(i, generator)


# -- finding images and labels -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """The image files of one domain and the class of each, int64 [N]."""

    paths: list[Path]
    y: Tensor

    def labelled(self, preprocessing: Preprocessing) -> LabelledImages:
        """The images with their labels, as a source has them."""
        return LabelledImages(Images(self.paths, preprocessing), self.y)

    def unlabelled(self, preprocessing: Preprocessing) -> UnlabelledImages:
        """The images alone, as a target has them."""
        return UnlabelledImages(Images(self.paths, preprocessing))

    def where(self, chosen: Tensor) -> "Listing":
        """The images of which `chosen`, booleans [N], is true, in the same order."""
        return Listing([self.paths[i] for i in chosen.nonzero().flatten()], self.y[chosen])


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, sorted; hidden ones are left out.

    Raises:
        UserError: if there is no such folder, no folder in it, or one whose name fits no table.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    with reading(folder):
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: no class folders in it; images belong in one folder per class")
    return tuple(fit(name, folder) for name in names)


def same_classes(source: Path, target: Path) -> tuple[str, ...]:
    """The class names of both folders, which must have the same.

    Raises:
        UserError: listing the classes that one of the folders lacks.
    """
    ours, theirs = class_names(source), class_names(target)
    lacks = [
        f"{folder} lacks {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for folder, names in ((target, sorted({*ours} - {*theirs})), (source, sorted({*theirs} - {*ours})))
        if names
    ]
    if lacks:
        raise UserError(f"the classes differ: {'; '.join(lacks)}; rename, add or take away folders until they agree")
    return ours


def from_folders(folder: Path, classes: Sequence[str]) -> Listing:
    """Every image in the folder of each class, and in the folders inside it; labels are places in `classes`.

    Raises:
        UserError: if a class has no image, or its folder holds a file that is not an image.
    """
    paths, y = [], []
    for label, name in enumerate(classes):
        found = list(_images(folder / name))
        if not found:
            raise UserError(
                f"{folder / name}: no image in it; fill this class, or take its folder away in both domains"
            )
        paths += found
        y += [label] * len(found)
    return Listing(paths, torch.tensor(y))


def from_list(file: Path, folder: Path, classes: int, gaps: bool = False) -> Listing:
    """The images of a list: a text file with a line `PATH LABEL` for each.

    Args:
        file: the list.
        folder: where its paths start.
        classes: number of classes; labels run from 0 to one less.
        gaps: whether a class may have no image, as the T-shirts among DomainNet's paintings.
    Raises:
        UserError: if a line is not a path and a label, an image is missing, or a class is empty without `gaps`.
    """
    paths, y = [], []
    with reading(file):
        lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        if not path or not label.isdecimal() or len(label) > 9:
            raise UserError(f"{file}, line {number}: {line[:80]!r} is not a path and a label; download the list again")
        if int(label) >= classes:
            raise UserError(
                f"{file}, line {number}: label {label}, but the {classes} classes go from 0 to {classes - 1}"
            )
        paths.append(_image(folder / path))
        y.append(int(label))
    lacking = sorted({*range(classes)} - {*y})
    if lacking and not gaps:
        raise UserError(f"{file}: no image of class {', '.join(map(str, lacking[:5]))}; download the list again")
    return Listing(paths, torch.tensor(y))


def _images(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every image in a folder and the folders inside it, by name, without hidden ones; other files are an error."""
    with reading(folder):
        real = folder.resolve(strict=True)
        if real in above:
            raise UserError(f"{folder}: a link to {real}, in which it lies itself; delete the link")
        entries = sorted(folder.iterdir())
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _images(path, (*above, real))
        else:
            yield _image(path)


def _image(path: Path) -> Path:
    """`path`, if it can be an image: a known ending, a file that is not empty and readable. It is not opened."""
    fit(path, path.parent)
    if path.suffix.lower() not in _endings():
        raise UserError(f"{path}: no image ({', '.join(_endings())}); move it out of the folder")
    try:
        found = path.stat()
    except OSError as error:  # not there, a broken link, or one in a circle
        raise UserError(f"{path}: cannot be found ({error.strerror}); unpack it again, or delete the link") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: {NO_FILE}")
    if found.st_size == 0:
        raise UserError(f"{path}: the file is empty; unpack or download it again, or delete it")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: you may not read this file; change its permissions")
    return path


def _endings() -> tuple[str, ...]:
    from torchvision.datasets.folder import IMG_EXTENSIONS  # not at the top: this import is slow

    return IMG_EXTENSIONS


# -- the tasks ---------------------------------------------------------------------------------------------------------


def office31(data: Path, name: str, source: str, target: str) -> Task:
    """Office-31, 31 classes; domains amazon, dslr and webcam: DOMAIN/images/CLASS/frame_0001.jpg.

    Raises:
        UserError: if the set is missing, or a folder is not as published.
    """
    require(["office31"], data)
    folders = [data / "office31" / domain / "images" for domain in (source, target)]
    classes = same_classes(*folders)
    return _transductive(name, classes, *(from_folders(folder, classes) for folder in folders), Preprocessing())


def office_home(data: Path, name: str, source: str, target: str) -> Task:
    """Office-Home, 65 classes; domains Art, Clipart, Product and Real World: DOMAIN/CLASS/00001.jpg.

    Raises:
        UserError: if the set is missing, or a folder is not as published.
    """
    require(["office-home"], data)
    folders = [data / "office_home" / domain for domain in (source, target)]
    classes = same_classes(*folders)
    return _transductive(name, classes, *(from_folders(folder, classes) for folder in folders), Preprocessing())


def imageclef(data: Path, name: str, source: str, target: str) -> Task:
    """ImageCLEF-DA, 12 classes; domains i, p and c: list/iList.txt with 600 lines as `i/n02691156_7563.JPEG 0`.

    Raises:
        UserError: if the set is missing, or a list is not as published.
    """
    require(["imageclef"], data)
    folder = data / "imageclef"
    lists = (from_list(folder / "list" / f"{d}List.txt", folder, len(IMAGECLEF)) for d in (source, target))
    return _transductive(name, IMAGECLEF, *lists, Preprocessing(random_crop=True))


def visda2017(data: Path) -> Task:
    """VisDA-2017, 12 classes: train/CLASS/*.png (152,397 renderings) and validation/CLASS/*.jpg (55,388 photographs).

    Raises:
        UserError: if the set is missing, or a folder is not as published.
    """
    require(["visda2017"], data)
    folders = [data / "visda2017" / split for split in ("train", "validation")]
    classes = same_classes(*folders)
    listings = (from_folders(folder, classes) for folder in folders)
    return _transductive("visda2017", classes, *listings, Preprocessing(), metric="mean_class_accuracy")


def domainnet(data: Path, name: str, source: str, target: str) -> Task:
    """DomainNet, 345 classes: lists as real_train.txt with lines as `real/airplane/real_002_000001.jpg 1`.

    The lists are the published ones: the source's test list validates, the target's tests. CGDM's script reads whole
    folders instead.

    Raises:
        UserError: if the set is missing, or a list is not as published.
    """
    require(["domainnet"], data)
    folder = data / "domainnet"
    source_train, source_val, target_train, target_test = (
        from_list(folder / f"{domain}_{split}.txt", folder, DOMAINNET_CLASSES, gaps=True)
        for domain in (source, target)
        for split in ("train", "test")
    )
    classes = _names_in(source_train, source_val, target_train, target_test)
    preprocessing = Preprocessing()
    sources = (listing.labelled(preprocessing) for listing in (source_train, source_val))
    targets = (listing.unlabelled(preprocessing) for listing in (target_train, target_test))
    pair = Pair(name, classes, *sources, *targets)
    return Task(pair, Truth(target_train.y, target_test.y))


def folders(source: Path, target: Path, preprocessing: Preprocessing | None = None) -> Task:
    """The user's own class folders. A tenth of each source class validates and does not train.

    The target is transductive: all of its images train, without labels, and all of them test.

    Raises:
        UserError: if the two folders are not apart or differ in their classes, no class or one has no image to spare,
            or a file in one is not an image.
    """
    source, target = Path(source), Path(target)
    apart(source, target)
    classes, preprocessing = same_classes(source, target), preprocessing or Preprocessing()
    s, t = from_folders(source, classes), from_folders(target, classes)
    held_out = tenth(s.y, source)
    splits = (s.where(~held_out).labelled(preprocessing), s.where(held_out).labelled(preprocessing))
    x_t = t.unlabelled(preprocessing)
    pair = Pair(f"folders:{source.absolute().name}-{target.absolute().name}", classes, *splits, x_t, x_t)
    return Task(pair, Truth(t.y, t.y))


def in_memory(source: Path, target: Path, side: int = 32) -> Task:
    """The same folders, read once and kept as small tensors; of the source, a third of each class validates.

    For a small network that trains while one watches. A target folder of images alone, without class folders, is a
    target without labels: the task has no truth.

    Args:
        source: a folder per class.
        target: the same classes, or images alone.
        side: of the images, in pixels, whatever their aspect.
    Returns:
        A task with x [N, 3, side, side] in [0, 1]; the target is transductive.
    Raises:
        UserError: as `folders` does, and if the source has no class with two images.
    """
    source, target = Path(source), Path(target)
    apart(source, target)
    labelled = not target.is_dir() or has_class_folders(target)
    classes = same_classes(source, target) if labelled else class_names(source)
    s, t = from_folders(source, classes), from_folders(target, classes if labelled else ["."])
    x_s, x_t = (Images(d.paths, Preprocessing(side, side))[torch.arange(len(d.paths))] for d in (s, t))
    held_out = every(3, s.y, source)
    splits = (Labelled(x_s[~held_out], s.y[~held_out]), Labelled(x_s[held_out], s.y[held_out]))
    pair = Pair(f"{source.absolute().name}-{target.absolute().name}", classes, *splits, *(Unlabelled(x_t),) * 2)
    return Task(pair, Truth(t.y, t.y) if labelled else None)


def has_class_folders(folder: Path) -> bool:
    """Whether the images of a folder lie in folders of their class, and so have labels."""
    return any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())


def _transductive(
    name: str,
    classes: tuple[str, ...],
    source: Listing,
    target: Listing,
    preprocessing: Preprocessing,
    metric: str = "accuracy",
) -> Task:
    """The published protocol: all of the source trains; all of the target trains, without labels, and tests.

    That leaves no source image to validate with: `source_val` is a tenth of each class of the training images, and its
    score says whether the source was learnt, not how well that generalises to other images.
    """
    val, x_t = source.where(tenth(source.y, name)), target.unlabelled(preprocessing)
    pair = Pair(name, classes, source.labelled(preprocessing), val.labelled(preprocessing), x_t, x_t)
    return Task(pair, Truth(target.y, target.y), metric, source_split="source_val, part of what trained")


def _names_in(*lists: Listing) -> tuple[str, ...]:
    """The names of the class folders, in the order of their labels, which must be the same in every list."""
    names: dict[int, str] = {}
    for listing in lists:
        for path, label in zip(listing.paths, listing.y.tolist(), strict=True):
            if names.setdefault(label, path.parent.name) != path.parent.name:
                raise UserError(
                    f"{path}: has label {label}, which is {names[label]} elsewhere; download the lists again"
                )
    lacking = [str(label) for label in range(DOMAINNET_CLASSES) if label not in names]
    if lacking:
        raise UserError(f"no list has an image of class {', '.join(lacking[:5])}; download the lists again")
    return tuple(names[label] for label in range(DOMAINNET_CLASSES))
