"""Measured results, kept in files beside this one, each with the command that made it.

`show("fonts-handwriting")` displays a table in a notebook; README carries the same one, put there by
`python -m uda_core.results README.md`.
"""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from statistics import mean, stdev

from uda_core.errors import UserError, choose

FILES = {
    "fonts-handwriting": "fonts_handwriting.json",
    "imbalanced": "imbalanced.json",
    "rehearsal": "rehearsal.json",
}
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def load(name: str) -> dict:
    """The results file of this name: its command, its note, and of each row the method, settings and seeds."""
    file = resources.files(__name__) / FILES[choose("results", name, FILES)]
    return json.loads(file.read_text(encoding="utf-8"))


def scores(name: str, row: str) -> dict[int, float]:
    """Target accuracy of each seed, in percent."""
    rows = load(name)["rows"]
    return {int(seed): 100 * entry["score"] for seed, entry in rows[choose("row", row, rows)]["seeds"].items()}


def markdown(name: str, rows: Sequence[str] | None = None) -> str:
    """A table of target accuracies in percent: mean, standard deviation over the seeds, and every seed."""
    results = load(name)
    chosen = list(results["rows"]) if rows is None else rows
    seeds = list(next(iter(results["rows"].values()))["seeds"])
    lines = [
        "| | mean | ± | " + " | ".join(f"seed {seed}" for seed in seeds) + " |",
        "|---" + "|---:" * (2 + len(seeds)) + "|",
    ]
    for row in chosen:
        values = list(scores(name, row).values())
        spread = stdev(values) if len(values) > 1 else 0.0
        numbers = [f"**{mean(values):.1f}**", f"{spread:.1f}", *(f"{value:.1f}" for value in values)]
        lines.append(f"| {row} | " + " | ".join(numbers) + " |")
    return "\n".join([*lines, "", f"{results['note']} `{results['command']}`"])


def show(name: str, rows: Sequence[str] | None = None) -> None:
    """Display `markdown(name, rows)` in a notebook."""
    from IPython.display import Markdown, display

    display(Markdown(markdown(name, rows)))


def write_into(page: Path, name: str = "fonts-handwriting") -> None:
    """Put the table between the marks `<!-- results:begin -->` and `<!-- results:end -->` of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise UserError(f"{page}: no {BEGIN} ... {END} to write between")
    page.write_text(f"{before}{BEGIN}\n{markdown(name)}\n{END}{after}", encoding="utf-8")
