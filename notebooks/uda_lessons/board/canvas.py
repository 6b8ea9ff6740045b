"""The one widget of the board: map, buttons, pictures, curves, numbers, film. See canvas.js and canvas.css."""

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent


class Canvas(anywidget.AnyWidget):
    """Fixed facts are traits; records, frames and state travel as messages, with positions as uint16 bytes.

    To Python: {do: "hello" | "tick" | "play" | "pause" | "step" | "reset" | "reveal"}.
    To the page: {do: "frame" | "state" | "clear" | "reveal" | "wake"}.
    """

    _esm = HERE / "canvas.js"
    _css = HERE / "canvas.css"

    look = traitlets.Dict().tag(sync=True)  # colours and markers, from figures.py
    facts = traitlets.Dict().tag(sync=True)  # classes, sizes, labels, words
    images = traitlets.Bytes().tag(sync=True)  # uint8 [.., height, width, channels], for hovering and pictures
    first = traitlets.Dict().tag(sync=True)  # the first frame, there before any message can be
