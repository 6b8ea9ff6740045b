"""How far a reader has to walk: what one step of CGDM enters, in calls, files and functions of this package."""

import json
import subprocess
import sys

import pytest

MOST = {"calls": 200, "files": 8, "functions": 45}
WALK = """
import json, sys
from pathlib import Path
import uda_core
from uda_core import methods
from uda_core.data.moons import moons

root, entered = str(Path(uda_core.__file__).parent), []
run = methods.CGDM(moons(samples=60).pair, methods.CGDMConfig(batch_size=16, fast=sys.argv[1] == "fast"), refresh=2)
for _ in range(3):
    run.step()


def count(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(root):
        entered.append((frame.f_code.co_filename, frame.f_code.co_qualname))


assert run.pseudo_labels is not None
sys.setprofile(count)
run.step()
sys.setprofile(None)
found = {"calls": len(entered), "files": len({file for file, _ in entered}), "functions": len(set(entered))}
print(json.dumps(found))
"""


@pytest.mark.parametrize("form", ["readable", "fast"])
def test_one_step_of_cgdm_is_a_short_walk(form):
    done = subprocess.run([sys.executable, "-c", WALK, form], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert {name: n for name, n in found.items() if n > MOST[name]} == {}, found
    assert min(found.values()) > 5  # it was seen at all
