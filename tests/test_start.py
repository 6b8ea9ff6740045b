"""How one starts: what README prints, what the two environments install, and a notebook opened alone as in Colab."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import nbformat
import pytest
import yaml
from notebook_runner import run_notebook
from uda_lessons import colab

from uda_core.__main__ import main
from uda_core.errors import UserError

ROOT = Path(__file__).parents[1]
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
    start, test = re.findall(r"^python3 -m pip install .*$", README, re.MULTILINE)
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


def test_readme_links_lead_to_files():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert len(links) >= 8
    assert [link for link in links if not (ROOT / link).is_file()] == []


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
    lines = [
        shlex.split(line, comments=True)[3:] for line in re.findall("^python -m uda_core .*", README, re.MULTILINE)
    ]
    assert [line[0] for line in lines] == ["tasks", "train", "train", "evaluate", "evaluate", "train", "bench"]
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
    for name in ("uda_core", "data_download"):
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
    for folder, package in ((source / "uda_core", installed), (source / "data_download", installed / "download")):
        files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        files = {path for path in files if "__pycache__" not in path.parts}
        assert {path for path in files if not (package / path).is_file()} == set()
