"""`uda cite`: the papers behind a method, as BibTeX."""

import argparse
import re
from pathlib import Path

from uda_core import methods
from uda_core.errors import choose
from uda_core.lab import main
from uda_core.lab.recipe import all_methods

REFERENCES = Path(methods.__file__).with_name("references.bib")  # the field `keywords` names whom an entry belongs to


def add(commands) -> None:
    """The command `cite`."""
    p = main.add_command(commands, "cite", cite, "print the papers behind methods as BibTeX", "cite cgdm adabn")
    about = f"whose papers to print (default: all): {', '.join(cited())}"
    p.add_argument("name", nargs="*", metavar="NAME", help=about)


def cite(args: argparse.Namespace) -> int:
    """Print the entries, each once, and a comment on methods that have none; the exit status."""
    known = cited()
    wanted = {choose("reference", name, sorted({*known, *all_methods()})) for name in args.name} or {*known}
    without = [f"% {name} has no paper of its own." for name in sorted(wanted - {*known})]
    print("\n\n".join([*without, *(entry for entry, names in entries() if wanted & names)]))
    return 0


def cited() -> list[str]:
    """Every name that has an entry: methods, `adabn`, and the recipes that mix methods."""
    return sorted(set().union(*(names for _, names in entries())))


def entries() -> list[tuple[str, set[str]]]:
    """Each entry of the file, with the names that it is cited for."""
    found = REFERENCES.read_text(encoding="utf-8").strip().split("\n\n")
    return [(entry, set(re.findall(r"[\w-]+", entry.partition("keywords = ")[2]))) for entry in found]
