"""The house: what stands where and how large it is, which way it imports, and what its public definitions say."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE, LESSONS, DOWNLOAD = ROOT / "uda_core", ROOT / "notebooks" / "uda_lessons", ROOT / "data_download"
MOST_LINES = {"core": 3700, "data": 2500, "lab": 5000, "lessons": 7400, "download": 1300}  # of Python
ROOMS = {  # which rooms each may import
    "core": {"core"},
    "data": {"core", "data"},
    "lab": {"core", "data", "lab"},
    "lessons": {"core", "data", "lab", "lessons"},
    "download": {"download"},
}
MODULES = {  # of the core: which ones each may import, at run time only ones further up in this table
    "errors": set(),
    "maps": set(),
    "samples": {"errors", "task"},
    "task": {"errors", "samples"},
    "anchors": {"errors", "samples"},
    "losses": {"anchors", "maps", "samples"},
    "pseudo_labels": {"samples"},
    "files": set(),
    "models": {"errors", "losses", "files", "maps"},
    "distributed": {"errors"},
    "run": {"distributed", "errors", "models", "samples", "task"},
    "training": {"distributed", "run"},
    "methods": {
        "anchors", "distributed", "errors", "losses", "maps", "models", "pseudo_labels", "run", "samples", "training",
    },
    "evaluation": {"errors", "maps", "run", "samples", "task"},
}  # fmt: skip
TRAINS = [
    "anchors",
    "distributed",
    "losses",
    "maps",
    "methods",
    "models",
    "pseudo_labels",
    "run",
    "samples",
    "training",
]
DRAWS = {"IPython", "anywidget", "ipywidgets", "matplotlib", "seaborn", "tqdm", "umap"}
TOP_LEVEL = {
    ".ci", ".gitattributes", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CITATION.cff",
    "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md", "data_download", "docs", "environment.yml", "notebooks",
    "pyproject.toml", "tests", "uda_core",
}  # fmt: skip

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def files(room: str) -> list[Path]:
    """The modules of a room."""
    if room == "core":
        return sorted({*CORE.rglob("*.py")} - {*files("data"), *files("lab")})
    folder = {"data": CORE / "data", "lab": CORE / "lab", "lessons": LESSONS, "download": DOWNLOAD}[room]
    return sorted(folder.rglob("*.py"))


def files_of(module: str) -> list[Path]:
    """The files of a module of the core."""
    found = [*CORE.glob(f"{module}.py"), *CORE.glob(f"{module}/**/*.py")]
    assert found
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path, for_types: bool = True) -> set[str]:
    """What a module imports, at its top, inside a function or by a string "module:function", by its full name."""
    nodes = set(ast.walk(parsed(path)))
    if not for_types:
        for node in list(nodes):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                nodes -= set(ast.walk(node))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level or DOWNLOAD in path.parents, f"{path}: a relative import hides the room"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if not node.level else set()
        elif isinstance(node, ast.Constant) and re.fullmatch(r"\w+(\.\w+)+:\w+", str(node.value)):
            names.add(node.value.replace(":", "."))
    return names


def room_of(name: str) -> str | None:
    """The room of an imported name; None if it is not of this house."""
    package, inside, *_ = *name.split("."), "", ""
    if package == "uda_core":
        return inside if inside in ("data", "lab", "download") else "core"
    return {"uda_lessons": "lessons", "data_download": "download"}.get(package)


# -- sizes and places --------------------------------------------------------------------------------------------------


def test_every_room_keeps_to_its_budget(capsys):
    lines = {room: sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files(room)) for room in ROOMS}
    with capsys.disabled():
        print("\nlines of Python: " + ", ".join(f"{room} {n} of {MOST_LINES[room]}" for room, n in lines.items()))
    assert {room: n for room, n in lines.items() if n > MOST_LINES[room]} == {}


def test_the_top_level_holds_what_it_should():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split("/")[0] for line in listed.splitlines()} == TOP_LEVEL


def test_every_folder_of_the_packages_is_installed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    kinds = ["*.py", *setuptools["package-data"]["*"]]
    found = set()
    for package, folder in {"uda_core": "uda_core", **setuptools["package-dir"]}.items():
        parents = {path.parent.relative_to(ROOT / folder) for kind in kinds for path in (ROOT / folder).rglob(kind)}
        found |= {".".join((package, *parent.parts)) for parent in parents}
    assert sorted(found) == sorted(setuptools["packages"])


# -- imports run downwards only ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_below_it(room):
    upwards = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(room)
        if path != CORE / "__main__.py"  # the door to the command line
        for name in imported(path)
        if room_of(name) not in ROOMS[room] | {None}
    }
    assert upwards == set()


def test_the_table_names_every_module_of_the_core():
    assert {path.relative_to(CORE).parts[0].removesuffix(".py") for path in files("core")} == {
        *MODULES,
        "__init__",
        "__main__",
    }


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_core_imports_only_those_below_it(module):
    names = set().union(*(imported(path) for path in files_of(module)))
    assert {name.split(".")[1] for name in names if room_of(name) == "core"} <= MODULES[module] | {module}


def test_the_core_has_no_circle():
    done = set()
    for module in MODULES:
        names = set().union(*(imported(path, for_types=False) for path in files_of(module)))
        assert {name.split(".")[1] for name in names if room_of(name) == "core"} <= done | {module}
        done.add(module)


@pytest.mark.parametrize("module", TRAINS)
def test_what_trains_neither_prints_nor_draws_nor_sees_the_truth(module):
    for path in files_of(module):
        assert not any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(parsed(path)))
        names = imported(path)
        assert {name.split(".")[0] for name in names}.isdisjoint(DRAWS)
        assert names.isdisjoint({"uda_core.task.Truth", "uda_core.task.Task"})


# -- what the public definitions say -----------------------------------------------------------------------------------


def public(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """The public classes, functions, methods and properties of a module, by their names; none inside a function."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Definition):
            yield from public(child, prefix)
        elif not child.name.startswith("_") and not any(
            ast.unparse(d).endswith(".setter") for d in child.decorator_list
        ):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def raises(node: ast.AST) -> bool:
    """Whether a function itself contains `raise SomeError(...)`."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return ast.unparse(node.exc.func).endswith("Error")
    return any(raises(child) for child in ast.iter_child_nodes(node) if not isinstance(child, Definition))


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_definition_has_a_docstring_that_names_what_it_raises(room):
    wanting = []
    for path in files(room):
        if path.name.startswith("_") and not path.name.startswith("__"):
            continue
        for name, node in public(parsed(path)):
            where, text = f"{path.relative_to(ROOT)}:{node.lineno} {name}", ast.get_docstring(node)
            if not text:
                wanting.append(f"{where}: no docstring")
            elif not isinstance(node, ast.ClassDef) and raises(node) and "Raises:" not in text:
                wanting.append(f"{where}: raises without 'Raises:'")
    if wanting:
        pytest.fail("\n".join(wanting), pytrace=False)
