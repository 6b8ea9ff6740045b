"""Measured results, kept in files beside this one, each with the command that made it.

`show("fonts-handwriting")` displays a table in a notebook; README carries some of them, put there by
`python -m uda_core.lab.results README.md`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from statistics import mean, stdev

from uda_core.errors import UserError, choose
from uda_core.lab.results.published import PUBLISHED

FILES = {
    "fonts-handwriting": "fonts_handwriting.json",
    "imbalanced": "imbalanced.json",
    "rehearsal": "rehearsal.json",
    "streets": "streets.json",
    "streets-rehearsal": "streets_rehearsal.json",
    "camvid-day-dusk": "camvid_day_dusk.json",
    "mnist-usps": "mnist_usps.json",
    "usps-mnist": "usps_mnist.json",
    "office31-features": "office31_features.json",
}
PHASES = {
    "source": "source",
    "target-statistics": "target statistics",
    "warm-up": "warm-up",
    "stage1": "stage 1",
    "stage2": "stage 2",
}
IN_README = ("fonts-handwriting", "streets", "camvid-day-dusk", "mnist-usps", "usps-mnist", "office31-features")
BEGIN, END = "<!-- results:{}:begin -->", "<!-- results:{}:end -->"


def load(name: str) -> dict:
    """The results file of this name: its command, its note, and of each row the method, settings and seeds."""
    file = resources.files(__name__) / FILES[choose("results", name, FILES)]
    return json.loads(file.read_text(encoding="utf-8"))


def scores(name: str, row: str) -> dict[int, float]:
    """Target score of each seed at the last step, in percent."""
    rows = load(name)["rows"]
    return {int(seed): 100 * entry["score"] for seed, entry in rows[choose("row", row, rows)]["seeds"].items()}


def milestones(name: str, row: str) -> dict[str, list[float]]:
    """Target score of each seed, in percent, at the end of each phase that comes before the last one."""
    return _told(name, row, lambda entry: list(entry.get("milestones", {}).items())[:-1])


def tasks(name: str, row: str) -> dict[str, list[float]]:
    """Target score of each seed, in percent, on each task, where a row has several."""
    return _told(name, row, lambda entry: entry.get("tasks", {}).items())


def markdown(name: str, rows: Sequence[str] | None = None) -> str:
    """A table of target scores in percent: mean, standard deviation over the seeds, and every seed, at the last step.

    Before them mean and standard deviation on each task, or at the end of each earlier phase, where a row has several.
    """
    results = load(name)
    chosen = list(results["rows"]) if rows is None else rows
    seeds = list(next(iter(results["rows"].values()))["seeds"])
    held = {row: tasks(name, row) or milestones(name, row) for row in chosen}
    columns = sorted(dict.fromkeys(part for row in chosen for part in held[row]), key=_place)
    heads = [f"after {PHASES[part]}" if part in PHASES else part for part in columns]
    heads += ["mean", "±", *(f"seed {seed}" for seed in seeds)]
    lines = ["| | " + " | ".join(heads) + " |", "|---" + "|---:" * len(heads) + "|"]
    for row in chosen:
        values = list(scores(name, row).values())
        before = [_mean_and_spread(held[row].get(part)) for part in columns]
        numbers = [f"**{mean(values):.1f}**", f"{_spread(values):.1f}", *(f"{value:.1f}" for value in values)]
        lines.append(f"| {row} | " + " | ".join(before + numbers) + " |")
    return "\n".join([*lines, "", f"{results['note']} `{results['command']}`"])


def beside_published() -> str:
    """A table of the papers' numbers in percent, and of ours: mean ± standard deviation, or why there are none."""
    lines = ["| task | method | published | here | where it was published |", "|---|---|---:|---:|---|"]
    for told in PUBLISHED:
        here = _mean_and_spread(list(scores(*told.ours).values())) if told.ours else told.not_run
        lines.append(f"| {told.task} | {told.method} | {told.score} | {here} | {told.source} |")
    return "\n".join(lines)


def _told(name: str, row: str, parts: Callable[[dict], Iterable[tuple[str, dict]]]) -> dict[str, list[float]]:
    """The scores of each part of a row, by its name, seed after seed."""
    reached = {}
    for entry in load(name)["rows"][row]["seeds"].values():
        for part, told in parts(entry):
            reached.setdefault(part, []).append(100 * told["score"])
    return reached


def _place(part: str) -> int:
    """Phases in their order, tasks as they come."""
    return list(PHASES).index(part) if part in PHASES else 0


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _mean_and_spread(values: Sequence[float] | None) -> str:
    return f"{mean(values):.1f} ± {_spread(values):.1f}" if values else ""


def show(name: str, rows: Sequence[str] | None = None) -> None:
    """Display `markdown(name, rows)` in a notebook."""
    from IPython.display import Markdown, display

    display(Markdown(markdown(name, rows)))


def write_into(page: Path, names: Sequence[str] = (*IN_README, "published")) -> None:
    """Put each table between its marks, such as `<!-- results:streets:begin -->`, and the one with `end`, of a page."""
    text = page.read_text(encoding="utf-8")
    for name in names:
        table = beside_published() if name == "published" else markdown(name)
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = text.partition(begin)
        _, mark, after = rest.partition(end)
        if not mark:
            raise UserError(f"{page}: no {begin} ... {end} to write between")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    page.write_text(text, encoding="utf-8")
