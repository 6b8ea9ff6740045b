"""The quizzes: five fair questions each, and a reason for whatever is chosen."""

import html
import re
import tomllib

import pytest

from uda_core.errors import UserError
from uda_lessons.exercises import questions, quiz

FILES = sorted(questions.QUIZZES.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_quiz_has_five_fair_questions(path):
    asked = tomllib.loads(path.read_text(encoding="utf-8"))
    assert asked.keys() == {"question"}
    assert len(asked["question"]) == 5
    places, longest = [], 0
    for question in asked["question"]:
        assert question.keys() == {"text", "options"}
        assert question["text"].endswith("?")
        texts = [option["text"] for option in question["options"]]
        assert len(texts) == len(set(texts)) in (3, 4)
        for option in question["options"]:
            assert {"text", "reason"} <= option.keys() <= {"text", "reason", "right"}
            assert option["text"].strip()
            assert option["reason"].strip().endswith(".")
        [place] = [k for k, option in enumerate(question["options"]) if option.get("right")]
        places.append(place)
        longest += all(len(texts[place]) > len(text) for k, text in enumerate(texts) if k != place)
    assert len(set(places)) >= 3, "the right option stands in the same place too often"
    assert longest <= 2, "the right option is too often the longest"


def words(widget) -> str:
    return html.unescape(re.sub("<[^>]+>", "", widget.value))


@pytest.fixture
def shown(monkeypatch):
    """The questions of lesson 01, each as its options and its reason; and the line below them."""
    boxes = []
    monkeypatch.setattr(questions, "display", boxes.append)
    quiz("01")
    *asked, summary = boxes[0].children
    return [(question.children[1:-1], question.children[-1]) for question in asked], summary


def wanted() -> list[list[dict]]:
    return [question["options"] for question in tomllib.loads(FILES[0].read_text(encoding="utf-8"))["question"]]


def test_nothing_is_chosen_and_nothing_said_at_first(shown):
    asked, summary = shown
    assert len(asked) == 5
    assert all(radio.value is None for radios, _ in asked for radio in radios)
    assert [words(reason) for _, reason in asked] + [words(summary)] == 6 * [""]


def test_each_choice_gets_its_reason_and_the_first_one_counts(shown):
    asked, summary = shown
    for (radios, reason), options in zip(asked, wanted(), strict=True):
        for radio, option in zip(radios, options, strict=True):
            radio.value = option["text"]
            assert words(reason) == f"{'Right' if option.get('right') else 'Not quite'}: {option['reason']}"
            assert [other.value for other in radios if other.value] == [option["text"]]
    first = sum(options[0].get("right", False) for options in wanted())
    assert words(summary) == f"{first} of 5 right at the first try."


def test_the_summary_counts_what_is_to_come(shown):
    [(radios, _), *_], summary = shown
    place = [option.get("right", False) for option in wanted()[0]].index(True)
    radios[place].value = radios[place].options[0]
    assert words(summary) == "1 of 5 right at the first try, 4 to go."


def test_an_unknown_quiz_is_a_slip_of_the_notebook():
    with pytest.raises(UserError, match=r"unknown quiz '1'"):
        quiz("1")
