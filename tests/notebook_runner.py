"""Runs a notebook from top to bottom in a process of its own, without network interfaces where the system allows that.

python tests/notebook_runner.py NOTEBOOK EXECUTED
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)


@functools.cache
def isolation() -> list[str]:
    """The command that starts a process in a network namespace without interfaces; empty where there is none."""
    for command in (["unshare", "-rn"], ["unshare", "-n"]):
        try:
            subprocess.run([*command, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return []


def users_environment() -> dict[str, str]:
    """The environment without the number of threads that the tests themselves may run under: no reader sets it."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def run_notebook(
    notebook: Path, executed: Path, timeout: float, python: str = sys.executable, **variables: str
) -> subprocess.CompletedProcess:
    """Run `notebook` in its own folder, with these environment variables added; the executed copy goes to `executed`.

    Raises:
        subprocess.TimeoutExpired: after `timeout` seconds.
    """
    with tempfile.TemporaryDirectory() as sockets:  # short paths: a socket's may have 107 characters
        return subprocess.run(
            [*isolation(), python, __file__, str(notebook), str(executed)],
            cwd=notebook.parent,
            env=users_environment() | {"JUPYTER_RUNTIME_DIR": sockets} | variables,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


def main(notebook: str, executed: str) -> None:
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    transport = "tcp" if os.name == "nt" else "ipc"  # without interfaces there is no 127.0.0.1 either
    nb = nbformat.read(notebook, as_version=4)
    client = NotebookClient(nb, config=Config(KernelManager={"transport": transport}), kernel_name="python3")
    try:
        client.execute(cwd=str(Path(notebook).parent))
    finally:
        nbformat.write(nb, executed)


if __name__ == "__main__":
    main(*sys.argv[1:])
