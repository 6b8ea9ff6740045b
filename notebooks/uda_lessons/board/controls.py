"""Sliders made from the help, range and unit of each setting. A callback stores one number and wakes the page."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import ipywidgets as widgets

from uda_core.run import Run

LOGARITHMIC = {"learning_rate": -5}  # settings moved by their order of magnitude, and the lowest one


def make_controls(
    run: Run, names: Sequence[str], seed: widgets.Widget, steps: int, moved: Callable[[], None]
) -> widgets.Widget:
    """A slider with its explanation for each named setting, and the seed, which counts from the next Reset on.

    `moved` is called after each move of a slider.
    """
    fields = {f.name: f for f in dataclasses.fields(run.settings)}
    rows = [_row(_slider(run, fields[name], steps, moved), fields[name].metadata["help"]) for name in names]
    seed.style.description_width, seed.layout.width = "130px", "230px"
    return widgets.VBox([*rows, _row(seed, "order of the data and first weights; used from the next Reset on")])


def _slider(run: Run, field: dataclasses.Field, steps: int, moved: Callable[[], None]) -> widgets.Widget:
    value, low, high = getattr(run.settings, field.name), field.metadata["low"], field.metadata["high"]
    unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
    common = {
        "value": value, "description": field.name.replace("_", " ") + unit, "continuous_update": True,
        "style": {"description_width": "130px"}, "layout": widgets.Layout(width="min(400px, 100%)"),
    }  # fmt: skip
    if field.type is int:
        slider = widgets.IntSlider(min=low, max=min(high, max(10 * value, steps if low == 0 else 10)), **common)
    elif field.name in LOGARITHMIC:
        lowest = LOGARITHMIC[field.name]
        slider = widgets.FloatLogSlider(min=lowest, max=math.log10(high), step=0.1, readout_format=".1e", **common)
    else:
        top = min(high, max(1.0, 10 * value))
        slider = widgets.FloatSlider(min=low, max=top, step=top / 100, readout_format=".3g", **common)

    def store(change: dict) -> None:
        setattr(run.settings, field.name, change["new"])
        moved()

    slider.observe(store, "value")
    return slider


def _row(widget: widgets.Widget, words: str) -> widgets.Widget:
    words = widgets.HTML(f'<span style="opacity: 0.7">{words}</span>', layout=widgets.Layout(flex="1 1 0"))
    return widgets.HBox([widget, words], layout=widgets.Layout(align_items="center"))
