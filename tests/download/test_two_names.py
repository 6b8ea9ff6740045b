"""The same files work under two names: `data_download` in a checkout, `uda_core.download` where they are installed."""

import argparse
import ast
import importlib
import importlib.util
import subprocess
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


def test_the_command_names_itself_as_it_is_called(package, tmp_path, capsys):
    command = importlib.import_module(f"{package}.__main__")
    parser = argparse.ArgumentParser(prog="uda")
    command.add(parser.add_subparsers())
    called = {"data_download": "python -m data_download", "uda_core.download": "uda download"}[package]
    for ask in (lambda: parser.parse_args(["download", "--help"]), lambda: command.main(["--help"])):
        with pytest.raises(SystemExit):
            ask()
        assert capsys.readouterr().out.startswith(f"usage: {called} [-h] [--to DIR] [--from URL] [--probe] [NAME]\n")

    args = parser.parse_args(["download", "--to", str(tmp_path)])
    assert args.command(args) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(command.NAMES)
    args = parser.parse_args(["download", "cityscape"])
    assert args.command(args) == 2
    assert capsys.readouterr().err.endswith("Did you mean 'cityscapes'?\n")


def test_a_checkout_runs_it_as_a_module():
    done = subprocess.run([sys.executable, "-m", "data_download"], cwd=ROOM.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mnist ")
