"""Films: small, true to the run, without a target label that was not shown, and there before torch is."""

import gzip
import html
import json
import re
import shutil
import struct
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import numpy as np
import pytest
from test_board import _no_umap, make  # noqa: F401

from uda_core import methods
from uda_core.data.streets import streets
from uda_core.errors import UserError
from uda_core.lab.main import main
from uda_core.task import Pair, Task
from uda_lessons import canvas, films
from uda_lessons.board import Board
from uda_lessons.exercises import guesses
from uda_lessons.films import recording
from uda_lessons.films.pack import differences, pack

NODE = shutil.which("node")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
IMG = "<img src=x onerror=alert(1)>"


def film_in(path: Path) -> tuple[dict, bytes]:
    """The film of a page, and everything in it that is no text."""
    return unpacked(b64decode(re.search(r'start\("([\w+/=]+)"', path.read_text(encoding="utf-8"))[1]))


def unpacked(film: bytes) -> tuple[dict, bytes]:
    data = gzip.decompress(film)
    (size,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + size]), data[4 + size :]


def played(task, method="mcd", steps=3, **settings) -> Board:
    board = make(task, method, steps, **settings)
    board._loop.play()
    board._loop.settle()
    return board


def test_differences_are_between_frames_low_bytes_first():
    frames = [np.array(frame, "<u2").tobytes() for frame in ([256, 1], [255, 2], [511, 1])]
    assert list(differences(frames, 2)) == [0, 1, 255, 1, 0, 255, 1, 0, 255, 0, 1, 255]
    assert list(differences([b"\3", b"\1"], 1)) == [3, 254]
    assert differences([b"", b""], 1) == b""


@pytest.mark.skipif(not NODE, reason="no node on this machine")
def test_the_page_reads_what_was_packed(tmp_path):
    generator = np.random.default_rng(0)
    frames = [
        {"do": "frame", "step": i, "sent": 1.0, "data": [generator.bytes(n) for n in (8, 4, 2, 16, 3)]}
        for i in range(5)
    ]
    packed = pack(frames, images=bytes([0, 100, 255]), facts={"labels": b"\1\2\3"}, run=None)
    (tmp_path / "film.mjs").write_text(canvas.script("film"), encoding="utf-8")
    code = f"""
        import {{ unpack, addUp }} from "./film.mjs";
        const film = await unpack("{b64encode(packed).decode()}");
        const list = (view) => [...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)];
        console.log(JSON.stringify([film.frames, list(film.facts.labels), list(film.images),
          film.changes.map(([width, of]) => addUp(of, width, 5).map(list))]));"""
    (tmp_path / "read.mjs").write_text(code, encoding="utf-8")
    done = subprocess.run([NODE, "read.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, labels, images, buffers = json.loads(done.stdout)
    assert told == [{"do": "frame", "step": i} for i in range(5)]
    assert labels == [1, 2, 3]
    assert images == [0, 99, 255]
    want = [[list(frame["data"][k]) for frame in frames] for k in range(5)]
    want[0] = [[byte & 0xF0 if i % 2 == 0 else byte for i, byte in enumerate(frame)] for frame in want[0]]
    assert buffers == want


def test_a_film_holds_no_target_label_and_no_score_until_they_were_revealed(digits_task, tmp_path):
    board = played(digits_task)
    board.save_film(tmp_path / "film.html")
    hidden, hidden_bytes = film_in(tmp_path / "film.html")
    assert hidden["reveal"] is None
    assert hidden["facts"]["truth"] is False
    assert hidden["facts"]["film"] is True
    assert [frame["scores"] for frame in hidden["frames"]] == [None] * len(board.film)
    y = board._true_labels()[0]
    assert y not in hidden_bytes

    board.reveal()
    board.save_film(tmp_path / "film.html")
    shown, shown_bytes = film_in(tmp_path / "film.html")
    assert shown["facts"]["truth"] is True
    assert shown["reveal"]["baseline"] == 0.7
    assert y in shown_bytes
    assert shown["frames"][-1]["scores"] == board.scores(board.film[-1])
    assert [record[0] for record in shown["run"]["records"]] == [1, 2, 3]


def test_a_long_film_is_thinned_to_its_first_last_and_some_between(digits_task, tmp_path):
    board = played(digits_task)
    board.film[:] = board.film[:1] * 150 + board.film[-1:]
    board.save_film(tmp_path / "film.html")
    frames = film_in(tmp_path / "film.html")[0]["frames"]
    assert len(frames) == 100
    assert (frames[0]["i"], frames[-1]["i"]) == (0, 150)
    assert frames[-1]["step"] == 3


def test_a_film_of_pixels_has_pictures(tmp_path):
    run = methods.CAG(streets(samples=8, test_samples=2).pair, methods.SegmentationConfig(batch_size=2), source_steps=1)
    board = Board(run, steps=1)
    board._loop.play()
    board._loop.settle()
    board.save_film(tmp_path / "film.html")
    film, data = film_in(tmp_path / "film.html")
    width, place = film["changes"][4]
    start, length = place["$bytes"]
    assert (width, length) == (1, len(film["frames"]) * len(board.film[0].pictures))
    assert data[start : start + len(board.film[0].pictures)] == board.film[0].pictures


def test_nothing_to_save_is_said(digits_task, tmp_path):
    with pytest.raises(UserError, match="press Play"):
        make(digits_task).save_film(tmp_path / "film.html")


# -- names from outside ------------------------------------------------------------------------------------------------


def named(task) -> Task:
    """The task with markup in the names of a class and of the pair."""
    pair = task.pair
    sides = (pair.source_train, pair.source_val, pair.target_train, pair.target_test)
    return Task(Pair(f"pair{IMG}", (IMG, *pair.classes[1:]), *sides), task.truth)


def test_no_name_is_markup_in_a_page_or_in_the_picture_of_a_notebook(digits_task, tmp_path):
    board = played(named(digits_task))
    board.save_film(tmp_path / "film.html")
    text = (tmp_path / "film.html").read_text(encoding="utf-8")
    assert html.escape(f"pair{IMG}") in text
    assert "<img" not in text
    picture = board._picture_html(hide=True)
    assert picture.count("<") == 1
    assert IMG not in picture
    assert html.escape(f"pair{IMG}") in picture


def test_no_name_is_markup_in_a_question(monkeypatch, tmp_path):
    shown = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(guesses, "display", shown.append)
    guesses.predict("XSS", f"What is {IMG}?", choices=[IMG, "nothing"])
    question, row, note = shown[0].children
    field, _ = row.children
    assert question.value == f"<b>What is {html.escape(IMG)}?</b>"
    field.value = IMG
    assert html.escape(IMG) in note.value
    assert IMG not in note.value
    guesses._guesses.clear()


# -- the films of the lessons ------------------------------------------------------------------------------------------


def test_every_lesson_has_a_film_of_at_most_400_kb():
    found = {path.stem: path.stat().st_size for path in films.HERE.glob("*.film")}
    assert sorted(found) == [path.stem[:2] for path in sorted(films.HERE.parents[1].glob("[0-9]*.ipynb"))]
    assert max(found.values()) < 400_000


@pytest.mark.parametrize("lesson", recording.TAKES)
def test_a_film_of_a_lesson_shows_no_score_and_other_data_than_the_lesson(lesson):
    film, _ = unpacked((films.HERE / f"{lesson}.film").read_bytes())
    assert film["reveal"] is None
    assert all(frame["scores"] is None for frame in film["frames"])
    assert (film["facts"]["pair"], film["run"]["seed"]) not in [("fonts-handwriting", 0), ("streets", 0)]
    assert 50 <= len(film["frames"]) <= 60


def test_showing_a_film_imports_no_torch_no_umap_and_no_matplotlib():
    code = """
import sys
from uda_lessons import films
films.show("01")
print(sorted({"torch", "umap", "matplotlib", "numpy"} & {name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_film_is_refused():
    with pytest.raises(UserError, match="unknown film '7'; known: 01"):
        films.show("7")


def test_the_command_records_the_films_that_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(films, "HERE", tmp_path)
    monkeypatch.setattr(recording, "record", lambda take, seed: f"{take.method} {seed}".encode())
    assert main(["films", "04", "07"]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"04.film": b"cgdm 7", "07.film": b"cag 7"}
    assert "04.film: 0 kB" in capsys.readouterr().out
    assert main(["films", "10"]) == 2
