"""The methods. Called with a pair of domains, each makes a run: `methods.CGDM(task.pair, beta=0.1)`.

`uda_core.methods.cgdm` is the module with the step of CGDM on one screen, and so on for the others.
"""

from uda_core.methods.adaptive_batch_norm import adabn
from uda_core.methods.cag import CAG, CAGConfig
from uda_core.methods.cgdm import CGDM, CGDMConfig
from uda_core.methods.classification import Config
from uda_core.methods.clusters import Clusters
from uda_core.methods.coral import CORAL
from uda_core.methods.dann import DANN
from uda_core.methods.logistic_regression import LogisticRegression
from uda_core.methods.mcd import MCD
from uda_core.methods.output_adversarial import OutputAdversarial
from uda_core.methods.segmentation import SegmentationConfig
from uda_core.methods.source_only import SourceOnly, SourceOnlyPixels
from uda_core.methods.swd import SWD

CLASSIFICATION = {method.name: method for method in (SourceOnly, Clusters, CORAL, DANN, MCD, SWD, CGDM)}
OF_VECTORS = {method.name: method for method in (LogisticRegression,)}  # these classify as well, but no images
SEGMENTATION = {method.name: method for method in (SourceOnlyPixels, OutputAdversarial, CAG)}

__all__ = [
    "CAG", "CGDM", "CLASSIFICATION", "CORAL", "DANN", "MCD", "OF_VECTORS", "SEGMENTATION", "SWD", "CAGConfig",
    "CGDMConfig", "Clusters", "Config", "LogisticRegression", "OutputAdversarial", "SegmentationConfig", "SourceOnly",
    "adabn",
]  # fmt: skip
