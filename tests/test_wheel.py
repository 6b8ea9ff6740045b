"""The wheel: what is in it, and that it is enough in an empty folder of a new environment."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from environments import ROOT, copy_source, fresh_python, where
from notebook_runner import run_notebook

import uda_core

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_source(folder / "source")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    [path] = folder.glob("*.whl")
    return path


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


def test_a_lesson_runs_alone(python, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    lesson = shutil.copy(ROOT / "notebooks" / "01_the_gap.ipynb", tmp_path)
    done = run_notebook(Path(lesson), tmp_path / "executed.ipynb", timeout=450, python=str(python))
    assert done.returncode == 0, done.stderr[-3000:]
