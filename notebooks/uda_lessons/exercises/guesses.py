"""The learner's guesses: asked before an experiment, kept, and put beside what happened. Never graded.

They stay in `guesses.json` beside the notebook, so that a restarted kernel still knows them; where that folder cannot
be written, in memory alone.
"""

import html
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

FILE = Path("guesses.json")  # in the notebook's own folder, which is where its kernel starts
_guesses: dict[str, int | str] = {}


def predict(
    name: str, question: str, choices: Sequence[str] | None = None, low: int = 0, high: int = 100, unit: str = "%"
) -> None:
    """Ask for a guess: one of `choices`, or a whole number from `low` to `high`. It is kept as soon as it is touched.

    Args:
        name: by which `replay` finds the guess, such as "01 accuracy".
        question: one sentence.
    """
    _load()
    kept = _guesses.get(name)
    if choices:
        field = widgets.RadioButtons(
            options=choices, value=kept if kept in choices else None, layout=widgets.Layout(width="max-content")
        )
    else:
        value = kept if isinstance(kept, int) and low <= kept <= high else (low + high) // 2
        field = widgets.IntSlider(value, min=low, max=high)
    note = widgets.HTML(_note(kept, unit))

    def keep(change: dict) -> None:
        _load()  # another lesson may have kept guesses meanwhile
        _guesses[name] = change["new"]
        note.value = _note(change["new"], unit)
        with suppress(OSError):
            FILE.write_text(json.dumps(_guesses, indent=1) + "\n", encoding="utf-8")

    field.observe(keep, "value")
    display(widgets.VBox([widgets.HTML(f"<b>{html.escape(question)}</b>"), field, note]))


def replay(name: str, measured: float | str | None, unit: str = "%") -> None:
    """Print the guess of this name beside what happened; where that is not known yet, None, the guess stays open."""
    _load()
    guess = _guesses.get(name)
    guessed = "You made no guess" if guess is None else f"You guessed: {_text(guess, unit)}"
    happened = "What happens is still open" if measured is None else f"What happened: {_text(measured, unit)}"
    print(f"{guessed}. {happened}.")


def _load() -> None:
    """What an earlier kernel kept; this kernel's own guesses are newer."""
    with suppress(OSError, ValueError):
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            _guesses.update({name: guess for name, guess in kept.items() if name not in _guesses})


def _note(guess: int | str | None, unit: str) -> str:
    words = "no guess yet" if guess is None else f"kept: {_text(guess, unit)}"
    return f'<span style="opacity: 0.7">{html.escape(words)}</span>'


def _text(value: float | str, unit: str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0") + f" {unit}".rstrip()
