"""A game: sign one of several models by numbers that need no label, then see what it was worth."""

import re
from collections.abc import Mapping
from string import ascii_uppercase

import ipywidgets as widgets
import pandas as pd
from IPython.display import display

from uda_core.lab.results.choices import VALIDATORS, regret
from uda_lessons.board import kernel

NOBODY = "nobody yet"


def sign(runs: pd.DataFrame, validators: Mapping[str, int] = VALIDATORS) -> None:
    """Show the label-free numbers of some runs, by letter, and let one be signed; a button then shows the scores.

    Where no page answers, nobody signs, and the scores stand below at once.

    Args:
        runs: lines of `choices.load()`, at most 26, with a number by every validator.
    """
    models = runs.set_axis(list(ascii_uppercase[: len(runs)]))
    table = widgets.HTML(_html(models[list(validators)]))
    field = widgets.Dropdown(options=[NOBODY, *models.index], description="I sign")
    button, said = widgets.Button(description="Reveal the scores"), widgets.HTML()

    def reveal(_) -> None:
        said.value = "".join(f"<p>{line}</p>" for line in verdict(models, field.value, validators))
        scores = models.assign(score=100 * models["score"])[["score", "row", "seed"]].sort_values("score")
        said.value += _html(scores[::-1], "{:.1f}")

    button.on_click(reveal)
    display(widgets.VBox([table, widgets.HBox([field, button]), said]))
    if not kernel.is_live():
        reveal(None)
        print("\n".join(verdict(models, field.value, validators)))


def verdict(models: pd.DataFrame, signed: str, validators: Mapping[str, int] = VALIDATORS) -> list[str]:
    """What the signed model and the one that each validator would sign lose to the best, a sentence each."""
    score = 100 * models["score"]
    yours = f"You signed {signed}: {score[signed]:.1f} %." if signed in score else "You signed nobody."
    lost = {name: regret(sign * models[name].to_numpy(), score.to_numpy()) for name, sign in validators.items()}
    by = ", ".join(f"{name} {points:.1f}" for name, points in sorted(lost.items(), key=lambda item: item[1]))
    return [f"{yours} The best is {score.idxmax()}: {score.max():.1f} %.", f"Points lost by signing by: {by}."]


def _html(frame: pd.DataFrame, form: str = "{:.3f}") -> str:
    page = frame.to_html(border=0, float_format=form.format)
    return re.sub("<(t[hd])>", r'<\1 style="padding: 0 0.8em; text-align: right">', page)
