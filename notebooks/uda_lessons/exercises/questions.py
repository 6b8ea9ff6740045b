"""The quiz at a lesson's end: five questions, each option with its reason. Never graded, and nothing of it is kept.

The questions of lesson 01 stand in quizzes/01.toml, and so on.
"""

import html
import tomllib
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

from uda_core.errors import choose

QUIZZES = Path(__file__).parent / "quizzes"
STYLE = """<style>
.uda-quiz .widget-radio-box, .uda-quiz .widget-radio { width: auto; height: auto; margin: 0 }
.uda-quiz label { height: auto; line-height: 1.4; margin: 2px 0; white-space: normal }
</style>"""  # an option may need two lines


def quiz(lesson: str) -> None:
    """Show the questions of a lesson. Whatever is chosen, why it is right or wrong appears at once.

    Args:
        lesson: its number, such as "01".
    Raises:
        UserError: if there is no such quiz.
    """
    known = sorted(path.stem for path in QUIZZES.glob("*.toml"))
    file = QUIZZES / f"{choose('quiz', lesson, known)}.toml"
    questions = tomllib.loads(file.read_text(encoding="utf-8"))["question"]
    first_choices: dict[int, bool] = {}
    summary = widgets.HTML()

    def chosen(number: int, right: bool) -> None:
        first_choices.setdefault(number, right)
        words = f"{sum(first_choices.values())} of {len(questions)} right at the first try"
        missing = len(questions) - len(first_choices)
        summary.value = f"<p>{words}{f', {missing} to go' if missing else ''}.</p>"

    shown = [_question(number, question, chosen) for number, question in enumerate(questions, 1)]
    box = widgets.VBox([*shown, summary])
    box.add_class("uda-quiz")
    display(box)


def _question(number: int, question: dict, chosen: Callable[[int, bool], None]) -> widgets.Widget:
    """One question, its options, and the reason of the one that is chosen.

    Each option is a group of its own: within a group the arrow keys would choose each option that they pass.
    """
    style = STYLE if number == 1 else ""
    asked = f"{number}. {html.escape(question['text'])}"
    title, reason = widgets.HTML(f'{style}<p style="line-height: 1.4"><b>{asked}</b></p>'), widgets.HTML()
    options = question["options"]
    radios = [widgets.RadioButtons(options=[option["text"]], value=None) for option in options]

    def choose_one(change: dict) -> None:
        if change["new"] is None:
            return
        for radio, option in zip(radios, options, strict=True):
            if radio is not change["owner"]:
                radio.value = None
                continue
            right = option.get("right", False)
            words = f"<b>{'Right' if right else 'Not quite'}:</b> {html.escape(option['reason'])}"
            reason.value = f'<p role="alert" style="line-height: 1.4">{words}</p>'  # read aloud when it appears
            chosen(number, right)

    for radio in radios:
        radio.observe(choose_one, "value")
    return widgets.VBox([title, *radios, reason])
