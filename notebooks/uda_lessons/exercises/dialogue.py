"""What a learner calls in a notebook: `check` or `hand_in` an answer, ask for a `hint`, `reveal` our own function."""

import html
import inspect
from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import Code, display

from uda_core.errors import choose
from uda_lessons.board import kernel
from uda_lessons.exercises.catalog import EXERCISES
from uda_lessons.exercises.exercise import Exercise, Verdict, verdict_on

_hints_given: dict[str, int] = {}


def check(name: str, answer: Callable) -> Verdict:
    """Print one line that begins with "Correct:" or "Not yet:" and gives the reason; true if the answer is right.

    Raises:
        UserError: for an unknown exercise; so do `hint` and `reveal`.
    """
    exercise = _exercise(name)
    verdict = verdict_on(answer, exercise)
    print(verdict)
    if exercise.picture and verdict.yours is not None:
        display(exercise.picture(verdict.target, verdict.yours))
    if not verdict and kernel.is_live():
        display(_help_buttons(exercise))
    return verdict


def hand_in(name: str, answer: object) -> None:
    """Hand in an answer of a graded assignment: `uda grade` calls it with cases that are not in this package."""
    print(f"{name}: handed in, {'a function' if callable(answer) else 'but it is not a function'}.")


def hint(name: str) -> None:
    """Print the next hint; after the last one, say where the solution is."""
    print(_next_hint(_exercise(name)))


def reveal(name: str) -> None:
    """Show the source of the function that the package itself uses."""
    display(Code(solution(_exercise(name)), language="python"))


def _exercise(name: str) -> Exercise:
    return EXERCISES[choose("exercise", name, EXERCISES)]


def _next_hint(exercise: Exercise) -> str:
    given = _hints_given.get(exercise.name, 0)
    _hints_given[exercise.name] = given + 1
    if given < len(exercise.hints):
        return f"Hint {given + 1} of {len(exercise.hints)}: {exercise.hints[given]}"
    return f'That was the last hint. reveal("{exercise.name}") shows the package\'s own function.'


def solution(exercise: Exercise) -> str:
    """Source of the package's own function, below its name."""
    reference = exercise.reference
    return f"# {reference.__module__}.{reference.__name__}\n{inspect.getsource(reference)}"


def _help_buttons(exercise: Exercise) -> widgets.Widget:
    """The same help without typing."""
    words = widgets.HTML()
    ask, show = widgets.Button(description="Next hint"), widgets.Button(description="Reveal the solution")

    def on_ask(_) -> None:
        words.value = f"<p>{html.escape(_next_hint(exercise))}</p>"

    def on_show(_) -> None:
        words.value = f"<pre>{html.escape(solution(exercise))}</pre>"

    ask.on_click(on_ask)
    show.on_click(on_show)
    return widgets.VBox([widgets.HBox([ask, show]), words])
