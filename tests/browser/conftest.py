"""A real JupyterLab with a real browser in front of it: servers, kernels, pages, and where measured times go."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from jupyter_client import BlockingKernelClient
from notebook_runner import CHROMIUM, users_environment

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds until a wait is given up: no figure is judged by it, and a busy machine is slow
TOKEN = "board"  # of servers that only this machine can reach
SETTINGS = {"notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}}


def pytest_addoption(parser):
    parser.addoption("--figures", help="write the measured times to this JSON file")
    parser.addoption("--pictures", help="write screenshots to this folder")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")
            if not CHROMIUM:
                item.add_marker(pytest.mark.skip(reason="no chromium on this machine"))


@pytest.fixture(scope="session")
def figures(request):
    """Measured times in milliseconds (memory in MB) by kernel and name; written to --figures at the end."""
    measured: dict = {}
    yield measured
    path = request.config.getoption("--figures", default=None)
    if path:
        Path(path).write_text(json.dumps(measured, indent=2) + "\n")


@pytest.fixture(scope="session")
def pictures(request):
    """The folder for screenshots, if they were asked for with --pictures."""
    folder = request.config.getoption("--pictures", default=None)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return folder and Path(folder)


@pytest.fixture(scope="session")
def ipykernel_6(tmp_path_factory):
    """A folder with ipykernel 6, the kernel of Colab, to be put before the installed one."""
    target = tmp_path_factory.mktemp("ipykernel6")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        target,
        "ipykernel<7",
        "nest-asyncio",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"ipykernel 6 cannot be installed here: {done.stderr.strip().splitlines()[-1][:120]}")
    return target


@pytest.fixture(scope="session", params=["ipykernel 7", "ipykernel 6"])
def lab(request, tmp_path_factory):
    """A JupyterLab of its own, whose kernels run the named ipykernel and the installed packages."""
    before = [request.getfixturevalue("ipykernel_6")] if request.param == "ipykernel 6" else []
    server = Lab(tmp_path_factory.mktemp("lab"), request.param, before)
    yield server
    server.stop()


class Lab:
    """A server on a free port, its notebooks and settings in `home`."""

    def __init__(self, home: Path, kernel: str, python_path: list[Path]):
        self.home, self.kernel = home, kernel
        settings = home / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        for name, values in SETTINGS.items():
            (settings / f"{name}.jupyterlab-settings").write_text(json.dumps(values))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        env = users_environment() | folders | {
            "IPYTHONDIR": str(home / "ipython"), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "PYTHONPATH": os.pathsep.join(map(str, python_path)),
        }  # fmt: skip
        options = {"port": self.url.split(":")[-1], "ip": "127.0.0.1", "root_dir": home}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command.append(f"--IdentityProvider.token={TOKEN}")
        self.process = subprocess.Popen(
            [*command, *(f"--ServerApp.{name}={value}" for name, value in options.items())],
            env=env, stdout=(home / "log").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_until(self._answers, "JupyterLab does not answer")

    def _answers(self) -> bool:
        try:
            return self.get("/api") is not None
        except OSError:
            return False

    def get(self, path: str, method: str = "GET"):
        request = urllib.request.Request(self.url + path, method=method, headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stop(self) -> None:
        """A server that is asked to end ends its kernels first."""
        self.process.terminate()
        self.process.wait(30)

    def open(self, browser, notebook: list[str] | Path, name: str) -> "Notebook":
        """These cells, or a copy of this file, opened in a new page."""
        if isinstance(notebook, Path):
            content = nbformat.read(notebook, as_version=4)
        else:
            content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in notebook])
        content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(content, self.home / name)
        return Notebook(self, browser, name)


class Notebook:
    """One open notebook: the page, and a second line to its kernel."""

    def __init__(self, lab: Lab, browser, name: str):
        self.lab, self.name = lab, name
        self.page = browser.new_page(viewport={"width": 1280, "height": 1100})
        self.errors: list[str] = []
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{lab.url}/lab/workspaces/{Path(name).stem}/tree/{name}?token={TOKEN}")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        wait_until(self._kernel_id, "no kernel")
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        self._client = None

    def _kernel_id(self) -> str | None:
        sessions = [s for s in self.lab.get("/api/sessions") if s["path"] == self.name]
        return sessions[0]["kernel"]["id"] if sessions else None

    def run_all(self) -> None:
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()

    def theme(self, name: str) -> None:
        self.page.get_by_role("menuitem", name="Settings", exact=True).click()
        self.page.get_by_text("Theme", exact=True).hover()
        self.page.get_by_text(name, exact=True).click()
        self.page.wait_for_selector(f'body[data-jp-theme-name="{name}"]', state="attached")

    def save(self) -> nbformat.NotebookNode:
        """Save in the browser; the file as it is then."""
        file = f"/api/contents/{self.name}"
        with self.page.expect_response(lambda r: r.request.method == "PUT" and file in r.url):
            self.page.keyboard.press("Control+s")
        return nbformat.read(self.lab.home / self.name, as_version=4)

    def close(self) -> None:
        if self._client:
            self._client.stop_channels()
        kernel = self._kernel_id()
        self.page.close()
        if kernel:
            self.lab.get(f"/api/kernels/{kernel}", "DELETE")

    def interrupt(self) -> None:
        self.lab.get(f"/api/kernels/{self._kernel_id()}/interrupt", "POST")

    def python(self, code: str, value: str = "None"):
        """Run `code` in the kernel, silently; what the expression `value` is worth then."""
        if self._client is None:
            file = next((self.lab.home / "runtime").glob(f"kernel-{self._kernel_id()}.json"))
            self._client = BlockingKernelClient(connection_file=str(file))
            self._client.load_connection_file()
            self._client.start_channels()
        wanted = {"value": f"__import__('json').dumps({value})"}
        sent = self._client.execute(code, silent=True, user_expressions=wanted)
        while True:
            reply = self._client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == sent:
                break
        assert reply["content"]["status"] == "ok", reply["content"]
        answer = reply["content"]["user_expressions"]["value"]
        assert answer["status"] == "ok", answer
        return json.loads(eval(answer["data"]["text/plain"], {"__builtins__": {}}))


def wait_until(condition, message: str):
    """The first true value of `condition()`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{message}, after {PATIENCE} s")
