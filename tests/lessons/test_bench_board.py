"""`uda bench board`: the browser tests of a checkout, with their times written down."""

import subprocess
from types import SimpleNamespace

from environments import ROOT

from uda_core.lab.main import main
from uda_lessons import bench_board


def test_it_runs_the_browser_tests_and_ends_as_they_do(tmp_path, monkeypatch):
    ran = []

    def run(command, cwd):
        ran.append((command[1:], cwd))
        return SimpleNamespace(returncode=5)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["bench", "board", "--out", str(tmp_path / "times.json")]) == 5
    arguments = ["-m", "pytest", str(ROOT / "tests" / "browser"), "--figures", str(tmp_path / "times.json")]
    assert ran == [(arguments, ROOT)]


def test_outside_a_checkout_it_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_board, "__file__", str(tmp_path / "a" / "b" / "bench_board.py"))
    assert main(["bench", "board", "--out", "times.json"]) == 2
    assert "only a checkout of the repository has" in capsys.readouterr().err
