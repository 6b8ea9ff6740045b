"""All colours, markers and words of the kit's pictures, and the pictures that stand still.

One visual language: source filled circles, target hollow circles, class by colour, centroids and anchors stars, wrong
predictions crossed, on maps dark.
"""

import io
import itertools
import math
import textwrap
from collections.abc import Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch import Tensor

from uda_core.maps import at_stride
from uda_core.run import Record, Run
from uda_core.samples import IGNORE
from uda_lessons.board.loop import Frame
from uda_lessons.board.plane import STEPS, above_of
from uda_lessons.board.points import BEYOND, GRID, NO_LABEL, PixelPoints, Points, from_uint16

# Of Petroff (2021, arXiv 2107.02270), distinct with every kind of colour vision, moved until each has a contrast of 3
# with the paper: on white in hue too, as pale colours come close to others when they are made darker.
CLASS_COLOURS = (
    "#478ae0", "#d87d0f", "#c01f08", "#ac8a92", "#842db4", "#a56a57", "#da5121", "#9c955b", "#6b7382", "#30a0ba",
)  # fmt: skip
CLASS_COLOURS_ON_DARK = (
    "#3f90da", "#ffa90e", "#c12c10", "#94a4a2", "#8e40bd", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
GLYPHS = "os^D"  # of classes 0 to 9, 10 to 19 and so on: circle, square, triangle, diamond, as in stamps.mjs
OPPOSED, NEUTRAL, ALIGNED, UNKNOWN = "#d1731b", "#f4f2ee", "#2f6fb3", "#b9bcc1"  # a cosine of -1, 0, 1, and none
ACCENT, CONTROL, WARNING = "#2f6fb3", "#8a9099", "#bd1f01"
DIMMED = 0.3  # brightness of an image where no pixel is active, and of a wrong prediction
LOOK = {
    "cosine": [OPPOSED, NEUTRAL, ALIGNED, UNKNOWN],
    "accent": ACCENT,
    "control": CONTROL,
    "warning": WARNING,
    "radius": 3.1,  # of a circle, in CSS pixels; a hollow one has a line of `line`
    "line": 1.3,
    "star": 9.5,
    "dimmed": DIMMED,
    "light": {"paper": "#ffffff", "panel": "#f6f7f9", "ink": "#1f2430", "muted": "#656c79", "rule": "#e1e4e9",
              "classes": CLASS_COLOURS, "domains": CLASS_COLOURS[:2], "curve": ACCENT, "ghost": CONTROL},
    "dark": {"paper": "#16191f", "panel": "#1f232b", "ink": "#e8eaee", "muted": "#9aa2af", "rule": "#333945",
             "classes": CLASS_COLOURS_ON_DARK, "domains": CLASS_COLOURS_ON_DARK[:2],
             "curve": "#6aa8e8", "ghost": "#6b7382"},
}  # fmt: skip
NUMBERS = {  # label-free; each kind of points says which of them it has, and in which order; "curve": a frame's step
    "agreement": {"label": "Heads agree on the target", "low": 0, "high": 1, "percent": True,
     "help": "Share of target samples to which both heads give one class. They can agree and be wrong."},
    "active": {"label": "Active target pixels", "low": 0, "high": 1, "percent": True,
     "help": "Share of target pixels that get a pseudo-label: their nearest anchor is nearer than the second by the "
             "margin. They can be active and wrong."},
    "confident": {"label": "Confident target pixels", "low": 0, "high": 1, "percent": True,
     "help": "Share of target pixels whose largest probability is above the threshold."},
    "entropy": {"label": "Target entropy", "low": 0, "high": None, "percent": False, "unit": "nats",
     "help": "Mean entropy of the target predictions, in nats: 0 is sure, log C a uniform guess. The InfoMax loss is "
             "another number: it subtracts the entropy of the mean prediction."},
    "domain_accuracy": {"label": "Domains told apart", "low": 0.5, "high": 1, "percent": True, "curve": "measured",
     "help": "Accuracy of logistic regression, cross-validated, that guesses the domain from the features; "
             "50 % means it cannot tell."},
    "neighbour_mixing": {"label": "Mixed neighbours", "low": 0, "high": 0.6, "percent": True, "curve": "measured",
     "help": "Share of the 15 nearest neighbours in feature space that come from the other domain; "
             "about 50 % is well mixed."},
    "star_distance": {"label": "Star distance", "low": 0, "high": None, "percent": False, "unit": "", "curve": "step",
     "help": "How far a hollow star is from its filled one in feature space, in the mean; 1 is the mean distance "
             "between two filled stars."},
}  # fmt: skip
LOSSES = {"infomax": "InfoMax"}  # that are not called as in the code
SCORES = [
    {"name": "target_accuracy", "label": "Target accuracy"},
    {"name": "pseudo_label_accuracy", "label": "Pseudo-label accuracy"},
    {"name": "miou", "label": "Target mIoU, on the images looked at"},
    {"name": "active_precision", "label": "Active pixels that are right"},
    {"name": "baseline", "label": "Source only (baseline)"},
]
COLUMNS = [  # of the table of classes; all but the first need labels
    {"name": "coverage", "label": "active", "help": "Of the pixels nearest to this anchor, the share that is active."},
    {"name": "iou", "label": "IoU", "help": "Intersection over union of the prediction and the true label."},
    {
        "name": "precision",
        "label": "precision",
        "help": "Of the active pixels with this label, the share that is right.",
    },
    {"name": "recall", "label": "recall", "help": "Of the pixels of this class, the share that is active and right."},
]
WORDS = {
    "points": "features",
    "look": "Do the hollow points (target) sit on the filled ones (source)?",
    "distances": "Distances between clusters in a UMAP mean nothing, nor do their sizes. Look at who sits beside whom.",
    "pca": {
        "compiling": "PCA until UMAP is ready",
        "restarting": "PCA until UMAP has started again",
        "error": "PCA: UMAP is not available here",
        "ready": "PCA, from before UMAP was ready",
    },
    "moved": "A dotted line: a setting was moved.",
    "gap": "The gap in feature space",
    "control": "Dashed: the same number for two halves of the source, which is what no gap looks like.",
    "ghost": "grey: the run before, to step {}",
    "changed": "Changed since: ",
    "unchanged": "Nothing was changed since.",
    "waits": "starts when the running cell ends",
    "cosines": "Do source and target pull a head the same way? Cosine of the two gradients, for each class and head; "
    "grey where a gradient is near zero or a class has no sample.",
    "reveal": "Reveal",
    "presenter": "The whole window, with larger text and marks; Escape closes it",
    "seed": "order of the data and first weights; takes effect at the next Reset",
    "revealed": "Needs labels you would not have",
    "stage": "A solid line: a stage began, with a new teacher and new anchors.",
}
KIND_WORDS = {  # what differs with what the points are
    "samples": {
        "source": "source, coloured by label", "target": "target, coloured by prediction",
        "filled": "class centroids", "hollow": "class centroids",
    },
    "pixels": {
        "source": "source pixel, coloured by label", "target": "target pixel, coloured by prediction",
        "filled": "category anchors", "hollow": "target centroids by prediction",
        "pictures": "Target images", "image": "image", "prediction": "prediction", "active": "active pixels",
        "true": "true labels", "waiting": "Reveal shows it", "inactive": "not active",
        "dark": " (dark: wrong)", "crossed": " (crossed: wrong)",
        "classes": "Class by class, over the images looked at",
    },
}  # fmt: skip
KIND_WORDS["plane"] = KIND_WORDS["samples"] | {
    "points": "samples",
    "look": "Hatched: the heads disagree. Whose points lie there?",
    "distances": "Tinted: the class that is predicted there. A line: the boundary of head 1; dashed: of head 2. "
    "Hatched: the heads disagree.",
    "control": "",
}


def class_colour(c: int) -> str:
    """Colour of class number c on white; beyond ten classes they repeat, with another glyph."""
    return CLASS_COLOURS[c % len(CLASS_COLOURS)]


def class_glyph(c: int) -> str:
    """Marker of class number c, for matplotlib."""
    return GLYPHS[c // len(CLASS_COLOURS) % len(GLYPHS)]


def board_figure(
    run: Run,
    points: Points,
    frame: Frame,
    records: Sequence[Record],
    scores: dict | None = None,
    y: Tensor | None = None,
) -> Figure:
    """One frame of a board, standing still: the map, the losses, the numbers; for CGDM the gradient cosines, and of
    maps a picture with its prediction and active pixels, and the classes.

    `scores` and `y` (labels of the target samples on the board) are for a board that was revealed.
    """
    dense, rows = bool(frame.pictures), 3 if frame.cosines else 2
    with sns.axes_style("whitegrid", {"grid.color": LOOK["light"]["rule"], "axes.edgecolor": LOOK["light"]["rule"]}):
        figure = new_figure(11, 9.0 if dense else 5.6)
        board, *below = figure.add_gridspec(1 + dense, 1, height_ratios=[5.6, 3.4][: 1 + dense])
        grid = board.subgridspec(rows, 2, width_ratios=[1.25, 1])
        map_axis = figure.add_subplot(grid[:, 0])
        losses_axis, numbers_axis = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        cosine_axis = figure.add_subplot(grid[2, 1]) if frame.cosines else None
        panel = below[0].subgridspec(2, 3) if dense else None
        panel_axes = [figure.add_subplot(panel[i // 2, i % 2]) for i in range(4)] if dense else []
    draw_map(map_axis, points, frame, run.pair.classes, None if y is None else points.labels(y))
    draw_losses(losses_axis, records)
    draw_numbers(numbers_axis, points.numbers, frame.numbers, scores)
    if cosine_axis:
        draw_cosines(cosine_axis, frame.cosines, run.pair.classes)
    if dense:
        draw_pictures(panel_axes, points, frame, y)
        draw_classes(
            figure.add_subplot(panel[:, 2]),
            run.pair.classes,
            {"coverage": frame.coverage} | (scores or {}).get("classes", {}),
        )
    return figure


class Picture(Figure):
    """A figure that shows itself in a notebook, whether or not anything there has imported pyplot."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=96, bbox_inches="tight")
        return png.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, inches, that no global state holds on to: safe on any thread."""
    figure = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_map(axis: Axes, points: Points, frame: Frame, classes: Sequence[str], truth: Tensor | None = None) -> None:
    """Source filled, target hollow in the look of the predicted class, centroids or anchors as stars."""
    positions = from_uint16(frame.positions).reshape(-1, 2)
    source, target = positions[: points.source], positions[points.source :]
    predicted = from_uint16(frame.predictions)[points.source :]
    colours, glyphs = (np.array([look(c) for c in range(len(classes))]) for look in (class_colour, class_glyph))
    labels, words = points.y_s.numpy(), WORDS | KIND_WORDS[points.kind]
    if frame.plane:
        draw_regions(axis, frame.plane, len(classes))
    for glyph in dict.fromkeys(glyphs):
        a, b = glyphs[labels] == glyph, glyphs[predicted] == glyph
        axis.scatter(*source[a].T, s=12, marker=glyph, c=colours[labels[a]], linewidths=0)
        hollow = {"facecolors": "none", "edgecolors": colours[predicted[b]]}
        axis.scatter(*target[b].T, s=14, marker=glyph, linewidths=0.9, **hollow)
    if truth is not None:
        wrong = (predicted != truth.numpy()) & (truth.numpy() != NO_LABEL)
        axis.scatter(*target[wrong].T, s=22, marker="x", c=LOOK["light"]["ink"], linewidths=0.8)
    stars = from_uint16(frame.centroids).reshape(2, len(classes), 2)
    for (domain, c), (x, y) in zip(np.ndindex(2, len(classes)), stars.reshape(-1, 2), strict=True):
        if x == NO_LABEL:
            continue
        fill, edge = (colours[c], LOOK["light"]["ink"]) if domain == 0 else (LOOK["light"]["paper"], colours[c])
        axis.scatter(x, y, s=150, marker="*", c=fill, edgecolors=edge, linewidths=1.0, zorder=4 - domain)
        if domain == 0:
            outlined = [withStroke(linewidth=3, foreground=LOOK["light"]["paper"])]
            axis.annotate(classes[c], (x, y), (7, 5), textcoords="offset points", weight="bold", zorder=5,
                          path_effects=outlined)  # fmt: skip
    axis.set(xticks=[], yticks=[], aspect="equal", xlim=(0, NO_LABEL), ylim=(0, NO_LABEL))
    axis.set_title(words["look"], fontsize=11)
    first = f"{frame.map} map of the {words['points']} at step {frame.step}"
    lines = [first, *textwrap.wrap(words["distances"], 110), *frame.notes]
    axis.set_xlabel("\n".join(lines), fontsize=8)
    handles = [
        Line2D([], [], marker="o", ls="", c=CONTROL, label="source"),
        Line2D([], [], marker="o", ls="", c=CONTROL, mfc="none", label="target"),
        Line2D([], [], marker="*", ls="", c=CONTROL, ms=10, label=words["filled"]),
    ]
    if truth is not None:
        handles.append(Line2D([], [], marker="x", ls="", c=LOOK["light"]["ink"], label="wrong prediction"))
    axis.legend(handles=handles, loc="lower left", fontsize=8, frameon=True)


def draw_regions(axis: Axes, plane: bytes, classes: int) -> None:
    """Of a frame's `plane`: the predicted classes tinted, both heads' boundaries, hatching where they disagree."""
    fields = np.frombuffer(plane, np.uint8).reshape(3, 2, GRID, GRID)
    predicted, above = fields[:, 0], above_of(fields[:, 1])
    at, ink = STEPS * np.linspace(-BEYOND, 1 + BEYOND, GRID), LOOK["light"]["ink"]
    for c in range(classes):
        here = np.where(predicted[0] == c, above[0], -above[0])
        axis.contourf(at, at, here, levels=[0, np.inf], colors=class_colour(c), alpha=0.15)
    axis.contourf(at, at, predicted[1] != predicted[2], levels=[0.5, 1.5], colors="none", hatches=["////"])
    for head, style in ((1, "-"), (2, "--")):
        for c in range(classes - 1):
            side = np.where(predicted[head] > c, above[head], -above[head])
            if side.min() < 0 < side.max():
                axis.contour(at, at, side, levels=[0], colors=ink, linestyles=style, linewidths=1.3)


def draw_losses(axis: Axes, records: Sequence[Record]) -> None:
    """Every loss over the steps, where it was computed."""
    names = list(dict.fromkeys(name for record in records for name in record.losses))
    for i, name in enumerate(names):
        points = [(r.step, r.losses[name]) for r in records if name in r.losses]
        sns.lineplot(x=[p[0] for p in points], y=[p[1] for p in points], ax=axis, color=class_colour(i), linewidth=1.1,
                     label=LOSSES.get(name, name.replace("_", " ")), errorbar=None)  # fmt: skip
    for step in stages_began(records):
        axis.axvline(step, color=LOOK["light"]["muted"], linewidth=0.8)
    axis.set(xlabel="step", ylabel="loss")
    axis.set_title("Which losses fall, and which ones push back?", fontsize=11)
    if names:
        axis.legend(fontsize=8, ncols=2)
    sns.despine(ax=axis)


def stages_began(records: Sequence[Record]) -> list[int]:
    """The steps that were the first of a stage; none for a method without stages."""
    stages = [0, *(record.counts.get("stage", 0) for record in records)]
    return [record.step for record, (old, new) in zip(records, itertools.pairwise(stages), strict=True) if new != old]


def draw_numbers(axis: Axes, names: Sequence[str], numbers: dict[str, float], scores: dict | None = None) -> None:
    """The label-free numbers of these names beside their controls; below them the target scores, if revealed."""
    axis.axis("off")
    shown = [(NUMBERS[name], numbers.get(name), numbers.get(f"{name}_control")) for name in names]
    lines = [(number["label"], number_text(number, value), control) for number, value, control in shown]
    rows = [(label, text + (f"   (source halves: {100 * c:.0f} %)" if c else "")) for label, text, c in lines]
    if scores:
        rows += [(s["label"], f"{100 * scores[s['name']]:.1f} %") for s in SCORES if scores.get(s["name"]) is not None]
    for i, (label, text) in enumerate(rows):
        y = 1 - (i + 0.5) / len(rows)
        axis.text(0, y, label, va="center", color=LOOK["light"]["muted"], transform=axis.transAxes)
        axis.text(0.62, y, text, va="center", weight="bold", transform=axis.transAxes)
    title = "With labels you would not have" if scores else "What can you tell without target labels?"
    axis.set_title(title, fontsize=11)


def draw_cosines(axis: Axes, cosines: list[list[float | None]], classes: Sequence[str]) -> None:
    """Heat map [heads, C] from -1 to 1, grey where unknown."""
    values = np.array([[np.nan if c is None else c for c in row] for row in cosines], dtype=float)
    colours = LinearSegmentedColormap.from_list("cosine", [OPPOSED, NEUTRAL, ALIGNED])
    axis.set_facecolor(UNKNOWN)
    sns.heatmap(values, vmin=-1, vmax=1, cmap=colours, annot=values.shape[1] <= 12, fmt=".1f", cbar=False, ax=axis,
                xticklabels=classes, yticklabels=[f"head {i + 1}" for i in range(len(values))],
                annot_kws={"fontsize": 8}, linewidths=1)  # fmt: skip
    axis.tick_params(length=0)
    axis.set_title("For which class do source and target pull a head apart?", fontsize=11)


def draw_pictures(axes: Sequence[Axes], points: PixelPoints, frame: Frame, y: Tensor | None = None) -> None:
    """The first target image, its prediction, its active pixels; with labels y also the truth, and what is wrong."""
    image, prediction, active = (pictures[0] for pictures in points.pictures(frame))
    words, dimmed = KIND_WORDS[points.kind], DIMMED * image / 255
    shown = {"image": (image / 255,), "prediction": (coloured(prediction),), "active": (dimmed, coloured(active))}
    titles = {name: words[name] for name in shown}
    if y is not None:
        true = points.true_pictures(y)[0]
        there = at_stride(torch.tensor(true)[None], torch.tensor(active))[0].numpy()
        rows, columns = ((active != IGNORE) & (there != IGNORE) & (active != there)).nonzero()
        axes[2].scatter(columns + 0.5, rows + 0.5, s=5, marker="x", c=LOOK["light"]["paper"], linewidths=0.6, zorder=3)
        right = (prediction == true) | (true == IGNORE)
        shown |= {"prediction": (coloured(prediction, np.where(right, 1, DIMMED)),), "true": (dimmed, coloured(true))}
        titles |= {"prediction": words["prediction"] + words["dark"], "active": words["active"] + words["crossed"]}
        titles["true"] = words["true"]
    for axis, name in itertools.zip_longest(axes, shown):
        axis.axis("off")
        for layer in shown.get(name, ()):
            axis.imshow(layer, interpolation="nearest", extent=(0, active.shape[1], active.shape[0], 0))
        axis.set_title(titles.get(name, ""), fontsize=10)


def coloured(labels: np.ndarray, brightness: np.ndarray | float = 1.0) -> np.ndarray:
    """Class colours of labels [a, b] as [a, b, 4], transparent where there is no label."""
    palette = np.array([to_rgb(colour) for colour in CLASS_COLOURS])
    colours = palette[labels % len(palette)] * np.asarray(brightness)[..., None]
    return np.concatenate([colours, (labels != IGNORE)[..., None]], axis=2)


def draw_classes(axis: Axes, classes: Sequence[str], shares: dict[str, Sequence[float | None]]) -> None:
    """A table: for each class the share of active pixels and, if revealed, IoU, precision and recall."""
    axis.axis("off")
    columns = [column for column in COLUMNS if column["name"] in shares]
    for i, name in enumerate(["", *classes]):
        y = 1 - (i + 0.5) / (len(classes) + 1)
        axis.text(0.04, y, name, va="center", transform=axis.transAxes)
        if name:
            axis.plot(0, y, "o", c=class_colour(i - 1), transform=axis.transAxes, clip_on=False)
        for k, column in enumerate(columns):
            value = shares[column["name"]][i - 1]
            text = ("-" if value is None else f"{100 * value:.0f} %") if name else column["label"]
            axis.text(0.47 + 0.18 * k, y, text, va="center", ha="right", transform=axis.transAxes,
                      weight="bold" if name else "normal", fontsize=8)  # fmt: skip
    axis.set_title("Which classes get pseudo-labels?", fontsize=11)


def number_text(number: dict, value: float | None) -> str:
    """A label-free number as it is written: percent, or with its unit."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:.0f} %" if number["percent"] else f"{value:.2f} {number['unit']}".strip()


def summary(run: Run, points: Points, frame: Frame, steps: int) -> str:
    """A sentence for those who cannot see the picture."""
    shown = [(NUMBERS[name], frame.numbers.get(name)) for name in points.numbers]
    words = ", ".join(f"{number['label'].lower()} {number_text(number, value)}" for number, value in shown)
    kind = (WORDS | KIND_WORDS[points.kind])["points"]
    sentence = f"{run.method} on {run.pair.name} after {steps} steps, {frame.map} map of the {kind}: {words}."
    return " ".join([sentence, *frame.notes])


def image_grid(images: Tensor, captions: Sequence[str] = (), columns: int = 10, title: str = "") -> Figure:
    """Small pictures [N, channels, height, width] in [0, 1], row by row, each with its caption if there are any."""
    rows = math.ceil(len(images) / columns)
    figure = new_figure(columns * 0.9, rows * (1.15 if captions else 0.9) + (0.4 if title else 0))
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for i, axis in enumerate(axes):
        axis.axis("off")
        if i < len(images):
            axis.imshow(images[i].permute(1, 2, 0).squeeze(-1).clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_title(captions[i] if i < len(captions) else "", fontsize=8)
    figure.suptitle(title)
    return figure
