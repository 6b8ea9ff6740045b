"""The one widget of the board: map, buttons, pictures, curves, numbers, film. Its page is `uda_lessons.canvas`."""

import anywidget
import traitlets

from uda_lessons import canvas


class Canvas(anywidget.AnyWidget):
    """Fixed facts are traits; records, frames and state travel as messages, with positions as uint16 bytes.

    To Python: {do: "hello" | "play" | "pause" | "step" | "reset" | "reveal"}, {do: "tick", n}, {do: "seed", value}, and
    {do: "set", name, value} for a setting or a dial.
    To the page: {do: "frame" | "state" | "answer" | "clear" | "reveal" | "wake" | "ghost"}.
    """

    _esm = canvas.script()
    _css = canvas.style()

    look = traitlets.Dict().tag(sync=True)  # colours and markers, from figures.py
    facts = traitlets.Dict().tag(sync=True)  # classes, sizes, labels, words
    images = traitlets.Bytes().tag(sync=True)  # uint8 [.., height, width, channels], for hovering and pictures
    first = traitlets.Dict().tag(sync=True)  # the first frame, there before any message can be
