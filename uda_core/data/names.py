"""Names that files, tables and terminals can hold, and two domains that are not one."""

import re
from pathlib import Path

from uda_core.errors import UserError

UNFIT = re.compile("[\\0-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")  # control characters, and what is not UTF-8


def fit(name: str | Path, where: str | Path) -> str:
    """A name or path as text, if it can stand in a line of a UTF-8 table.

    Raises:
        UserError: naming `where` it was found, if it holds a control character or bytes that are not UTF-8.
    """
    if UNFIT.search(text := str(name)):
        what = "a name with control characters, or not in UTF-8"
        raise UserError(f"{repr(str(where))[1:-1]}: {what}: {text!r}; rename it")
    return text


def apart(source: Path, target: Path) -> None:
    """Makes sure that two files or folders, if they are there, are not the same, and neither lies in the other.

    Raises:
        UserError: if they are, whatever links lead there.
    """
    if not (source.exists() and target.exists()):
        return
    for outer, inner in ((source, target), (target, source)):
        for place in (real := inner.resolve(), *real.parents):
            if outer.samefile(place):
                how = "the same" if place == real else f"not apart: {inner} lies in {outer}"
                raise UserError(f"{source} and {target} are {how}; give a target of its own")
