"""What the page's sliders are: one for each named setting, made from its type, help, range and unit."""

import dataclasses
from collections.abc import Sequence

from uda_core.run import Run

LOGARITHMIC = {"learning_rate": 1e-5}  # settings moved by their order of magnitude, and the lowest value


def describe_controls(run: Run, names: Sequence[str], steps: int) -> list[dict]:
    """A slider for each name, in the setting's own units; the `step` of a logarithmic one is in powers of ten."""
    fields = {f.name: f for f in dataclasses.fields(run.settings)}
    return [_control(fields[name], getattr(run.settings, name), steps) for name in names]


def _control(field: dataclasses.Field, value: float, steps: int) -> dict:
    low, high, step, kind = field.metadata["low"], field.metadata["high"], 1, "int"
    if field.type is int:
        high = min(high, max(10 * value, steps if low == 0 else 10))
    elif field.name in LOGARITHMIC:
        low, step, kind = LOGARITHMIC[field.name], 0.1, "log"
    else:
        high = min(high, max(1.0, 10 * value))
        step, kind = high / 100, "float"
    return {
        "name": field.name, "label": field.name.replace("_", " "), "unit": field.metadata["unit"],
        "help": field.metadata["help"], "low": low, "high": high, "step": step, "value": value, "kind": kind,
    }  # fmt: skip
