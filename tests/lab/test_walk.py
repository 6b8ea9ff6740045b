"""From the command line to the first step of a training run: few files are walked through."""

import subprocess
import sys

MOST = 16
WALK = """
import os, sys
import uda_core
from uda_core.lab.main import main

ROOT, entered = os.path.dirname(uda_core.__file__), set()


def imports(frame):
    "Whether a module is being imported at this moment: what runs then is not part of the walk."
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def note(frame, event, _):
    file = frame.f_code.co_filename
    if event == "call" and file.startswith(ROOT) and not imports(frame):
        entered.add(os.path.relpath(file, ROOT))
        if frame.f_code.co_qualname == "Run.step":
            sys.setprofile(None)
            print("\\n".join(sorted(entered)))
            sys.stdout.flush()
            os._exit(0)


sys.setprofile(note)
main(["train", "cgdm", "fonts-handwriting", "--out", sys.argv[1]])
"""


def test_the_way_to_the_first_step_leads_through_few_files(tmp_path):
    done = subprocess.run([sys.executable, "-c", WALK, tmp_path / "run"], capture_output=True, text=True, check=True)
    entered = done.stdout.splitlines()
    print(len(entered), "files:", *entered)
    assert "methods/cgdm.py" in entered
    assert "training.py" in entered
    assert len(entered) <= MOST, entered
