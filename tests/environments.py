"""New environments to install the package into, and a copy of its source to build from."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = "uda_core", "data_download", "notebooks/uda_lessons"
FILES = "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "notebooks/LICENSE"


def copy_source(to: Path) -> Path:
    """Copy what the package is built from into the folder `to`, without anything that an earlier build left behind."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, to / name)
    return to


def build_wheel(folder: Path) -> Path:
    """The wheel, built in `folder` from a copy of the source."""
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=copy_source(folder / "source"), capture_output=True, check=True)
    [path] = folder.glob("*.whl")
    return path


def fresh_python(folder: Path) -> Path:
    """Python of a new environment that sees torch and all else that is installed here, but not this package."""
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Python 3.11 brings a setuptools too old to build with; the one of this environment takes its place
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True)
    [own] = folder.rglob("site-packages")
    elsewhere = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "elsewhere.pth").write_text("\n".join(elsewhere))  # a path in a .pth file brings no .pth files of its own
    return python


def where(python: Path, module: str, cwd: Path) -> Path | None:
    """The file that this Python would import as `module`, started in the folder `cwd`; None if there is none."""
    code = f"from importlib.util import find_spec as f; s = f({module!r}); print(s.origin if s else '')"
    done = subprocess.run([python, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) if done.stdout.strip() else None
