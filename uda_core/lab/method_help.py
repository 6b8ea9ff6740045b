"""`uda train METHOD --help`: the settings and the configuration of a method, in words."""

import dataclasses

from uda_core.errors import choose
from uda_core.lab.recipe import METHODS, fields_of
from uda_core.methods import CLASSIFICATION, SEGMENTATION


def method_help(name: str) -> str:
    """Every name that --set takes, a line each, with the method's default and the range.

    Raises:
        UserError: for an unknown method.
    """
    if name not in METHODS:
        choose("method", name, METHODS)
    lines = [f"uda train {name} TASK --set NAME=VALUE ... (default, which the recipe of a task may change; range)"]
    for what, forms in (("images", CLASSIFICATION), ("pixels", SEGMENTATION)):
        if name in forms:
            config, settings = fields_of(forms[name])
            lines += [
                f"  settings, where {what} are labelled; --resume may change them",
                *map(_line, settings.values()),
            ]
            lines += ["  configuration, fixed from the first step on", *map(_line, config.values())]
    return "\n".join([*lines, "the other options: uda train --help"])


def _line(f: dataclasses.Field) -> str:
    m, default = f.metadata, ",".join(map(str, f.default)) if isinstance(f.default, tuple) else str(f.default).lower()
    limits = (
        f"; {m['low']:g} to {m['high']:g}" if m["low"] or m["high"] else "; true or false" if f.type is bool else ""
    )
    limits = f"; {' or '.join(m['choices'])}" if m["choices"] else limits
    return f"    {f.name:27} {m['help']} ({default}{' ' if m['unit'] else ''}{m['unit']}{limits})"
