"""Image sets, one class an image: Office-31, ImageCLEF-DA, VisDA-2017, DomainNet, and folders of one's own.

Nothing is held in memory: an image is decoded when its turn comes.  What can be seen without decoding (classes that
differ, stray and empty files, links in a circle, wrong labels) is told when the task is made, damage when it is read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from uda_core.data.image_files import Cut, ImageFiles, reading
from uda_core.data.sets import require
from uda_core.errors import UserError
from uda_core.samples import Labelled, Unlabelled, tenth
from uda_core.task import Pair, Task, Truth

IMAGECLEF = (
    "aeroplane", "bike", "bird", "boat", "bottle", "bus", "car", "dog", "horse", "monitor", "motorbike", "people",
)  # fmt: skip
DOMAINNET_CLASSES = 345


# -- what a network sees of an image -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """Resized to a square, whatever its aspect; cut in the centre, or at random; mirrored at random while training.

    The defaults are those of CGDM's scripts. Theirs are also random at test time; here evaluation is clean: the centre.
    """

    resize: int = 256
    crop: int = 224
    random_crop: bool = False  # as for ImageCLEF-DA
    flip: float = 0.5  # probability

    def draw(self, n: int, generator: torch.Generator | None = None) -> list[Cut]:
        """n random cuts; three numbers are drawn for each, whether they are used or not."""
        return [partial(self._cut, *u) for u in torch.rand(n, 3, generator=generator).tolist()]

    def clean(self, image: Image.Image, resample: Image.Resampling, fill: int) -> Image.Image:
        return self._at(0.5, 0.5, image, resample)

    def _cut(self, u: float, v: float, w: float, image: Image.Image, resample: Image.Resampling, _: int) -> Image.Image:
        cut = self._at(u, v, image, resample) if self.random_crop else self._at(0.5, 0.5, image, resample)
        return ImageOps.mirror(cut) if w < self.flip else cut

    def _at(self, u: float, v: float, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """The crop at this share of the free room, resized straight from its box in the file."""
        room = self.resize - self.crop
        left, top = (int(share * (room + 1)) for share in (u, v))
        x, y = image.width / self.resize, image.height / self.resize
        right, bottom = min((left + self.crop) * x, image.width), min((top + self.crop) * y, image.height)  # rounded
        box = (left * x, top * y, right, bottom)
        return image.resize((self.crop, self.crop), resample, box)


class Images(ImageFiles):
    """Images as a `View` shows them: x[i] is clean, `x.draw(i, generator)` as a training step gets it."""

    def __init__(self, paths: Sequence[Path], view: View):
        super().__init__(paths, (view.crop, view.crop))
        self.view, self.draft, self.whole = view, (view.resize, view.resize), view.clean

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.cut(i, self.view.draw(len(i), generator))


@dataclass(frozen=True)
class LabelledImages(Labelled):
    x: Images
    y: Tensor

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        return self.x.draw(i, generator), self.y[i]


@dataclass(frozen=True)
class UnlabelledImages(Unlabelled):
    x: Images

    def draw(self, i: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.x.draw(i, generator)


# -- finding images and labels -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """Images of one domain, and the class of each, as a number."""

    paths: list[Path]
    y: Tensor  # int64 [N]

    def labelled(self, view: View) -> LabelledImages:
        return LabelledImages(Images(self.paths, view), self.y)

    def unlabelled(self, view: View) -> UnlabelledImages:
        return UnlabelledImages(Images(self.paths, view))

    def where(self, chosen: Tensor) -> "Listing":
        return Listing([self.paths[i] for i in chosen.nonzero().flatten()], self.y[chosen])


def class_names(folder: Path) -> tuple[str, ...]:
    """The folders in a folder, in the order of their names; hidden ones are left out."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    with reading(folder):
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: no class folders in it; images belong in one folder per class")
    return tuple(names)


def same_classes(source: Path, target: Path) -> tuple[str, ...]:
    """The classes that both folders have.

    Raises:
        UserError: which of them one folder lacks, by name.
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
    """Every image in the folder of each class, and in those inside it."""
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
    """A file with a line `PATH LABEL` for each image; paths count from `folder`, labels from 0.

    `gaps`: whether classes may be without images, as the T-shirts of DomainNet's paintings are.
    """
    paths, y = [], []
    with reading(file):
        lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        if not path or not label.isdecimal():
            raise UserError(f"{file}, line {number}: {line!r} is not a path and a label; download the list again")
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
    """Every image in a folder and those inside it, by name; hidden ones are left out, anything else is told."""
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
    """`path`, if it can be an image: of a known ending, there, not empty, readable. It is not opened."""
    if path.suffix.lower() not in _endings():
        raise UserError(f"{path}: no image ({', '.join(_endings())}); move it out of the folder")
    try:
        size = path.stat().st_size
    except OSError as error:  # not there, a broken link, or one in a circle
        raise UserError(f"{path}: cannot be found ({error.strerror}); unpack it again, or delete the link") from None
    if size == 0:
        raise UserError(f"{path}: the file is empty; unpack or download it again, or delete it")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: you may not read this file; change its permissions")
    return path


def _endings() -> tuple[str, ...]:
    from torchvision.datasets.folder import IMG_EXTENSIONS  # not at the top: it takes seconds to import

    return IMG_EXTENSIONS


# -- the tasks ---------------------------------------------------------------------------------------------------------


def office31(data: Path, name: str, source: str, target: str) -> Task:
    """amazon, dslr and webcam: DOMAIN/images/CLASS/frame_0001.jpg, 31 classes."""
    require(["office31"], data)
    folders = [data / "office31" / domain / "images" for domain in (source, target)]
    classes = same_classes(*folders)
    return _transductive(name, classes, *(from_folders(folder, classes) for folder in folders), View())


def imageclef(data: Path, name: str, source: str, target: str) -> Task:
    """i, p and c: list/iList.txt with lines such as `i/n02691156_7563.JPEG 0`, 600 images, 12 classes."""
    require(["imageclef"], data)
    folder = data / "imageclef"
    lists = (from_list(folder / "list" / f"{d}List.txt", folder, len(IMAGECLEF)) for d in (source, target))
    return _transductive(name, IMAGECLEF, *lists, View(random_crop=True))


def visda2017(data: Path) -> Task:
    """train/CLASS/*.png (152,397 renderings) teaches validation/CLASS/*.jpg (55,388 photographs), 12 classes."""
    require(["visda2017"], data)
    folders = [data / "visda2017" / split for split in ("train", "validation")]
    classes = same_classes(*folders)
    listings = (from_folders(folder, classes) for folder in folders)
    return _transductive("visda2017", classes, *listings, View(), metric="mean_class_accuracy")


def domainnet(data: Path, name: str, source: str, target: str) -> Task:
    """real_train.txt, real_test.txt and so on, with lines such as `real/airplane/real_002_000001.jpg 1`; 345 classes.

    The published lists: the source's test list validates, the target's tests. CGDM's script reads whole folders.
    """
    require(["domainnet"], data)
    folder = data / "domainnet"
    source_train, source_val, target_train, target_test = (
        from_list(folder / f"{domain}_{split}.txt", folder, DOMAINNET_CLASSES, gaps=True)
        for domain in (source, target)
        for split in ("train", "test")
    )
    classes = _names_in(source_train, source_val, target_train, target_test)
    view = View()
    splits = (source_train.labelled(view), source_val.labelled(view), target_train.unlabelled(view))
    pair = Pair(name, classes, *splits, target_test.unlabelled(view))
    return Task(pair, Truth(target_train.y, target_test.y))


def folders(source: Path, target: Path, view: View | None = None) -> Task:
    """One's own class folders. A tenth of each source class validates and does not train; the target, transductive, is
    there while training, without labels, and tests.
    """
    classes, view = same_classes(source, target), view or View()
    s, t = from_folders(source, classes), from_folders(target, classes)
    held_out = tenth(s.y)
    splits = (s.where(~held_out).labelled(view), s.where(held_out).labelled(view))
    pair = Pair(
        f"folders:{source.absolute().name}-{target.absolute().name}",
        classes,
        *splits,
        t.unlabelled(view),
        t.unlabelled(view),
    )
    return Task(pair, Truth(t.y, t.y))


def _transductive(
    name: str, classes: tuple[str, ...], source: Listing, target: Listing, view: View, metric: str = "accuracy"
) -> Task:
    """As published: all of the source trains, all of the target is there while training, without labels, and tests.

    So nothing of the source is left to validate with: `source_val` is a tenth of each class of what trains, and its
    score says whether the source was learnt, not how well that carries over to other images.
    """
    x_t = target.unlabelled(view)
    pair = Pair(name, classes, source.labelled(view), source.where(tenth(source.y)).labelled(view), x_t, x_t)
    return Task(pair, Truth(target.y, target.y), metric, source_split="source_val, part of what trained")


def _names_in(*lists: Listing) -> tuple[str, ...]:
    """The class folders' names, by label; every list must have the same."""
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
