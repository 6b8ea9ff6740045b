"""All colours, markers and words of the kit's pictures, and the pictures that stand still.

One visual language: source filled circles, target hollow circles, class by colour, centroids stars, wrong predictions
crossed.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch import Tensor

from uda_core.data.task import Pair
from uda_core.live.loop import NO_LABEL, Frame
from uda_core.methods.run import Record, Run

CLASS_COLOURS = (  # told apart with every kind of colour vision (Petroff 2021, arXiv 2107.02270)
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
OPPOSED, NEUTRAL, ALIGNED, UNKNOWN = "#d1731b", "#f4f2ee", "#2f6fb3", "#b9bcc1"  # a cosine of -1, 0, 1, and none
ACCENT, CONTROL, WARNING = "#2f6fb3", "#8a9099", "#bd1f01"
LOOK = {
    "classes": CLASS_COLOURS,
    "cosine": [OPPOSED, NEUTRAL, ALIGNED, UNKNOWN],
    "accent": ACCENT,
    "control": CONTROL,
    "warning": WARNING,
    "radius": 3.1,  # of a circle, in CSS pixels; a hollow one has a line of `line`
    "line": 1.3,
    "star": 9.5,
    "light": {"paper": "#ffffff", "panel": "#f6f7f9", "ink": "#1f2430", "muted": "#656c79", "rule": "#e1e4e9"},
    "dark": {"paper": "#16191f", "panel": "#1f232b", "ink": "#e8eaee", "muted": "#9aa2af", "rule": "#333945"},
}
NUMBERS = [  # label-free numbers, in the order in which they are shown; `good` is the end to hope for
    {"name": "agreement", "label": "Heads agree on the target", "low": 0, "high": 1, "percent": True,
     "help": "Share of target samples to which both heads give one class. They can agree and be wrong."},
    {"name": "entropy", "label": "Target entropy", "low": 0, "high": None, "percent": False,
     "help": "Mean entropy of the target predictions, in nats: 0 is sure, log C is clueless."},
    {"name": "domain_accuracy", "label": "Domains told apart", "low": 0.5, "high": 1, "percent": True,
     "help": "Accuracy of logistic regression, cross-validated, that guesses the domain from the features; "
             "50 % means it cannot tell."},
    {"name": "neighbour_mixing", "label": "Neighbours from the other domain", "low": 0, "high": 0.6, "percent": True,
     "help": "Share of the 15 nearest neighbours in feature space that come from the other domain; "
             "about 50 % is well mixed."},
]  # fmt: skip
SCORES = [
    {"name": "target_accuracy", "label": "Target accuracy"},
    {"name": "pseudo_label_accuracy", "label": "Pseudo-label accuracy"},
    {"name": "baseline", "label": "Source only (baseline)"},
]
WORDS = {
    "distances": "Distances between clusters in a UMAP mean nothing, nor do their sizes. Look at who sits beside whom.",
    "pca": "PCA until UMAP is ready",
    "no_umap": "PCA: UMAP is not available here",
    "moved": "A dotted line: a setting was moved.",
    "control": "Grey, and the tick: the same number for two halves of the source, which is what no gap looks like.",
    "cosines": "Do source and target pull a head the same way? Cosine of the two gradients, for each class and head; "
    "grey where a gradient is near zero or a class has no sample.",
    "reveal": "Reveal (needs labels you would not have)",
    "revealed": "Needs labels you would not have",
}


def class_colour(c: int) -> str:
    """Colour of class number c; beyond ten classes they repeat."""
    return CLASS_COLOURS[c % len(CLASS_COLOURS)]


def board_figure(
    run: Run,
    frame: Frame,
    records: Sequence[Record],
    y_s: Tensor,
    scores: dict[str, float | None] | None = None,
    truth: Tensor | None = None,
) -> Figure:
    """One frame of a board, standing still: the map, the losses, the numbers, and for CGDM the gradient cosines.

    `scores` and `truth` (labels of the target points on the map) are for a board that was revealed.
    """
    with sns.axes_style("whitegrid", {"grid.color": LOOK["light"]["rule"], "axes.edgecolor": LOOK["light"]["rule"]}):
        figure = new_figure(11, 5.6)
        grid = figure.add_gridspec(3 if frame.cosines else 2, 2, width_ratios=[1.25, 1])
        map_axis = figure.add_subplot(grid[:, 0])
        losses_axis, numbers_axis = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        cosine_axis = figure.add_subplot(grid[2, 1]) if frame.cosines else None
    draw_map(map_axis, frame, run.pair.classes, y_s, truth)
    draw_losses(losses_axis, records)
    draw_numbers(numbers_axis, frame.numbers, scores)
    if cosine_axis:
        draw_cosines(cosine_axis, frame.cosines, run.pair.classes)
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


def draw_map(axis: Axes, frame: Frame, classes: Sequence[str], y_s: Tensor, truth: Tensor | None = None) -> None:
    """Source filled, target hollow in the colour of the predicted class, centroids as stars."""
    positions = np.frombuffer(frame.positions, "<u2").reshape(-1, 2)
    source, target = positions[: len(y_s)], positions[len(y_s) :]
    predicted = np.frombuffer(frame.predictions, "<u2")[len(y_s) :]
    colours = np.array([class_colour(c) for c in range(len(classes))])
    axis.scatter(*source.T, s=12, c=colours[y_s.numpy()], linewidths=0, alpha=0.8)
    axis.scatter(*target.T, s=14, facecolors="none", edgecolors=colours[predicted], linewidths=0.9)
    if truth is not None:
        axis.scatter(*target[predicted != truth.numpy()].T, s=22, marker="x", c=LOOK["light"]["ink"], linewidths=0.8)
    stars = np.frombuffer(frame.centroids, "<u2").reshape(2, len(classes), 2)
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
    axis.set_title("Do the hollow points (target) sit on the filled ones (source)?", fontsize=11)
    axis.set_xlabel(f"{frame.map} of the features at step {frame.step}\n{WORDS['distances']}", fontsize=8)
    handles = [
        Line2D([], [], marker="o", ls="", c=CONTROL, label="source"),
        Line2D([], [], marker="o", ls="", c=CONTROL, mfc="none", label="target"),
        Line2D([], [], marker="*", ls="", c=CONTROL, ms=10, label="class centroid"),
    ]
    if truth is not None:
        handles.append(Line2D([], [], marker="x", ls="", c=LOOK["light"]["ink"], label="wrong prediction"))
    axis.legend(handles=handles, loc="lower left", fontsize=8, frameon=True)


def draw_losses(axis: Axes, records: Sequence[Record]) -> None:
    """Every loss over the steps, by the name that the method's code gives it."""
    names = list(dict.fromkeys(name for record in records for name in record.losses))
    for i, name in enumerate(names):
        points = [(r.step, r.losses[name]) for r in records if name in r.losses]
        sns.lineplot(x=[p[0] for p in points], y=[p[1] for p in points], ax=axis, label=name.replace("_", " "),
                     color=class_colour(i), linewidth=1.1, errorbar=None)  # fmt: skip
    axis.set(xlabel="step", ylabel="loss")
    axis.set_title("Which losses fall, and which ones push back?", fontsize=11)
    if names:
        axis.legend(fontsize=8, ncols=2)
    sns.despine(ax=axis)


def draw_numbers(axis: Axes, numbers: dict[str, float], scores: dict[str, float | None] | None = None) -> None:
    """The label-free numbers beside their controls; target scores below them when they were revealed."""
    axis.axis("off")
    lines = [(n["label"], number_text(n, numbers.get(n["name"])), numbers.get(f"{n['name']}_control")) for n in NUMBERS]
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


def number_text(number: dict, value: float | None) -> str:
    """A label-free number as it is written: percent, or nats."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:.0f} %" if number["percent"] else f"{value:.2f} nats"


def summary(run: Run, frame: Frame, steps: int) -> str:
    """One sentence for those who cannot see the picture."""
    told = [f"{n['label'].lower()} {number_text(n, frame.numbers.get(n['name']))}" for n in NUMBERS]
    return f"{run.method} on {run.pair.name} after {steps} steps, {frame.map} map of the features: {', '.join(told)}."


@torch.no_grad()
def decision_regions(run: Run, pair: Pair, axis: Axes | None = None, resolution: int = 200) -> Axes:
    """Both heads' boundaries in the plane, the region where they disagree, source and unlabelled target points.

    Only for inputs that are points in the plane, such as `moons`.
    """
    if pair.source_train.x.shape[1:] != (2,):
        raise ValueError(f"decision_regions draws inputs [N, 2]; {pair.name} has {tuple(pair.source_train.x.shape)}")
    axis = axis or new_figure(6, 5).add_subplot()
    x_s, y_s, x_t = pair.source_train.x, pair.source_train.y, pair.target_train.x
    everything = torch.cat([x_s, x_t])
    low, high = everything.amin(0) - 0.3, everything.amax(0) + 0.3
    xs, ys = (np.linspace(float(a), float(b), resolution) for a, b in zip(low, high, strict=True))
    plane = torch.tensor(np.stack(np.meshgrid(xs, ys), -1), dtype=torch.float32).reshape(-1, 2)
    z1, z2 = (z.reshape(resolution, resolution, -1).cpu().numpy() for z in run.predict(plane))
    axis.pcolormesh(xs, ys, (z1 + z2).argmax(-1), cmap=ListedColormap(CLASS_COLOURS[: len(pair.classes)]), vmin=0,
                    vmax=len(pair.classes) - 1, alpha=0.13, shading="nearest", rasterized=True)  # fmt: skip
    disagree = (z1.argmax(-1) != z2.argmax(-1)).astype(float)
    axis.contourf(xs, ys, disagree, levels=[0.5, 1.5], colors="none", hatches=["////"])
    for z, style in ((z1, "-"), (z2, "--")):
        for c in range(len(pair.classes) - 1):
            axis.contour(xs, ys, (z.argmax(-1) > c).astype(float), levels=[0.5], colors=LOOK["light"]["ink"],
                         linestyles=style, linewidths=1.3)  # fmt: skip
    axis.scatter(*x_s.T.numpy(), s=14, c=[class_colour(int(c)) for c in y_s], linewidths=0)
    axis.scatter(*x_t.T.numpy(), s=16, facecolors="none", edgecolors=LOOK["light"]["muted"], linewidths=0.8)
    handles = [
        Line2D([], [], marker="o", ls="", c=CONTROL, label="source"),
        Line2D([], [], marker="o", ls="", c=LOOK["light"]["muted"], mfc="none", label="target, unlabelled"),
        Line2D([], [], ls="-", c=LOOK["light"]["ink"], label="boundary of head 1"),
        Line2D([], [], ls="--", c=LOOK["light"]["ink"], label="boundary of head 2"),
    ]
    axis.legend(handles=handles, loc="upper right", fontsize=8)
    axis.set(xticks=[], yticks=[], aspect="equal", title="Hatched: the heads disagree. Whose points lie there?")
    return axis


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
