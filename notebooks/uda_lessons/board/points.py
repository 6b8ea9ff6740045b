"""What the board shows of a run: one class for each kind of run, and the only place that knows the kinds.

Letters: N points on the map (source first, then target), M target samples or images in all, C classes, D features; of
maps: images of H x W pixels, features and pseudo-labels of h x w, P pictures of a x b.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core import evaluation
from uda_core.anchors import (
    Anchors,
    anchor_distances,
    category_anchors,
    margin_from_ratio,
    shut_out,
    where_right,
)
from uda_core.lab import validators
from uda_core.maps import at_stride, resize
from uda_core.methods.cag import CAGConfig, CAGRun, CAGSettings
from uda_core.pseudo_labels import anchor_labels, confidence_labels
from uda_core.run import Run, Settings
from uda_core.samples import IGNORE
from uda_lessons.board.feature_map import FeatureMap
from uda_lessons.board.plane import PlaneMap, regions

NO_LABEL = 65535  # where a pseudo-label, a label or a star is missing
POINTS, SCORED = 1000, 5000  # most points per domain on the map; most target samples that accuracy is taken over
IMAGES, PICTURES = 24, 3  # images observed per domain, fewer where they are large; target images shown
SMALL = 64 * 128  # most pixels of a picture on the page
GRID, BEYOND = 48, 0.08  # places along each side of the plane, and how far they reach beyond the points' window


@dataclass(frozen=True)
class Observation:
    """The networks' outputs for the points at one step, whatever the settings."""

    f: Tensor  # [N, D] for the map; below them [C, D] anchors, where the run has such
    compared: tuple[Tensor, Tensor]  # features of source and target, a fair sample of either


@dataclass(frozen=True)
class SampleObservation(Observation):
    """Of samples: the logits too."""

    z_s: tuple[Tensor, ...]  # of each head, [source, C]
    z_t: tuple[Tensor, ...]  # [M, C], or of those on the map alone


@dataclass(frozen=True)
class PlaneObservation(SampleObservation):
    """Of points in the plane: which class is where, too."""

    plane: bytes  # uint8 [3, 2, GRID, GRID], from the bottom: `regions` of the heads' sum, the first head, the second


@dataclass(frozen=True)
class PixelObservation(Observation):
    """Of pixels: predictions, anchors, and what labels are made from."""

    predictions: bytes  # of the points
    maps: Tensor  # uint8 [M, H, W], predictions of the target images
    entropy: float
    anchors: Anchors
    labelling: tuple[Tensor, Tensor]  # features [M, D, h, w] and logits [M, C, h, w] of the network that labels
    preview: bool  # whether the network as it is labels, as no stage has begun


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a frame shows of an observation. Bytes are sent to the page: little-endian uint16, of pictures uint8."""

    predictions: bytes  # [N]
    pseudo_labels: bytes  # [N - source], NO_LABEL where there is none
    target_predictions: Tensor  # [M], or of those on the map alone; or maps [M, H, W]: for Reveal
    target_pseudo_labels: Tensor | None  # of the same, or maps [M, h, w], `IGNORE` where there is none
    numbers: dict[str, float]  # label-free, by the names of `figures.NUMBERS`
    pictures: bytes = b""  # predictions [P, a, b], then active labels [P, h, w]
    plane: bytes = b""  # which class is where in the plane, see PlaneObservation
    coverage: tuple[float | None, ...] = ()  # [C] of the pixels nearest to each anchor, the share that is active
    notes: tuple[str, ...] = ()  # what else must be said


class SamplePoints:
    """Samples, each with one feature vector and one label: the run has two heads."""

    kind, make_map = "samples", FeatureMap
    numbers = ("agreement", "entropy", "domain_accuracy", "neighbour_mixing", "star_distance")
    slice, pace = 0.045, 0.3  # seconds of training in one go, and between two frames at most

    def __init__(self, run: Run):
        pair = run.pair
        self.classes = len(pair.classes)
        self.i_s = validators.fixed_subset(len(pair.source_train), POINTS)
        self.i_all = validators.fixed_subset(len(pair.target_train), SCORED)  # target samples that are scored
        self.i_t = self.i_all[:POINTS]  # those of them on the map
        self.x_s, self.x_t = pair.source_train.x[self.i_s], pair.target_train.x[self.i_all]
        self.y_s = pair.source_train.y[self.i_s]
        self.source, self.target = len(self.i_s), len(self.i_t)

    def depends_on(self, settings: Settings) -> tuple:
        """The values of those settings that `read` depends on."""
        return ()

    @torch.no_grad()
    def observe(self, run: Run, whole: bool = True) -> SampleObservation:
        """Features and logits of the points on the map; `whole`: and logits of all target samples that are scored."""
        x_t = self.x_t if whole else self.x_t[: self.target]
        (f_s, z_s), (f_t, z_t) = (run.features_and_logits(*of) for of in ((self.x_s, "source"), (x_t, "target")))
        f_t = f_t[: self.target]
        return SampleObservation(torch.cat([f_s, f_t]), (f_s, f_t), z_s, z_t)

    def read(self, run: Run, observed: SampleObservation, settings: Settings) -> Reading:
        """Predictions, pseudo-labels and numbers."""
        source, target = (sum(z).argmax(1).cpu() for z in (observed.z_s, observed.z_t))
        y_hat = None if run.pseudo_labels is None else run.pseudo_labels.cpu()[self.i_all[: len(target)]]
        on_map = [z[: self.target] for z in observed.z_t]
        f_s, f_t = observed.compared
        none = torch.full_like(target, NO_LABEL)
        return Reading(
            predictions=uint16(torch.cat([source, target[: self.target]])),
            pseudo_labels=uint16((none if y_hat is None else y_hat)[: self.target]),
            target_predictions=target,
            target_pseudo_labels=y_hat,
            numbers={
                "agreement": validators.head_agreement(*on_map),
                "entropy": validators.mean_entropy(*on_map),
                **star_distance(
                    class_means(f_s, self.y_s, self.classes),
                    class_means(f_t, target[: self.target], self.classes),
                ),
            },
        )

    def stars(self, positions: np.ndarray, predictions: np.ndarray, observed: Observation) -> np.ndarray:
        """[2, C, 2]: centroids of the source by label, of the target by prediction."""
        labels = np.concatenate([self.y_s.numpy(), predictions[self.source :]])
        return centroids(positions, labels, self.source, self.classes)

    # -- pictures ------------------------------------------------------------------------------------------------------

    def facts(self) -> dict:
        """What the page must know to show pictures: `image` is [height, width, channels], empty if there are none."""
        shape = self.x_s.shape[1:]
        shown = len(shape) == 3 and shape[0] in (1, 3) and max(shape) <= 64
        return {"image": [*shape[1:], shape[0]] if shown else []}

    def images(self) -> bytes:
        """uint8 [N, height, width, channels], for hovering."""
        return pixels(torch.cat([self.x_s, self.x_t[: self.target]])) if self.facts()["image"] else b""

    # -- with labels you would not have --------------------------------------------------------------------------------

    def scores(self, frame: Reading, y: Tensor) -> dict:
        """Shares from 0 to 1 of the target samples `i_all`, whose labels are y; of a frame from under way, of fewer."""
        y, y_hat = y[: len(frame.target_predictions)], frame.target_pseudo_labels
        return {
            "target_accuracy": (frame.target_predictions == y).float().mean().item(),
            "pseudo_label_accuracy": None if y_hat is None else (y_hat == y).float().mean().item(),
        }

    def labels(self, y: Tensor) -> Tensor:
        """Of the target points on the map, from the labels of `i_all`."""
        return y[: self.target]

    def true_pictures(self, y: Tensor) -> np.ndarray:
        """None: a sample's label is no picture."""
        return np.empty(0, np.uint8)


class PlanePoints(SamplePoints):
    """Samples with two coordinates: they are shown where they lie, over the classes that the heads give every place."""

    kind, make_map = "plane", PlaneMap
    numbers = ("agreement", "entropy")
    slice, pace = 0.02, 0.0  # a frame for each slice: a look takes a few milliseconds

    def __init__(self, run: Run):
        super().__init__(run)
        x = torch.cat([self.x_s, self.x_t])
        low, high = x.amin(0), x.amax(0)
        self.width = 1.1 * (high - low).max()
        self.low = (low + high - self.width) / 2
        places = torch.linspace(-BEYOND, 1 + BEYOND, GRID)
        rows, columns = torch.meshgrid(places, places, indexing="ij")
        self.grid = self.low + self.width * torch.stack([columns, rows], -1).flatten(0, 1)

    def observe(self, run: Run, whole: bool = True) -> PlaneObservation:
        """Features and logits of all points, wherever the target has been moved to, and the regions of the classes."""
        self.x_t = run.pair.target_train.x[self.i_all]
        observed = super().observe(run, whole)
        z1, z2 = run.predict(self.grid)
        points = torch.cat([self.x_s, self.x_t[: self.target]])
        return PlaneObservation(
            **vars(observed) | {"f": (points - self.low) / self.width},
            plane=b"".join(uint8(regions(z)) for z in (z1 + z2, z1, z2)),
        )

    def facts(self) -> dict:
        """No pictures; and how far the grid reaches."""
        return super().facts() | {"beyond": BEYOND}

    def read(self, run: Run, observed: PlaneObservation, settings: Settings) -> Reading:
        """Predictions, pseudo-labels, numbers and regions."""
        return replace(super().read(run, observed, settings), plane=observed.plane)


class PixelPoints:
    """Pixels of a few images, at the stride of the features: the run segments, and anchors choose active pixels.

    Before the first stage of a CAG run, and for every other run, these are a preview: the anchors of the network as it
    is, measured on the images at hand, with CAG's default margin and confidence where the run has none.

    On the map every class has as many source pixels as any other, as far as there are; target pixels are drawn blindly.
    """

    kind, make_map = "pixels", FeatureMap
    numbers = ("active", "confident", "entropy", "domain_accuracy", "neighbour_mixing", "star_distance")
    slice, pace = SamplePoints.slice, SamplePoints.pace

    def __init__(self, run: Run):
        pair = run.pair
        self.classes, self.names = len(pair.classes), pair.classes
        H, W = pair.source_train.x[torch.tensor([0])].shape[2:]
        images = min(IMAGES, max(PICTURES, IMAGES * SMALL // (H * W)))
        self.i_s = validators.fixed_subset(len(pair.source_train), images)
        self.i_all = validators.fixed_subset(len(pair.target_train), images)
        self.x_s = pair.source_train.x[self.i_s]
        self.x_t = resize(pair.target_train.x[self.i_all], self.x_s)  # in the source's size
        f = run.features(self.x_s[:1], "source")
        self.y_map = at_stride(pair.source_train.y[self.i_s], f)  # [images, h, w]
        self.stride_size = tuple(f.shape[2:])
        shape_s, shape_t = self.y_map.shape, (len(self.i_all), *self.stride_size)
        self.place_s = torch.unravel_index(balanced(self.y_map.flatten(), POINTS), shape_s)
        self.place_compared, self.place_t = map(drawn, (shape_s, shape_t))
        self.y_s = self.y_map[self.place_s]
        self.source, self.target = len(self.place_s[0]), len(self.place_t[0])
        self.picture_size, self.label_size = fitted(H, W), fitted(*self.stride_size)
        self._of_teacher: tuple = None, None  # which teacher, and its features and logits of the target images

    def depends_on(self, settings: Settings) -> tuple:
        """The values of those settings that `read` depends on."""
        return (settings.margin, settings.confidence) if isinstance(settings, CAGSettings) else ()

    def observe(self, run: Run, whole: bool = True) -> PixelObservation:
        """Features, predictions and anchors, and the features and logits that labels are made from; always `whole`."""
        (f_s, z_s), (f_t, z_t) = (run.features_and_logits(*of) for of in ((self.x_s, "source"), (self.x_t, "target")))
        preview = not (isinstance(run, CAGRun) and run.stage)
        if preview:  # from the images at hand: measuring anchors on the whole source costs more than a step
            config = run.config if isinstance(run.config, CAGConfig) else CAGConfig()
            right = where_right(self.y_map.to(z_s.device), z_s)
            anchors = category_anchors([(f_s, right)], self.classes, config.anchor_weighting)
            labelling = f_t, z_t
        else:
            anchors, labelling = run.anchors, self._outputs_of_teacher(run)
        points = torch.cat([at(f_s, self.place_s), at(f_t, self.place_t)])
        stars = anchors.a.where(anchors.present[:, None], points.mean(0))  # an absent one is laid out, but not drawn
        predictions = torch.cat([at(z_s.argmax(1), self.place_s), at(z_t.argmax(1), self.place_t)])
        return PixelObservation(
            f=torch.cat([points, stars]),
            compared=(at(f_s, self.place_compared), at(f_t, self.place_t)),
            predictions=uint16(predictions),
            maps=resize(z_t, self.x_t).argmax(1).to(torch.uint8).cpu(),
            entropy=validators.mean_entropy(z_t),
            anchors=anchors,
            labelling=labelling,
            preview=preview,
        )

    def _outputs_of_teacher(self, run: CAGRun) -> tuple[Tensor, Tensor]:
        """The teacher's features and logits of the target images: the same for a whole stage."""
        made_from = run.made_from["teacher"]
        if self._of_teacher[0] != made_from:
            self._of_teacher = made_from, run.features_and_logits(self.x_t, "target", run.teacher)
        return self._of_teacher[1]

    def read(self, run: Run, observed: PixelObservation, settings: Settings) -> Reading:
        """Predictions, labels by anchors and by confidence, and numbers."""
        s = settings if isinstance(settings, CAGSettings) else CAGSettings()
        of_run = isinstance(run, CAGRun)
        margin = run.margin(s, observed.anchors) if of_run else margin_from_ratio(s.margin, observed.anchors)
        f, z = observed.labelling
        d = anchor_distances(f, observed.anchors)
        active, confident = anchor_labels(d, margin), confidence_labels(z, s.confidence) != IGNORE
        distance, nearest = d.min(1)
        counts = [self._counts(y) for y in (active, nearest.where(distance.isfinite(), IGNORE))]
        shown = shrunk(observed.maps[:PICTURES], self.picture_size), shrunk(active[:PICTURES], self.label_size)
        y_hat = at(active, self.place_t)
        return Reading(
            predictions=observed.predictions,
            pseudo_labels=uint16(y_hat.where(y_hat != IGNORE, NO_LABEL)),
            target_predictions=observed.maps,
            target_pseudo_labels=active.to(torch.uint8).cpu(),
            numbers={
                "active": (active != IGNORE).float().mean().item(),
                "confident": confident.float().mean().item(),
                "entropy": observed.entropy,
                **star_distance(
                    observed.anchors.a.where(observed.anchors.present[:, None], math.nan),
                    class_means(observed.compared[1], self._predicted_target(observed), self.classes),
                ),
            },
            pictures=b"".join(map(uint8, shown)),
            coverage=tuple(a / n if n else None for a, n in zip(*counts, strict=True)),
            notes=self._notes(observed.anchors, margin, observed.preview),
        )

    def _predicted_target(self, observed: PixelObservation) -> Tensor:
        return torch.from_numpy(from_uint16(observed.predictions)[self.source :].astype(np.int64))

    def _counts(self, y: Tensor) -> list[int]:
        return y[y != IGNORE].bincount(minlength=self.classes).tolist()

    def _notes(self, anchors: Anchors, margin: float, preview: bool) -> tuple[str, ...]:
        """Which classes can get no pseudo-label, and whose anchors these are."""
        out = [
            ("No anchor, as too few of its pixels are predicted right", ~anchors.present),
            ("Never active, as another anchor is nearer than the margin", shut_out(anchors, margin)),
        ]
        lines = [f"{words}: {', '.join(self._named(which))}." for words, which in out if which.any()]
        first = f"A preview: anchors of the network as it is, from {len(self.i_s)} source images."
        return tuple([first, *lines] if preview else lines)

    def _named(self, which: Tensor) -> list[str]:
        return [name for name, chosen in zip(self.names, which.tolist(), strict=True) if chosen]

    def stars(self, positions: np.ndarray, predictions: np.ndarray, observed: PixelObservation) -> np.ndarray:
        """[2, C, 2]: the anchors, and centroids of the target by prediction."""
        n = self.source + self.target
        own = np.where(observed.anchors.present.cpu().numpy()[:, None], positions[n:], NO_LABEL)
        return np.stack([own, centroids(positions[:n], predictions, self.source, self.classes)[1]])

    # -- pictures ------------------------------------------------------------------------------------------------------

    def facts(self) -> dict:
        """What the page must know to show pictures: of each point the image and the pixel, and which images are shown.

        `pixels` is uint16 [N, 3]: image, row, column at the stride of the features.
        """
        (i_s, *at_s), (i_t, *at_t) = self.place_s, self.place_t
        places = [torch.stack([i_s, *at_s], 1), torch.stack([i_t + len(self.i_s), *at_t], 1)]
        return {
            "image": [*self.picture_size, 3], "pixels": uint16(torch.cat(places)), "first": len(self.i_s),
            "pictures": min(PICTURES, len(self.i_all)), "stride_size": self.stride_size, "label_size": self.label_size,
        }  # fmt: skip

    def images(self) -> bytes:
        """uint8 [source and target images, a, b, 3], for hovering and for the pictures."""
        return pixels(F.interpolate(torch.cat([self.x_s, self.x_t]), self.picture_size, mode="area"))

    def pictures(self, frame: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each picture the image [P, a, b, 3], the prediction [P, a, b] and the active labels [P, h, w]; uint8."""
        (a, b), (h, w) = self.picture_size, self.label_size
        maps = np.frombuffer(frame.pictures, np.uint8)
        p = len(maps) // (a * b + h * w)
        images = np.frombuffer(self.images(), np.uint8).reshape(-1, a, b, 3)[len(self.i_s) :][:p]
        return images, maps[: p * a * b].reshape(p, a, b), maps[p * a * b :].reshape(p, h, w)

    # -- with labels you would not have --------------------------------------------------------------------------------

    def scores(self, frame: Reading, y: Tensor) -> dict:
        """Shares from 0 to 1 over the target images `i_all`, whose labels are y; `classes` holds each class's."""
        y_hat = frame.target_pseudo_labels
        true = at_stride(y, y_hat)
        predictions = frame.target_predictions
        confusion = evaluation.confusion_counts(at_stride(y, predictions), predictions, self.classes)
        labelled = evaluation.confusion_counts(true.where(y_hat != IGNORE, IGNORE), y_hat, self.classes)
        quality = evaluation.label_quality(labelled, np.array(self._counts(true)))
        columns = {"iou": evaluation.class_ious(confusion), "precision": quality.precision, "recall": quality.recall}
        return {
            "miou": evaluation.mean_iou(confusion),
            "active_precision": number(quality.overall_precision),
            "classes": {name: list(map(number, values)) for name, values in columns.items()},
        }

    def labels(self, y: Tensor) -> Tensor:
        """Of the target points on the map, NO_LABEL where there is none, from the labels of `i_all`."""
        true = at(at_stride(y, torch.empty(1, *self.stride_size)), self.place_t)
        return true.where(true != IGNORE, NO_LABEL)

    def true_pictures(self, y: Tensor) -> np.ndarray:
        """[P, a, b] uint8, of the labels of `i_all`."""
        return shrunk(y[:PICTURES], self.picture_size).to(torch.uint8).numpy()


Points = SamplePoints | PixelPoints


def points_of(run: Run) -> Points:
    """The points of this run that a board shows; the same for every board on its pair."""
    if run.pair.dense:
        return PixelPoints(run)
    return PlanePoints(run) if run.pair.source_train.x.shape[1:] == (2,) else SamplePoints(run)


def drawn(shape: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """At most POINTS places (image, row, column) in maps of this shape, drawn at random, and always the same."""
    return torch.unravel_index(validators.fixed_subset(math.prod(shape), POINTS), shape)


def balanced(y: Tensor, size: int) -> Tensor:
    """At most `size` places in labels y [n], of each class equally many as far as there are; none of `IGNORE`."""
    places = validators.fixed_subset(len(y), len(y))
    places = places[y[places] != IGNORE]
    members = F.one_hot(y[places])
    rank = (members.cumsum(0) * members).sum(1)  # first, second, third of its class
    return places[rank.argsort(stable=True)[:size]]


def centroids(positions: np.ndarray, labels: np.ndarray, source: int, classes: int) -> np.ndarray:
    """Mean position of each class, source and target apart: [2, C, 2]. NO_LABEL where a class is empty."""
    out = np.full((2, classes, 2), NO_LABEL)
    for domain, part in enumerate((slice(0, source), slice(source, None))):
        for c in np.unique(labels[part]):
            out[domain, c] = positions[part][labels[part] == c].mean(0).round()
    return out


def class_means(f: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of the features f [N, D] of each class: [C, D], NaN where a class is empty."""
    members = F.one_hot(labels.to(f.device), classes).T.float()
    return members @ f.float() / members.sum(1, keepdim=True)


def star_distance(mean_s: Tensor, mean_t: Tensor) -> dict[str, float]:
    """How far a class's target mean is from its source mean, in units of the distance between two source means.

    Both [C, D], NaN where a class is empty; averaged over the classes that both have, over all pairs of source means.
    Empty where there is nothing to average.
    """
    apart = (mean_s - mean_t).norm(dim=1).nanmean()
    unit = torch.pdist(mean_s[mean_s.isfinite().all(1)]).mean()
    value = (apart / unit).item()
    return {"star_distance": value} if math.isfinite(value) else {}


def at(maps: Tensor, place: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Features [n, D] of maps [B, D, h, w], or labels [n] of maps [B, h, w], at these (image, row, column)."""
    i, y, x = (p.to(maps.device) for p in place)
    return maps[i, :, y, x] if maps.ndim == 4 else maps[i, y, x]


def fitted(h: int, w: int) -> tuple[int, int]:
    """The size of a picture of h x w pixels that has at most SMALL."""
    scale = min(1.0, (SMALL / (h * w)) ** 0.5)
    return round(scale * h), round(scale * w)


def shrunk(y: Tensor, size: tuple[int, int]) -> Tensor:
    """Label maps at this size."""
    return at_stride(y, torch.empty(1, *size))


def pixels(x: Tensor) -> bytes:
    """Images [N, channels, height, width] in [0, 1] as bytes [N, height, width, channels]."""
    return uint8(x.clamp(0, 1).mul(255).permute(0, 2, 3, 1))


def uint8(x: Tensor) -> bytes:
    """As the page reads label maps and pictures."""
    return x.to(torch.uint8).cpu().numpy().tobytes()


def uint16(x: Tensor | np.ndarray) -> bytes:
    """As the page reads positions and labels: little-endian."""
    return np.asarray(x.cpu() if isinstance(x, Tensor) else x).astype("<u2").tobytes()


def from_uint16(data: bytes) -> np.ndarray:
    """The numbers that `uint16` wrote, flat."""
    return np.frombuffer(data, "<u2")


def number(value: float) -> float | None:
    """As JSON can carry it: NaN becomes None."""
    return None if np.isnan(value) else float(value)
