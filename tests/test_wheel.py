"""The wheel: what is in it, and its commands in a new environment; lessons/test_colab.py runs a lesson with it."""

import os
import re
import subprocess
import zipfile
from pathlib import PurePosixPath

import pytest
from environments import ROOT, build_wheel, fresh_python, where

import uda_core

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Python of a new environment with the wheel, started where nothing else is."""
    folder = tmp_path_factory.mktemp("installed")
    python = fresh_python(folder / "environment")
    install = ["install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel]
    subprocess.run([python, "-m", "pip", *install], check=True)
    for module in ("uda_core", "uda_lessons", "uda_core.download"):
        assert folder in where(python, module, cwd=folder).parents
    return python


@pytest.fixture
def run(python, tmp_path, monkeypatch):
    """Runs a command of the new environment in an empty folder and returns what it printed."""
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(command: str) -> str:
        program, *arguments = command.split()
        done = subprocess.run(
            [python.with_name(program), *arguments],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_the_wheel_holds_both_packages_their_data_and_nothing_else(wheel):
    inside = [PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()]
    info = f"uda_core-{uda_core.__version__}.dist-info"
    assert {path.parts[0] for path in inside} == {"uda_core", "uda_lessons", info}
    suffixes = {".py", ".bib", ".mjs", ".css", ".csv", ".film", ".toml", ".md"}
    folders = {"uda_core": "uda_core", "uda_core/download": "data_download", "uda_lessons": "notebooks/uda_lessons"}
    files = {
        PurePosixPath(there) / path.relative_to(ROOT / here).as_posix()
        for there, here in folders.items()
        for path in (ROOT / here).rglob("*")
        if path.suffix in suffixes
    }
    assert {path for path in inside if path.parts[0] != info} == files
    assert {path.suffix for path in files} == suffixes
    assert wheel.stat().st_size < 5e6


def test_the_commands_work_in_an_empty_folder(run, tmp_path):
    assert run("python -m uda_core --version").strip() == uda_core.__version__
    assert "fonts-handwriting" in run("uda tasks")
    assert "visda2017" in run("uda download")
    run("uda train cgdm fonts-handwriting --steps 3 --out runs/first")
    assert {"settings.json", "metrics.jsonl", "summary.json"} <= {path.name for path in tmp_path.glob("runs/first/*")}
    assert re.search(r"\d", run("uda evaluate runs/first"))
