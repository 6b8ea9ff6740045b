"""The same files work under two names: `data_download` in a checkout, `uda_core.download` where they are installed."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

import data_download
import uda_core

ROOM = Path(data_download.__file__).parent
MODULES = sorted(path.stem for path in ROOM.glob("*.py"))
MAY_IMPORT = sys.stdlib_module_names | {"requests", "urllib3", "filelock", "tqdm", "scipy"}


@pytest.mark.parametrize("module", MODULES)
def test_it_imports_nothing_of_uda_core_and_its_own_modules_without_their_name(module):
    for node in ast.walk(ast.parse((ROOM / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= MAY_IMPORT
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1
            assert (node.module or node.names[0].name) in MODULES
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in MAY_IMPORT


@pytest.fixture(params=["data_download", "uda_core.download"])
def package(request, monkeypatch):
    """The name under which a new copy of the package is imported."""
    name = request.param
    for module in loaded(name):
        monkeypatch.delitem(sys.modules, module)
    spec = importlib.util.spec_from_file_location(name, ROOM / "__init__.py", submodule_search_locations=[str(ROOM)])
    copy = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, copy)
    monkeypatch.setattr(uda_core, "download", copy, raising=False)
    spec.loader.exec_module(copy)
    yield name
    for module in loaded(name):
        del sys.modules[module]


def loaded(package: str) -> list[str]:
    return [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]


def test_every_module_works_under_the_name_of_its_package(package):
    for module in MODULES:
        assert importlib.import_module(f"{package}.{module}").__package__ == package
    source = importlib.import_module(f"{package}.source")
    for name in source.NAMES:
        assert isinstance(source.load(name), source.Source)
