"""The page of `uda compare`: a table of the runs, what one would choose without labels, and maps of the features."""

import html
import io
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uda_core.evaluation import labels, predicted
from uda_core.lab import results
from uda_core.lab.validators import RULE, RULES, fixed_subset
from uda_core.methods import LogisticRegression
from uda_core.run import Run
from uda_core.task import Task

Way = tuple[str, str]  # names of source and target
MEASURED = "office31-features"  # the table by which a method is chosen, and which of its rows is which
MEASURED_AS = {
    "source_only": "source only, one hidden layer", "infomax": "source + InfoMax", "mcd": "MCD", "clusters": "clusters",
    "logistic_regression": "logistic regression", "coral": "CORAL", "dann": "DANN", "mcd-infomax": "MCD + InfoMax",
    "cgdm": "CGDM (code)",
}  # fmt: skip
HEADS = {
    "method": "method", "target_accuracy": "target", "source_accuracy": "source", "seconds": "seconds",
    "head agreement": "agree", "target entropy": "entropy", "target InfoMax": "InfoMax",
    "rarest predicted class": "rarest", "commonest predicted class": "commonest", "domain accuracy": "domain",
    "neighbour mixing": "mixing", "lowest class cosine": "cosine",
}  # fmt: skip
LEGEND = (
    "Accuracy in percent, mean ± standard deviation over the seeds; of the source, on a tenth that did not train. The "
    "rest needs no target label: agree, share of the target to which both heads give one class; entropy and InfoMax of "
    "its predictions, in nats (clusters has none); rarest and commonest, share of it predicted as that class; domain, "
    "accuracy with which features tell source from target (0.5: not at all); mixing, share of nearest neighbours from "
    "the other domain (0.5: well mixed); cosine, of the class whose gradients from source and target agree least."
)
MOST = 300  # samples of each domain on a map
STYLE = Path(__file__).with_name("compare.css")


def page(of_ways: Mapping[Way, pd.DataFrame], tasks: Mapping[Way, Task], run_of: Callable[[Way, str, int], Run]) -> str:
    """The page, as HTML, of the rows of compare.csv; `run_of` gives the run of a method and a seed."""
    sections = [_section(way, rows, tasks[way], run_of) for way, rows in of_ways.items()]
    title = html.escape("; ".join(" -> ".join(way) for way in of_ways))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f"<!doctype html><html lang=en>{head}<style>{STYLE.read_text()}</style>{''.join(sections)}</html>\n"


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one source and target as texts, a line a method: means, of accuracies also the deviation."""
    lines = []
    for _, of_method in rows.groupby("method", sort=False):
        cells = {"method": of_method["method"].iloc[0]}
        for column in list(HEADS)[1:]:
            values = list(of_method[column].dropna()) if column in of_method else []
            cells[column] = f"{mean(values):.0f}" if column == "seconds" else f"{mean(values):.2f}" if values else ""
            if column.endswith("accuracy") and column != "domain accuracy":
                percent = [100 * value for value in values]
                spread = f" ± {np.std(percent, ddof=1):.1f}" if len(values) > 1 else ""
                cells[column] = f"{mean(percent):.1f}{spread}" if values else "not known"
        lines.append(cells)
    return pd.DataFrame(lines).rename(columns=HEADS)


def report(of_ways: Mapping[Way, pd.DataFrame], tasks: Mapping[Way, Task], network: str | None) -> str:
    """The same in one page of Markdown, to be handed on: what was compared, seeds, rule, ceiling, who saw what."""
    parts = []
    for way, rows in of_ways.items():
        task, (_, *why) = tasks[way], choice(rows)
        pair, known = task.pair, labels(task, "target_train")
        table = summary(rows)[["method", "target", "source", "seconds"]]
        table.insert(1, "seeds", [", ".join(map(str, r["seed"])) for _, r in rows.groupby("method", sort=False)])
        lines = [list(table), ["---"] * len(table.columns), *table.to_numpy().tolist()]
        features = f"frozen features of {network}" if network else "frozen features, from files"
        looked = "none was there" if known is None else "for the scores above and the ceiling, after the last step"
        parts += [
            f"# {_plain(' -> '.join(way))}",
            f"**Data.** Source: {len(pair.source_train)} samples train, {len(pair.source_val)} validate. Target: "
            f"{len(pair.target_train)}, which train without labels and are scored (transductive). Classes: "
            f"{_plain(', '.join(pair.classes))}. Input: {_plain(features)}.",
            "\n".join("| " + " | ".join(map(_plain, line)) + " |" for line in lines),
            "Accuracy in percent at the last step, mean ± standard deviation over the seeds; source: held-out samples.",
            "**Rule of choice.** " + _plain(" ".join(why)),
            f"**Ceiling.** {ceiling(pair.target_train.x, known)}",
            f"**Target labels that were looked at.** By these runs: {looked}. By people, before or between: ______",
            "**To fill in.** Settings changed, and on what they were chosen: ______ What a mistake costs, and which: "
            "______ How many target samples were labelled by hand, and how many of these are right: ______",
        ]
    return "\n\n".join(parts) + "\n"


def ceiling(x: Tensor, y: Tensor | None) -> str:
    """What logistic regression reaches with target labels: of features x [N, D] and labels y [N], cross-validated.

    Classes with fewer than three samples are left out: they cannot be in every fold.
    """
    if y is not None:
        often = y.bincount()[y] >= 3
        x, y = x[often], y[often]
    if y is None or len(y.unique()) < 2:
        return (
            "Not known: it takes target labels of two classes, three of each. Without them no number above says how "
            "far one could get."
        )
    from sklearn.linear_model import LogisticRegression as Regression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    y_pred = cross_val_predict(Regression(max_iter=1000), x.numpy(), y.numpy(), cv=folds)
    right = (y_pred == y.numpy()).mean()
    return f"Logistic regression trained on two thirds of the target's labels, tested on the rest: {right:.1%}."


def _plain(text: object) -> str:
    """As Markdown shows it letter by letter."""
    return re.sub(r"([\\`*_|#\[\]<&])", r"\\\1", str(text))


def choice(rows: pd.DataFrame) -> tuple[tuple[str, int], str, ...]:
    """Method and seed that one would take without target labels; then texts: by which rule, how sure, what it cost.

    The method by what our own table has for it, the seed by the rule of `uda train --restarts`.
    """
    measured = {name: mean(results.scores(MEASURED, row).values()) for name, row in MEASURED_AS.items()}
    known = [name for name in rows["method"].unique() if name in measured] or list(rows["method"].unique())
    method = max(known, key=lambda name: measured.get(name, 0.0))
    of_method = rows[rows["method"] == method]
    chosen = of_method.loc[of_method[RULES[RULE]].idxmin()]
    seed = int(chosen["seed"])
    others = ", ".join(f"{name} {measured[name]:.1f}" for name in known if name != method and name in measured)
    bars = f" ({others})" if others else ""
    texts = [f"Without target labels: take {method}, seed {seed}."]
    if method in measured:
        texts.append(
            "The method: of those compared, it has the highest mean over our six tasks of Office-31, frozen features: "
            f"{measured[method]:.1f} %{bars}. Those are three sets of photographs, and say little of other data; "
            "InfoMax, pseudo-labels and the gradient discrepancy weighed 0.1 there, not what the recipes have. "
            "No number without labels chooses well between methods in all of our tables."
        )
    if len(of_method) > 1:
        picks = results.picks("restarts", "CGDM (code)", results.triples())
        texts.append(
            f"The seed: its {RULES[RULE]} is the rarest, {chosen[RULES[RULE]]:.3f} of the target (rule {RULE}). In our "
            f"tables (CGDM, fonts -> handwriting, {len(picks)} times one of three) that rule's picks have "
            f"{picks[RULE].mean():.1f} % in the mean, a blind pick {picks['mean'].mean():.1f}, the best of the three "
            f"{picks['best'].mean():.1f}; its worst pick has {picks[RULE].min():.1f}."
        )
    even, uneven = (mean(results.scores("imbalanced", row).values()) for row in ("source only", "CGDM (code)"))
    texts.append(
        "Do not trust it where the target's classes differ much in size: InfoMax, which CGDM contains, and a choice by "
        "the commonest class prefer even predictions. In our table with a target that keeps a tenth of half its "
        f"classes, source only has {even:.1f} %, CGDM {uneven:.1f}."
    )
    if rows["target_accuracy"].notna().all():
        best = rows.loc[rows["target_accuracy"].idxmax()]
        lost = 100 * (best["target_accuracy"] - chosen["target_accuracy"])
        texts.append(
            f"What it cost, by your target's labels: it has {100 * chosen['target_accuracy']:.1f} %, the best run, "
            f"{best['method']} with seed {best['seed']}, {100 * best['target_accuracy']:.1f}: regret {lost:.1f} points."
        )
    return ((method, seed), *texts)


def _section(way: Way, rows: pd.DataFrame, task: Task, run_of: Callable[[Way, str, int], Run]) -> str:
    first, *others = map(html.escape, choice(rows)[1:])
    text = f"<p><b>{first}</b></p>" + "".join(f"<p>{other}</p>" for other in others)
    table = summary(rows).to_html(index=False, border=0)
    dots = '<span class="class"><span class="dot" style="background:{}"></span>{}</span>'
    names = map(html.escape, task.pair.classes)
    classes = "".join(map(dots.format, _colours(len(task.pair.classes)), names))
    maps = "".join(_figures(way, rows, task, run_of))
    wrong = ", crossed where that is wrong" if labels(task, "target_train") is not None else ""
    return (
        f"<h1>{html.escape(' -> '.join(way))}</h1><p>{len(task.pair.source_train)} samples of the source train, "
        f"{len(task.pair.source_val)} validate; {len(task.pair.target_train)} of the target, "
        f"{len(task.pair.classes)} classes.</p>"
        f'<div class="scroll">{table}</div><p class="small">{LEGEND}</p>'
        f'<h2>What to take</h2>{text}<h2>The features, before and after</h2><p class="small">Source filled, '
        f"target hollow, in the colour of the predicted class{wrong}. Of each method the seed that the rule takes.</p>"
        f'<p class="small">{classes}</p><div class="maps">{maps}</div>'
    )


def _figures(way: Way, rows: pd.DataFrame, task: Task, run_of: Callable[[Way, str, int], Run]) -> list[str]:
    """A map before, then one after each method that changes the features."""
    i_s, i_t = (fixed_subset(len(split), MOST) for split in (task.pair.source_train, task.pair.target_train))
    x_s, x_t, y_s = task.pair.source_train.x[i_s], task.pair.target_train.x[i_t], task.pair.source_train.y[i_s]
    known = labels(task, "target_train")
    y_t = None if known is None else known[i_t]
    before = "before: the frozen features"
    figures, maps = [], {before: (x_s, x_t, None)}
    for method, of_method in rows.groupby("method", sort=False):
        best = of_method.loc[of_method[RULES[RULE]].idxmin()]
        run = run_of(way, method, int(best["seed"]))
        y = predicted(run, x_t)
        if method == LogisticRegression.name:
            maps[before] = (x_s, x_t, y)  # they are its features too
        else:
            maps[f"{method}, seed {best['seed']}"] = (run.features(x_s, "source").cpu(), run.features(x_t).cpu(), y)
    for name, (f_s, f_t, y) in maps.items():
        kind, layout = _layout(torch.cat([f_s, f_t]).numpy())
        picture = b64encode(_picture(layout, y_s, y, y_t, len(task.pair.classes))).decode()
        image = f'<img alt="{kind}" src="data:image/png;base64,{picture}">'
        figures.append(f"<figure>{image}<figcaption>{html.escape(name)} ({kind})</figure>")
    return figures


def _layout(f: np.ndarray) -> tuple[str, np.ndarray]:
    """Features [N, D] in the plane, [N, 2], by UMAP, or PCA where there is none."""
    f = f / (np.abs(f).max() or 1.0)  # so that no square overflows
    try:
        from umap import UMAP  # takes seconds to import
    except ImportError:
        from sklearn.decomposition import PCA

        return "PCA", PCA(2, random_state=0).fit_transform(f)
    neighbours = min(15, len(f) - 1)
    return "UMAP", UMAP(n_neighbors=neighbours, spread=2.0, min_dist=1.0, random_state=0, n_jobs=1).fit_transform(f)


def _picture(layout: np.ndarray, y_s: Tensor, y: Tensor | None, y_t: Tensor | None, classes: int) -> bytes:
    """A map as PNG: source labels y_s, predictions y of the target, or None: grey, and its labels y_t, or None."""
    from matplotlib.figure import Figure

    colours = np.array([*_colours(classes), "#8a9099"])
    figure = Figure((5, 5), dpi=100, layout="constrained")
    axes = figure.subplots()
    s, t = np.split(layout, [len(y_s)])
    of_target = np.full(len(t), classes) if y is None else y.numpy()
    axes.scatter(*s.T, s=14, c=colours[y_s.numpy()], linewidths=0)
    axes.scatter(*t.T, s=18, facecolors="none", edgecolors=colours[of_target], linewidths=1.1)
    if y is not None and y_t is not None:
        axes.scatter(*t[(y != y_t).numpy()].T, s=22, marker="x", c="#1f2430", linewidths=0.9)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _colours(classes: int) -> list[str]:
    """A colour for each class; up to ten are distinct with every kind of colour vision."""
    import seaborn as sns  # brings matplotlib

    return (sns.color_palette("colorblind") if classes <= 10 else sns.husl_palette(classes)).as_hex()[:classes]
