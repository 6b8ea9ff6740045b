"""The page of the board: its JavaScript modules, by node's test runner, and as the one script that a page loads."""

import shutil
import subprocess
from pathlib import Path

import pytest

from uda_lessons import canvas

NODE = shutil.which("node")
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not NODE, reason="no node on this machine")
def test_the_modules_by_node_s_test_runner():
    done = subprocess.run([NODE, "--test"], cwd=ROOT / "tests" / "canvas", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "# pass 0" not in done.stdout


@pytest.mark.skipif(not NODE, reason="no node on this machine")
def test_the_modules_become_one_script_that_node_can_read(tmp_path):
    (tmp_path / "page.mjs").write_text(canvas.script(), encoding="utf-8")
    done = subprocess.run([NODE, "--check", tmp_path / "page.mjs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_script_holds_each_module_that_it_needs_once_and_none_imports_any_more():
    made = canvas.script()
    assert "\nimport " not in made
    for name in ("dom", "store", "map", "view"):
        assert made.count(f"const ${name} = (() => {{") == 1
    assert made.index("const $dom") < made.index("const $store") < made.rindex("export default")
