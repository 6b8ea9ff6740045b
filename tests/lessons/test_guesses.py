"""Guesses are kept over a restart, with their question, and come back beside what happened."""

import json

import pytest

from uda_lessons.exercises import guesses, predict, replay

ACCURACY = "01 accuracy", "How many percent?"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to keep guesses in, and a kernel without guesses."""
    monkeypatch.chdir(tmp_path)
    restart(monkeypatch)
    return tmp_path


def restart(monkeypatch):
    monkeypatch.setattr(guesses, "_guesses", {})
    monkeypatch.setattr(guesses, "_keys", {})


def asked(monkeypatch, *question, **options):
    """The field, its button and the note of a question."""
    shown = []
    monkeypatch.setattr(guesses, "display", shown.append)
    predict(*question, **options)
    _, row, note = shown[0].children
    return *row.children, note


def test_a_guess_is_kept_over_a_restart_and_replayed(folder, monkeypatch, capsys):
    field, _, note = asked(monkeypatch, *ACCURACY)
    assert "no guess yet" in note.value
    field.value = 62
    assert "kept: 62 %" in note.value
    restart(monkeypatch)
    field, button, _ = asked(monkeypatch, *ACCURACY)
    assert (field.value, button.layout.display) == (62, "none")
    replay("01 accuracy", 71.23)
    assert capsys.readouterr().out == "You guessed: 62 %. What happened: 71.2 %.\n"


def test_the_middle_of_the_slider_is_a_guess_once_it_is_kept(folder, monkeypatch, capsys):
    field, button, note = asked(monkeypatch, *ACCURACY)
    replay("01 accuracy", None)
    button.click()
    assert (field.value, button.layout.display) == (50, "none")
    assert "kept: 50 %" in note.value
    restart(monkeypatch)
    asked(monkeypatch, *ACCURACY)
    replay("01 accuracy", None)
    assert capsys.readouterr().out.splitlines() == [
        "You made no guess. What happens is still open.",
        "You guessed: 50 %. What happens is still open.",
    ]


@pytest.mark.parametrize(
    "kept", [{"01 accuracy": 62}, {"01 accuracy: Another question?": 62}, {"01 accuracy: How many percent?": 162}]
)
def test_a_guess_of_another_question_does_not_come_back(folder, monkeypatch, capsys, kept):
    (folder / "guesses.json").write_text(json.dumps(kept))
    field, _, note = asked(monkeypatch, *ACCURACY)
    assert field.value == 50
    assert "no guess yet" in note.value
    replay("01 accuracy", 71.23)
    assert capsys.readouterr().out == "You made no guess. What happened: 71.2 %.\n"


def test_what_another_lesson_keeps_is_not_lost(folder, monkeypatch):
    field, *_ = asked(monkeypatch, *ACCURACY)
    (folder / "guesses.json").write_text('{"04 other: Which?": "none"}')
    field.value = 62
    kept = json.loads((folder / "guesses.json").read_text())
    assert kept == {"01 accuracy: How many percent?": 62, "04 other: Which?": "none"}


def test_a_choice_is_kept_and_replayed_in_a_folder_that_cannot_be_written(folder, monkeypatch, capsys):
    (folder / "guesses.json").mkdir()
    field, button, _ = asked(monkeypatch, "03 sign", "Which sign?", choices=("plus", "minus"))
    assert (field.value, button.layout.display) == (None, "none")
    field.value = "plus"
    replay("03 sign", "minus")
    assert capsys.readouterr().out == "You guessed: plus. What happened: minus.\n"


@pytest.mark.parametrize("kept", ["[broken", "[]", '{"01 accuracy: How many percent?": [1]}'])
def test_no_guess_and_a_broken_file_are_said_and_forgiven(folder, monkeypatch, capsys, kept):
    (folder / "guesses.json").write_text(kept)
    asked(monkeypatch, *ACCURACY)
    replay("01 accuracy", 71.23)
    assert capsys.readouterr().out == "You made no guess. What happened: 71.2 %.\n"
