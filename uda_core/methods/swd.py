"""SWD: Sliced Wasserstein Discrepancy (Lee et al., CVPR 2019, arXiv 1903.04064)."""

from dataclasses import dataclass

from uda_core.losses import sliced_wasserstein_discrepancy
from uda_core.methods.classification import ClassificationRun
from uda_core.methods.mcd import MCDSettings, mcd_step
from uda_core.run import Losses, Method, option
from uda_core.samples import Batch


@dataclass
class SWDSettings(MCDSettings):
    """Settings of SWD: its discrepancy is a mean of squares, far below MCD's, so the same pull needs more weight."""

    learning_rate: float = option(4e-3, "step size, of features and heads alike", 0.0, 0.1)
    discrepancy: float = option(20.0, "weight of the sliced Wasserstein discrepancy, in steps B and C", 0.0, 1000.0)


def swd_step(run: ClassificationRun, s: SWDSettings, batch: Batch) -> Losses:
    """MCD's three steps with another ruler: how far apart the two heads' *sets* of outputs lie."""
    return mcd_step(run, s, batch, discrepancy=sliced_wasserstein_discrepancy)


SWD = Method("swd", swd_step, SWDSettings, ClassificationRun)
