"""What opens in Colab: one address for every notebook, and a notebook alone in an empty folder."""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

import nbformat
import pytest
from notebook_runner import run_notebook

from uda_core.errors import UserError
from uda_lessons import colab

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


# -- one address for Colab ---------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path):
    """A copy of every file that carries the address."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_readme_has_a_badge_for_every_notebook():
    for path in ROOT.glob("notebooks/*.ipynb"):
        assert colab.badge(path.stem) in README


def test_first_cell_is_short():
    assert len(colab.first_cell().splitlines()) <= 12


def test_a_fork_rewrites_every_address_once_and_back(clone):
    before, old_repository = contents(clone), colab.PUBLISHED.split("@")[0].encode()
    changed = colab.rewrite(clone, "someone/their-fork@v9")
    assert set(changed) == {path for path, content in before.items() if old_repository in content}
    assert {"colab.py", "README.md"} <= {path.name for path in changed}
    assert not any(old_repository in content for content in contents(clone).values())
    assert colab.rewrite(clone, "someone/their-fork@v9") == []

    namespace = {"__name__": "forked"}
    exec((clone / "notebooks" / "uda_lessons" / "colab.py").read_text(encoding="utf-8"), namespace)
    for path in clone.glob("notebooks/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        assert namespace["first_cell"]() in [cell.source for cell in notebook.cells]
        assert namespace["badge"](path.stem) in notebook.cells[0].source

    colab.rewrite(clone, colab.PUBLISHED)
    assert contents(clone) == before


def test_the_command_lists_what_it_rewrote(clone, capsys):
    arguments = ["--repository", "someone/their-fork", "--tag", "v9", "--root", str(clone)]
    assert colab.main(arguments) == 0
    assert f"rewrote {clone / 'README.md'}" in capsys.readouterr().out
    assert colab.main(arguments) == 0
    assert capsys.readouterr().out.startswith("nothing to rewrite")
    assert colab.main([*arguments[:3], "v9/x"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_it_is_a_command_of_uda_too(clone, capsys):
    [entry] = [entry for entry in entry_points(group="uda.commands") if entry.name == "colab"]
    parser = argparse.ArgumentParser()
    entry.load()(parser.add_subparsers())
    args = parser.parse_args(["colab", "--repository", "someone/their-fork", "--tag", "v9", "--root", str(clone)])
    assert args.command(args) == 0
    assert f"rewrote {clone / 'notebooks' / 'uda_lessons' / 'colab.py'}" in capsys.readouterr().out


@pytest.mark.parametrize("published", ["lessons@v1", "someone/lessons@feature/x", "some one/lessons@v1", "a/b/c@v1"])
def test_a_malformed_address_is_refused_before_anything_is_written(clone, published):
    before = contents(clone)
    with pytest.raises(UserError, match="expected --repository OWNER/NAME"):
        colab.rewrite(clone, published)
    assert contents(clone) == before


def test_rewriting_outside_a_clone_is_refused(tmp_path):
    with pytest.raises(UserError, match="run this inside a clone"):
        colab.rewrite(tmp_path, "someone/their-fork@v9")


# -- a notebook opened alone -------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_environment(tmp_path):
    """Python of a new environment that sees torch and all else that is installed here, but not uda_core."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Python 3.11 brings a setuptools too old to build with; the one of this environment takes its place
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True)
    [own] = folder.rglob("site-packages")
    elsewhere = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "elsewhere.pth").write_text("\n".join(elsewhere))  # a path in a .pth file brings no .pth files of its own
    return python


@pytest.mark.notebook
def test_a_single_notebook_in_an_empty_folder_installs_the_package_and_runs(fresh_environment, tmp_path, monkeypatch):
    lesson = ROOT / "notebooks" / "01_the_gap.ipynb"
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def where(module: str) -> Path | None:
        code = f"from importlib.util import find_spec as f; s = f({module!r}); print(s.origin if s else '')"
        done = subprocess.run([fresh_environment, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return Path(done.stdout.strip()) if done.stdout.strip() else None

    if where("uda_core"):
        pytest.skip("uda_core is installed here without -e, so no environment without it can be made from this one")
    torch = where("torch")

    source, alone = tmp_path / "source", tmp_path / "alone"
    source.mkdir()
    alone.mkdir()
    rooms = {"uda_core": "uda_core", "data_download": "uda_core/download", "notebooks/uda_lessons": "uda_lessons"}
    for name in rooms:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "notebooks/LICENSE"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    shutil.copy(lesson, alone)

    done = run_notebook(
        alone / lesson.name,
        tmp_path / "executed.ipynb",
        timeout=600,
        python=str(fresh_environment),
        UDA_CORE_SOURCE=str(source),
        PIP_NO_INDEX="1",
        PIP_NO_BUILD_ISOLATION="0",  # pip reads it the wrong way round: 0 means without isolation
    )
    assert done.returncode == 0, done.stderr[-3000:]
    installed = where("uda_core").parent
    assert fresh_environment.parents[1] in installed.parents
    assert where("torch") == torch
    assert not (installed.parent / "data_download").exists()
    for name, place in rooms.items():
        files = {path.relative_to(source / name) for path in (source / name).rglob("*") if path.is_file()}
        files = {path for path in files if "__pycache__" not in path.parts}
        assert {path for path in files if not (installed.parent / place / path).is_file()} == set()
