"""The methods: `methods.cgdm(task.pair, config)` returns a run."""

from uda_core.methods.cag import cag
from uda_core.methods.cgdm import cgdm
from uda_core.methods.classification import Config, ce
from uda_core.methods.mcd import mcd
from uda_core.methods.output_adversarial import output_adversarial
from uda_core.methods.run import Batch, Record, Run, RunConfig, Settings, update
from uda_core.methods.segmentation import SegmentationConfig
from uda_core.methods.source_only import source_only, with_target_statistics
from uda_core.methods.swd import swd

CLASSIFY = {"source_only": source_only, "mcd": mcd, "swd": swd, "cgdm": cgdm}
SEGMENT = {"source_only": source_only, "output_adversarial": output_adversarial, "cag": cag}
METHODS = CLASSIFY | SEGMENT

__all__ = [
    "CLASSIFY", "METHODS", "SEGMENT", "Batch", "Config", "Record", "Run", "RunConfig", "SegmentationConfig", "Settings",
    "cag", "ce", "cgdm", "mcd", "output_adversarial", "source_only", "swd", "update", "with_target_statistics",
]  # fmt: skip
