"""The process of one submission: it runs the notebook's cells, then says what each answer does with each case.

It is handed the cells and the cases, never a right answer, and what it writes is read as numbers and text: the
student's code may do here whatever it likes. Its standard input holds a pickled `Request`; to its standard output it
writes a line of JSON before the cells run, one when they have run, then one for each exercise.
"""

import io
import json
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass

from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor
from traitlets.config import Config

from uda_lessons import exercises
from uda_lessons.exercises import dialogue
from uda_lessons.exercises.catalog import EXERCISES
from uda_lessons.exercises.exercise import (
    Attempt,
    Exercise,
    NotYetError,
    Outcome,
    Verdict,
    attempts_of,
    explained,
    names_of,
    not_a_function,
)


@dataclass(frozen=True)
class Request:
    """Code cells, and of each exercise its name, its `outcome` and its pickled cases."""

    cells: tuple[str, ...]
    exercises: tuple[tuple[str, Callable, bytes], ...]


def main() -> None:
    """Answer the request on standard input."""
    request = pickle.load(sys.stdin.buffer)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        silent = os.open(os.devnull, os.O_RDWR)
        os.dup2(silent, 0)
        os.dup2(silent, 1)
        print(json.dumps("started"), file=answers, flush=True)
        handed_in, first_error = run(request.cells)
        print(json.dumps("the cells have run"), file=answers, flush=True)
        for name, outcome, cases in request.exercises:
            said = answer_to(name, outcome, cases, handed_in) if name in handed_in else {"missing": first_error}
            print(json.dumps(said), file=answers, flush=True)
    os._exit(0)  # whatever threads and exit handlers the notebook has left


def run(cells: tuple[str, ...]) -> tuple[dict[str, object], str]:
    """Run all cells, also those behind one that fails; the answers by name, and what the first failing cell says."""
    handed_in: dict[str, object] = {}
    first_error = ""

    def take(name: str, answer: object) -> Verdict:
        handed_in[name] = answer
        return Verdict(False, "handed in")

    for module in (exercises, dialogue):
        module.check = module.hand_in = take
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    for number, cell in enumerate(cells, 1):
        result = shell.run_cell(cell)
        if error := result.error_before_exec or result.error_in_exec:
            first_error = first_error or f"code cell {number} stops with {type(error).__name__}: {error}"
    return handed_in, first_error


def answer_to(name: str, outcome: Callable, cases: bytes, handed_in: dict[str, object]) -> dict:
    """What an answer does with the cases: numbers and words that `grade` compares."""

    def unpickled() -> list[tuple]:
        return pickle.load(io.BytesIO(cases))

    known, answer = EXERCISES.get(name), handed_in[name]
    explain = {"explain": known.explain} if known else {}
    exercise = Exercise(name, outcome, unpickled, (), (), "", outcome, **explain)
    if not callable(answer):
        refused = [NotYetError(not_a_function(answer))] * len(unpickled())
        return {"attempts": [plain(error) for error in refused], "names": [], "explained": []}
    attempts = attempts_of(answer, exercise)
    return {
        "attempts": [plain(attempt) for attempt in attempts],
        "names": names_of(answer, exercise),
        "explained": [explained(answer, exercise, case) for case in range(len(attempts))],
    }


def plain(attempt: Attempt) -> dict:
    """An attempt in numbers and text."""
    if not isinstance(attempt, Outcome):
        return {"error": type(attempt).__name__, "text": str(attempt)[:2000]}
    gradients = attempt.gradients
    return {
        "value": _numbers(attempt.value),
        "whole": attempt.whole,
        "gradients": None if gradients is None else [_numbers(g) for g in gradients],
        "overwritten": attempt.overwritten,
    }


def _numbers(tensor: Tensor) -> dict:
    return {"shape": tensor.shape, "numbers": tensor.flatten().tolist()}


if __name__ == "__main__":
    main()
