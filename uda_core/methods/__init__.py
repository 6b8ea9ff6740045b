"""The methods: `methods.cgdm(task.pair, config)` returns a run."""

from uda_core.methods.cgdm import cgdm
from uda_core.methods.classification import Config, ce
from uda_core.methods.mcd import mcd
from uda_core.methods.run import Batch, Record, Run, Settings, update
from uda_core.methods.source_only import source_only, with_target_statistics
from uda_core.methods.swd import swd

METHODS = {"source_only": source_only, "mcd": mcd, "swd": swd, "cgdm": cgdm}

__all__ = [
    "METHODS", "Batch", "Config", "Record", "Run", "Settings",
    "ce", "cgdm", "mcd", "source_only", "swd", "update", "with_target_statistics",
]  # fmt: skip
