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
    choose("method", name, METHODS)
    lines = [f"uda train {name} TASK --set NAME=VALUE ... (default, which the recipe of a task may change; range)"]
    for what, forms in (("images", CLASSIFICATION), ("pixels", SEGMENTATION)):
        if name in forms:
            config, settings = fields_of(forms[name])
            lines += [f"  settings, where {what} are labelled; --resume may change them"]
            lines += [*map(_line, settings.values()), "  configuration, fixed from the first step on"]
            lines += map(_line, config.values())
    return "\n".join([*lines, "the other options: uda train --help"])


def _line(f: dataclasses.Field) -> str:
    default = ",".join(map(str, f.default)) if isinstance(f.default, tuple) else str(f.default).lower()
    choices = ("true", "false") if f.type is bool else f.metadata["choices"]
    low, high = f.metadata["low"], f.metadata["high"]
    limits = f"; {low:g} to {high:g}" if low or high else f"; {' or '.join(choices)}" if choices else ""
    start = f"{default} {f.metadata['unit']}".rstrip()
    return f"    {f.name:27} {f.metadata['help']} ({start}{limits})"
