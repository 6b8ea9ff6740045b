"""How one starts: what README prints, what the two environments install, and a notebook opened alone as in Colab."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from environments import ROOT, copy_source, fresh_python, where
from notebook_runner import run_notebook
from uda_lessons import colab

from uda_core.__main__ import main
from uda_core.errors import UserError

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"pytorch": "torch"}  # where conda-forge's name differs from pip's


# -- README, environments, continuous checks ---------------------------------------------------------------------------


def test_conda_and_pip_have_the_same_bounds():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    *bounds, pip = [entry for entry in conda if entry != "pip"]
    names = [re.split("(?=[><=])", bound, maxsplit=1) for bound in bounds]
    translated = {CONDA_NAMES.get(name, name) + bound for name, bound in names}
    assert translated == {*PROJECT["dependencies"], "python" + PROJECT["requires-python"]}
    assert pip == {"pip": ["-e ."]}


def test_readme_prints_two_command_lines_that_name_what_is_there():
    start, test = re.findall(r"^python3 -m pip install .* && .*$", README, re.MULTILINE)
    assert test == 'python3 -m pip install -e ".[test]" && python3 -m pytest'
    install, opens, notebook = re.fullmatch(r"(.*) && (jupyter lab) (\S+)", start).groups()
    assert (install, opens) == ("python3 -m pip install -e .", "jupyter lab")
    assert (ROOT / notebook).is_file()


def test_continuous_checks_run_the_test_command_of_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assignments = "\n".join(re.findall(r"^(?:command|install|tests)=.*$", script, re.MULTILINE))
    shell = ["bash", "-c", assignments + '\nprintf "%s && %s" "$install" "$tests"']
    command = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert command in README.splitlines()
    for line in ('eval "$install', "ruff check .", "ruff format --check .", 'eval "$tests"'):
        assert line in script


def test_links_lead_to_files():
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        links = re.findall(r"\]\((?!https?://)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_example_trains():
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "fit(run, 400)" in example
    done = subprocess.run(
        [sys.executable, "-c", example.replace("fit(run, 400)", "fit(run, 2)")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["1", "2"]


def test_readme_command_lines_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"```bash\n(uda tasks.*?)```", README, re.DOTALL)
    lines = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert [line[0] for line in lines] == [
        *("tasks", "recipes", "train", "train", "evaluate", "evaluate", "train", "bench"),
    ]
    for line in lines[:-1]:  # bench takes minutes
        assert main([*line, "--steps", "2"] if line[0] == "train" else line) == 0
    assert "fonts-handwriting" in capsys.readouterr().out


def test_citation_names_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == PROJECT["version"]
    assert [paper["url"][-10:] for paper in citation["references"]] == ["2106.04151", "1910.13049"]


# -- one address for Colab ---------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path):
    """A copy of every file that carries the address."""
    (tmp_path / "uda_core").mkdir()
    shutil.copy(ROOT / "uda_core" / "colab.py", tmp_path / "uda_core")
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
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
    exec((clone / "uda_core" / "colab.py").read_text(encoding="utf-8"), namespace)
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
