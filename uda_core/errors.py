"""One kind of error for what a person got wrong: a single line that names the field and the mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, described in one line. The command line prints it without a traceback."""


def choose(what: str, name: str, known: Iterable[str]) -> str:
    """`name`, if it is one of `known`.

    Raises:
        UserError: if it is not; the message lists them and guesses which was meant.
    """
    known = list(known)
    if name in known:
        return name
    close = difflib.get_close_matches(str(name), known, 1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise UserError(f"unknown {what} {name!r}; known: {', '.join(known)}.{guess}")
