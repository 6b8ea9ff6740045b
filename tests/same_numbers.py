"""Are the numbers of this checkout those of another?   python tests/same_numbers.py OTHER_CHECKOUT

Trains every method on its tasks for 40 steps in both checkouts, by the command line, and compares all weights of the
final checkpoints bit for bit. Where the two checkouts have different versions of torch, or run on different machines,
they may differ for that reason alone. Prints a table; the exit status is 1 if a weight differs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).parents[1]
RUNS = [(method, task) for task in ("fonts-handwriting", "moons") for method in ("source_only", "mcd", "swd", "cgdm")]
RUNS += [(method, "streets") for method in ("source_only", "output_adversarial", "cag")]
RENAMED = {"student": "segmenter"}  # networks, by their former names
NETWORKS = ("extractor", "heads", "segmenter", "teacher", "discriminator")


def trained(checkout: Path, method: str, task: str, folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of each network after 40 steps: network -> name -> tensor."""
    command = [sys.executable, "-m", "uda_core", "train", method, task, "--steps", "40", "--out", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{checkout}: train {method} {task} failed:\n{done.stdout}{done.stderr}")
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    state = {RENAMED.get(name, name): part for name, part in state.items()}
    return {name: state[name] for name in NETWORKS if name in state}


def compared(ours: dict, theirs: dict) -> tuple[bool, str]:
    """Whether the networks that both have are equal bit for bit, and what to say of them."""
    notes, equal = [], True
    for network in (name for name in NETWORKS if name in ours or name in theirs):
        if network not in ours or network not in theirs:
            notes.append(f"{network} {'here' if network in ours else 'there'} only")
            continue
        names = ours[network].keys() | theirs[network].keys()
        same = [
            name in ours[network]
            and name in theirs[network]
            and torch.equal(ours[network][name], theirs[network][name])
            for name in names
        ]
        equal &= all(same)
        notes.append(f"{network} {sum(same)} of {len(names)} equal")
    return equal, ", ".join(notes)


def main(other: Path) -> int:
    """Train, compare and print; 1 if a weight differs."""
    failed = 0
    print(f"{'method':<20}{'task':<20}{'weights':<10}tensors")
    for method, task in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = (
                trained(checkout, method, task, Path(folder) / name)
                for checkout, name in ((HERE, "here"), (other, "there"))
            )
        equal, notes = compared(ours, theirs)
        failed += not equal
        print(f"{method:<20}{task:<20}{'same' if equal else 'DIFFER':<10}{notes}", flush=True)
    print(f"{len(RUNS) - failed} of {len(RUNS)} runs have the same weights as {other}")
    return int(failed > 0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve()))
