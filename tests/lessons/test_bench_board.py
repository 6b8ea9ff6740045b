"""`uda bench board`: the browser tests of a checkout, with their times written down."""

import json
import subprocess
from types import SimpleNamespace

from environments import ROOT

from uda_core.lab.main import main
from uda_lessons import bench_board


def test_it_runs_the_browser_tests_prints_their_figures_and_ends_as_they_do(tmp_path, monkeypatch, capsys):
    ran = []

    def run(command, cwd):
        ran.append((command[1:], cwd))
        figures = {"ipykernel 7": {"pause": 36.1, "board, s": 19.5}, "ipykernel 6": {"pause": 41.0}}
        (tmp_path / "times.json").write_text(json.dumps(figures))
        return SimpleNamespace(returncode=5)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["bench", "board", "--out", str(tmp_path / "times.json")]) == 5
    arguments = ["-m", "pytest", str(ROOT / "tests" / "browser"), "--figures", str(tmp_path / "times.json")]
    assert ran == [(arguments, ROOT)]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [["ipykernel", "7", "ipykernel", "6"], ["pause", "36.1", "41.0"], ["board,", "s", "19.5"]]


def test_outside_a_checkout_it_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_board, "__file__", str(tmp_path / "a" / "b" / "bench_board.py"))
    assert main(["bench", "board", "--out", "times.json"]) == 2
    assert "only a checkout of the repository has" in capsys.readouterr().err
