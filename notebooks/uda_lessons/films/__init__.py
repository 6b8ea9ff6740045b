"""Films: a run as its board showed it, replayed by the board's own page in any browser, without Python.

>>> films.show("01")

Imports little besides the standard library, so that a film moves before torch is there.
"""

import html
import json
from base64 import b64encode
from pathlib import Path

from IPython.display import HTML, display

from uda_core.errors import choose
from uda_lessons import canvas

HERE = Path(__file__).parent
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
<body>
<script type="module">
{script}
start({films}, document.body);
</script>
</body>
</html>
"""


def show(lesson: str) -> None:
    """Display the film that opens a lesson: about ten seconds of a run on other data than the lesson trains on.

    Args:
        lesson: its number, such as "01".
    Raises:
        UserError: if there is no such film.
    """
    display(HTML(f"<div>{frame(lesson)}</div>"))


def frame(lesson: str) -> str:
    """HTML of an inner page that plays the film of a lesson as soon as it is seen.

    Raises:
        UserError: if there is no such film.
    """
    known = sorted(path.stem for path in HERE.glob("*.film"))
    film = (HERE / f"{choose('film', lesson, known)}.film").read_bytes()
    return inner(page(film, f"Film of lesson {lesson}"), f"Film of lesson {lesson}")


def inner(document: str, title: str) -> str:
    """HTML of an inner page: nothing to load, and so opened from disk as well."""
    style = "width: 100%; height: 700px; border: 0"  # until the page inside knows its height
    return f'<iframe title="{html.escape(title)}" srcdoc="{html.escape(document)}" style="{style}"></iframe>'


def page(film: bytes, title: str) -> str:
    """One HTML file that replays a film made by `pack.pack`: script, style and data, nothing to load."""
    return _page("film", film, title)


def page_of_runs(runs: dict[str, bytes], title: str) -> str:
    """The same for several films, by what is said of each: one slider switches, and the moment of the run stays."""
    return _page("runs", runs, title)


def _page(entry: str, films: bytes | dict[str, bytes], title: str) -> str:
    data = json.dumps(films, default=lambda film: b64encode(film).decode()).replace("<", r"\u003c")
    return PAGE.format(title=html.escape(title), style=canvas.style(), script=canvas.script(entry), films=data)
