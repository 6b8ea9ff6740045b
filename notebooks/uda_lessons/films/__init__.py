"""Films: a run as its board showed it, replayed by the board's own page in any browser, without Python.

>>> films.show("01")

Imports little besides the standard library, so that a film moves before torch is there.
"""

import html
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
start("{film}", document.body);
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
    known = sorted(path.stem for path in HERE.glob("*.film"))
    film = (HERE / f"{choose('film', lesson, known)}.film").read_bytes()
    document = html.escape(page(film, f"Film of lesson {lesson}"))
    style = "width: 100%; height: 700px; border: 0"  # until the page inside knows its height
    display(HTML(f'<div><iframe title="Film of lesson {lesson}" srcdoc="{document}" style="{style}"></iframe></div>'))


def page(film: bytes, title: str) -> str:
    """One HTML file that replays a film made by `pack.pack`: script, style and data, nothing to load."""
    return PAGE.format(
        title=html.escape(title), style=canvas.style(), script=canvas.script("film"), film=b64encode(film).decode()
    )
