"""What opens in Colab: one address for every notebook, and a notebook alone in an empty folder."""

import argparse
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import nbformat
import pytest
from environments import ROOT, copy_source, fresh_python, where
from notebook_runner import run_notebook

from uda_core.errors import UserError
from uda_lessons import colab

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
    for path in ROOT.glob("notebooks/[0-9]*.ipynb"):
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
    for path in clone.glob("notebooks/[0-9]*.ipynb"):
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


@pytest.mark.notebook
def test_a_single_notebook_in_an_empty_folder_installs_the_package_and_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    python = fresh_python(tmp_path / "environment")
    if where(python, "uda_core", tmp_path):
        pytest.skip("uda_core is installed here without -e, so no environment without it can be made from this one")
    torch = where(python, "torch", tmp_path)

    source, alone = copy_source(tmp_path / "source"), tmp_path / "alone"
    alone.mkdir()
    lesson = Path(shutil.copy(ROOT / "notebooks" / "01_the_gap.ipynb", alone))
    done = run_notebook(
        lesson,
        tmp_path / "executed.ipynb",
        timeout=600,
        python=str(python),
        UDA_CORE_SOURCE=str(source),
        PIP_NO_INDEX="1",
        PIP_NO_BUILD_ISOLATION="0",  # pip reads it the wrong way round: 0 means without isolation
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert where(python, "torch", tmp_path) == torch
    for module in ("uda_core", "uda_lessons", "uda_core.download"):
        assert tmp_path / "environment" in where(python, module, tmp_path).parents
