"""How one starts: what README prints, and what the two environments install."""

import email
import re
import shlex
import subprocess
import sys
import tarfile
import tomllib
from pathlib import PurePosixPath

import numpy as np
import yaml
from environments import ROOT, copy_source

from uda_core.__main__ import main
from uda_lessons.colab import PUBLISHED, is_named

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
    words = "tasks recipes train train train train train cite evaluate evaluate train compare grade bench"
    assert " ".join(line[0] for line in lines) == words
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, features=np.random.default_rng(0).normal(size=(40, 8)), labels=np.arange(40) % 2)
    for line in lines[:-3]:  # compare (lab/test_compare.py), grade (teaching/test_grade.py) and bench take minutes
        assert main([*line, "--steps", "2"] if line[0] == "train" and "--source" not in line else line) == 0, line
    assert "fonts-handwriting" in capsys.readouterr().out


def test_citation_names_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == PROJECT["version"]
    assert [paper["url"][-10:] for paper in citation["references"]] == ["2106.04151", "1910.13049"]


def test_the_source_distribution_says_what_it_is_and_holds_no_test(tmp_path):
    source = copy_source(tmp_path / "source")
    for name in ("tests/test_it.py", "uda_core/__pycache__/errors.cpython-311.pyc"):
        (source / name).parent.mkdir()
        (source / name).touch()
    build = f"from setuptools.build_meta import build_sdist; print(build_sdist({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    [path] = tmp_path.glob("*.tar.gz")
    assert path.stat().st_size < 5e6
    with tarfile.open(path) as archive:
        names = [PurePosixPath(*PurePosixPath(name).parts[1:]) for name in archive.getnames()]
        metadata = email.message_from_binary_file(archive.extractfile(f"{path.name[:-7]}/PKG-INFO"))
    licences = {PurePosixPath(name) for name in metadata.get_all("License-File")}
    assert {PurePosixPath("LICENSE"), PurePosixPath("notebooks/LICENSE")} == licences <= set(names)
    assert {"CHANGELOG.md", "CITATION.cff", "README.md"} <= {name.name for name in names}
    assert not [name for name in names if {"tests", "__pycache__"} & set(name.parts)]

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert metadata["Author"] == ", ".join(author["name"] for author in citation["authors"])
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload(decode=True).decode().strip() == README.strip()
    floor = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {floor}" in metadata.get_all("Classifier")
    assert {"Keywords", "Summary"} <= set(metadata.keys())
    urls = metadata.get_all("Project-URL", [])
    repository = PUBLISHED.split("@")[0]
    assert bool(urls) == is_named(PUBLISHED)
    assert all(f"https://github.com/{repository}" in url for url in urls)
