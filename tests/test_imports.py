"""Imports run downwards only, and what trains neither prints nor draws."""

import ast
from pathlib import Path

import pytest

import uda_core

PACKAGE = Path(uda_core.__file__).parent
MAY_IMPORT = {  # of uda_core's rooms, besides itself
    "maps": set(),
    "anchors": {"data", "errors"},
    "losses": {"anchors", "data", "maps"},
    "pseudo_labels": {"data"},
    "models": {"errors", "maps"},
    "closed_form": {"losses", "models"},
    "data": {"errors"},
    "distributed": {"errors"},
    "methods": {"anchors", "closed_form", "data", "distributed", "errors", "losses", "maps", "models", "pseudo_labels"},
    "training": {"methods"},
    "checkpoints": {"errors", "methods"},
    "evaluation": {"data", "errors", "maps"},
    "validators": {"losses", "methods"},
}


def trees(room: str) -> list[ast.Module]:
    """Every module of a room, parsed."""
    paths = [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py")]
    assert paths
    return [ast.parse(path.read_text(encoding="utf-8")) for path in paths]


def imported(tree: ast.Module) -> set[str]:
    """The rooms of uda_core that a module imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("uda_core.")}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_knows_only_those_below_it(room):
    assert set().union(*map(imported, trees(room))) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize(
    "room", ["maps", "anchors", "losses", "pseudo_labels", "models", "closed_form", "methods", "training"]
)
def test_what_trains_neither_prints_nor_draws(room):
    nodes = [node for tree in trees(room) for node in ast.walk(tree)]
    assert not any(isinstance(node, ast.Name) and node.id == "print" for node in nodes)
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules}.isdisjoint(
        {"tqdm", "matplotlib", "seaborn", "IPython", "ipywidgets"}
    )
