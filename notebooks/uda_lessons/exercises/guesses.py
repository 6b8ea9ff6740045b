"""The learner's guesses: asked before an experiment, kept, and put beside what happened. Never graded.

They stay in `guesses.json` beside the notebook, so that a restarted kernel still knows them; where that folder cannot
be written, in memory alone. A guess belongs to its question: under the same name, another
question starts without one.
"""

import html
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

FILE = Path("guesses.json")  # in the notebook's own folder, which is where its kernel starts
_guesses: dict[str, int | str | None] = {}  # by name and question
_keys: dict[str, str] = {}  # of this kernel's questions, by name


def predict(
    name: str, question: str, choices: Sequence[str] | None = None, low: int = 0, high: int = 100, unit: str = "%"
) -> None:
    """Ask for a guess: one of `choices`, or a whole number from `low` to `high`. It is kept as soon as it is touched.

    The slider for a number starts in the middle, which a button keeps.

    Args:
        name: by which `replay` finds the guess, such as "01 surest".
        question: one sentence.
    """
    _load()
    key = _keys[name] = f"{name}: {question}"
    kept = _guesses.get(key)
    if kept not in (choices or range(low, high + 1)):
        kept = _guesses[key] = None
    note = widgets.HTML(_note(kept, unit))

    def keep(guess: int | str) -> None:
        _load()  # another lesson may have kept guesses meanwhile
        _guesses[key] = guess
        note.value = _note(guess, unit)
        button.layout.display = "none"
        with suppress(OSError):
            FILE.write_text(json.dumps(_guesses, indent=1) + "\n", encoding="utf-8")

    if choices:
        field = widgets.RadioButtons(options=choices, value=kept, layout=widgets.Layout(width="max-content"))
    else:
        field = widgets.IntSlider((low + high) // 2 if kept is None else kept, min=low, max=high)
    button = widgets.Button(description="Keep this", layout=widgets.Layout(width="auto"))
    if choices or kept is not None:
        button.layout.display = "none"
    button.on_click(lambda _: keep(field.value))
    field.observe(lambda change: keep(change["new"]), "value")
    display(widgets.VBox([widgets.HTML(f"<b>{html.escape(question)}</b>"), widgets.HBox([field, button]), note]))


def replay(name: str, measured: float | str | None, unit: str = "%") -> None:
    """Print the guess of this name beside what happened; where that is not known yet, None, the guess stays open."""
    guess = _guesses.get(_keys.get(name, ""))
    guessed = "You made no guess" if guess is None else f"You guessed: {_text(guess, unit)}"
    happened = "What happens is still open" if measured is None else f"What happened: {_text(measured, unit)}"
    print(f"{guessed}. {happened}.")


def _load() -> None:
    """What an earlier kernel kept; this kernel's own guesses are newer."""
    with suppress(OSError, ValueError):
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            _guesses.update({key: guess for key, guess in kept.items() if key not in _guesses})


def _note(guess: int | str | None, unit: str) -> str:
    words = "no guess yet" if guess is None else f"kept: {_text(guess, unit)}"
    return f'<span style="opacity: 0.7">{html.escape(words)}</span>'


def _text(value: float | str, unit: str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0") + f" {unit}".rstrip()
