"""The page of the live board: small JavaScript modules, and how they become the one script that a page can load.

Imports nothing but the standard library, so that a film moves before torch is there.
"""

import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.mjs";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|(?:async )?function) (\w+))", re.MULTILINE)


@cache
def script(entry: str = "main") -> str:
    """One JavaScript module: `entry`.mjs and, before it, every module that it imports, each in a closure of its own."""
    return "\n".join([*(_closure(name) for name in _needed(entry)), _local(entry)])


def style() -> str:
    """The style sheet."""
    return (HERE / "canvas.css").read_text(encoding="utf-8")


def _source(name: str) -> str:
    return (HERE / f"{name}.mjs").read_text(encoding="utf-8")


def _needed(name: str) -> list[str]:
    """The modules that `name` imports, and what these import before them."""
    found = [module for _, other in IMPORT.findall(_source(name)) for module in [*_needed(other), other]]
    return list(dict.fromkeys(found))


def _local(name: str) -> str:
    """The source with its imports read from the other modules' closures."""
    return IMPORT.sub(r"const \1 = $\2;\n", _source(name))


def _closure(name: str) -> str:
    exported = ", ".join(EXPORT.findall(_source(name)))
    return f"const ${name} = (() => {{\n{EXPORT.sub('', _local(name))}\nreturn {{ {exported} }};\n}})();"
