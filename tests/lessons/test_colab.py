"""What opens in Colab: one repository for every notebook, or a wheel beside a notebook that lies alone in a folder."""

import argparse
import importlib.util
import re
import shutil
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import nbformat
import pytest
from environments import ROOT, build_wheel, fresh_python, where
from IPython.core.inputtransformer2 import TransformerManager
from notebook_runner import run_notebook

from uda_core.errors import UserError
from uda_lessons import colab

NOBODY, SOMEONE = "OWNER/uda-lessons@v0.1.0", "someone/their-fork@v9"


# -- one repository for all --------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """A copy of every file that carries an address, and of what README links to."""
    for name in ("README.md", "pyproject.toml", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "uda_core", tmp_path / "uda_core", ignore=shutil.ignore_patterns("*.py", "*.pyc", "*.csv"))
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def clone(stored):
    """The same with no repository named."""
    colab.rewrite(stored, NOBODY)
    return stored


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pages(clone: Path) -> list[str]:
    """README and notebooks, as text."""
    return [path.read_text(encoding="utf-8") for path in (clone / "README.md", *clone.rglob("*.ipynb"))]


def test_what_is_stored_names_one_repository_or_none(stored):
    assert colab.rewrite(stored, colab.PUBLISHED) == []


def test_without_a_repository_nothing_points_to_one(clone):
    for page in pages(clone):
        assert not re.search(r"colab\.research\.google|Open in Colab|github\.com/OWNER", page)
    assert "urls" not in tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_first_cell_is_short():
    for published in (NOBODY, SOMEONE):
        assert len(colab.first_cell(published).splitlines()) <= 15


def test_a_named_repository_stands_everywhere_and_can_be_taken_back(clone):
    before, lessons = contents(clone), sorted(clone.glob("notebooks/[0-9]*.ipynb"))
    changed = colab.rewrite(clone, "first/fork@v1")
    own = clone / "notebooks" / "uda_lessons" / "colab.py"
    assignments = sorted(clone.glob("notebooks/assignments/*.ipynb"))
    assert set(changed) == {own, clone / "README.md", clone / "pyproject.toml", *lessons, *assignments}
    assert colab.rewrite(clone, SOMEONE) == changed
    assert colab.rewrite(clone, SOMEONE) == []
    assert not any("first/fork" in page for page in pages(clone))

    namespace = {"__name__": "forked"}
    exec(own.read_text(encoding="utf-8"), namespace)
    assert namespace["PUBLISHED"] == SOMEONE
    readme = (clone / "README.md").read_text(encoding="utf-8")
    for path in [*lessons, *assignments]:
        title, *cells = nbformat.read(path, as_version=4).cells
        name = path.relative_to(clone / "notebooks").with_suffix("").as_posix()
        assert title.source.splitlines()[2] == namespace["badge"](name)
        assert next(cell.source for cell in cells if cell.cell_type == "code") == namespace["first_cell"]()
        assert readme.count(namespace["badge"](name)) == (path in lessons)

    colab.rewrite(clone, NOBODY)
    assert contents(clone) == before


def test_a_named_readme_renders_outside_the_repository(clone):
    before = (clone / "README.md").read_text(encoding="utf-8")
    colab.rewrite(clone, SOMEONE)
    after = (clone / "README.md").read_text(encoding="utf-8")
    relative = r"\]\((?!https?://)([^)#]+)\)"
    assert not [link for link in re.findall(relative, after) if (clone / link).exists()]
    for picture in re.findall(r"!\[.*\]\((.*)\)", before):
        assert f"(https://raw.githubusercontent.com/someone/their-fork/v9/{picture})" in after
    assert "[CHANGELOG.md](https://github.com/someone/their-fork/blob/v9/CHANGELOG.md)" in after
    assert "[arXiv 2504.18190](https://arxiv.org/abs/2504.18190)" in after


def test_a_named_project_links_to_its_repository_unless_it_has_links(clone):
    def urls() -> dict:
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("urls", {})

    project = clone / "pyproject.toml"
    colab.rewrite(clone, SOMEONE)
    assert urls() == {
        "Source": "https://github.com/someone/their-fork",
        "Issues": "https://github.com/someone/their-fork/issues",
        "Changelog": "https://github.com/someone/their-fork/blob/v9/CHANGELOG.md",
    }
    project.write_text(project.read_text(encoding="utf-8").replace("/issues", "/discussions"), encoding="utf-8")
    colab.rewrite(clone, "another/fork@v9")
    assert urls()["Issues"] == "https://github.com/someone/their-fork/discussions"


def test_a_broken_notebook_is_named_and_nothing_is_written(clone):
    (clone / "notebooks" / "zz.ipynb").write_text("<html>", encoding="utf-8")
    before = contents(clone)
    with pytest.raises(UserError, match=r"zz\.ipynb is not a notebook"):
        colab.rewrite(clone, SOMEONE)
    assert contents(clone) == before
    (clone / "notebooks" / "zz.ipynb").write_bytes(b"\xff{}")
    with pytest.raises(UserError, match=r"zz\.ipynb is not text in UTF-8"):
        colab.rewrite(clone, SOMEONE)


def test_a_checkpoint_of_jupyter_stays_as_it_is(clone):
    checkpoint = clone / "notebooks" / ".ipynb_checkpoints" / "01_the_gap-checkpoint.ipynb"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes((clone / "notebooks" / "01_the_gap.ipynb").read_bytes())
    assert checkpoint not in colab.rewrite(clone, SOMEONE)


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
def first_cell(tmp_path, monkeypatch):
    """Runs a first cell in an empty folder where uda_core is missing, and returns what it hands to pip."""
    lines = []

    class Shell:
        def run_line_magic(self, name: str, line: str, **_) -> None:
            assert name == "pip"
            lines.append(line)

    def run(published: str) -> list[str]:
        source = TransformerManager().transform_cell(colab.first_cell(published))
        namespace = {"get_ipython": Shell}
        exec(source, namespace)
        return [line.format(**namespace) for line in lines]  # as IPython expands {source}

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UDA_CORE_SOURCE", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return run


def test_first_cell_says_in_two_lines_what_is_missing(first_cell, tmp_path):
    (tmp_path / "uda_core-0.1.0-py3-none-any (1).whl").touch()  # a second download: pip refuses this name
    with pytest.raises(SystemExit) as stopped:
        first_cell(NOBODY)
    beside, in_colab = str(stopped.value).splitlines()
    assert "uda_core-...-any.whl beside this notebook" in beside
    assert "/content" in in_colab


@pytest.mark.parametrize("published", [NOBODY, SOMEONE])
def test_first_cell_takes_a_wheel_beside_the_notebook(first_cell, tmp_path, published):
    (tmp_path / "uda_core-0.1.0-py3-none-any.whl").touch()
    package, others = first_cell(published)
    assert package == 'install --quiet --no-deps "uda_core-0.1.0-py3-none-any.whl"'
    assert others == "install --quiet anywidget umap-learn"


def test_first_cell_takes_a_named_repository(first_cell):
    assert first_cell(SOMEONE)[0] == 'install --quiet --no-deps "https://github.com/someone/their-fork/archive/v9.zip"'


@pytest.mark.parametrize("published", [NOBODY, SOMEONE])
def test_a_variable_goes_before_wheel_and_repository(first_cell, tmp_path, monkeypatch, published):
    (tmp_path / "uda_core-0.1.0-py3-none-any.whl").touch()
    monkeypatch.setenv("UDA_CORE_SOURCE", "/somewhere/else")
    assert first_cell(published)[0] == 'install --quiet --no-deps "/somewhere/else"'


@pytest.mark.parametrize("published", [NOBODY, SOMEONE])
def test_first_cell_does_nothing_where_the_package_is(first_cell, monkeypatch, published):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert first_cell(published) == []


@pytest.mark.notebook
def test_a_notebook_and_a_wheel_in_an_empty_folder_are_enough(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("UDA_CORE_SOURCE", raising=False)
    python = fresh_python(tmp_path / "environment")
    if where(python, "uda_core", tmp_path):
        pytest.skip("uda_core is installed here without -e, so no environment without it can be made from this one")
    torch = where(python, "torch", tmp_path)

    wheel, alone = build_wheel(tmp_path), tmp_path / "alone"
    alone.mkdir()
    shutil.copy(wheel, alone)
    lesson = Path(shutil.copy(ROOT / "notebooks" / "01_the_gap.ipynb", alone))
    done = run_notebook(lesson, tmp_path / "executed.ipynb", timeout=600, python=str(python), PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert where(python, "torch", tmp_path) == torch
    for module in ("uda_core", "uda_lessons", "uda_core.download"):
        assert tmp_path / "environment" in where(python, module, tmp_path).parents
