"""SWD: Sliced Wasserstein Discrepancy (Lee et al., CVPR 2019, arXiv 1903.04064)."""

from dataclasses import dataclass

from uda_core.data.task import Pair
from uda_core.losses import sliced_wasserstein_discrepancy
from uda_core.methods.classification import ClassificationRun, Config
from uda_core.methods.mcd import MCDSettings, mcd_step
from uda_core.methods.run import Batch, setting


@dataclass
class SWDSettings(MCDSettings):
    learning_rate: float = setting(4e-3, 0.0, 0.1, "step size of Adam, features and heads alike")
    discrepancy: float = setting(20.0, 0.0, 1000.0, "weight of the sliced Wasserstein discrepancy, in steps B and C")


def swd_step(run: ClassificationRun, s: SWDSettings, batch: Batch) -> dict:
    """MCD's three steps with another ruler: how far apart the two heads' *sets* of outputs lie."""
    return mcd_step(run, s, batch, discrepancy=sliced_wasserstein_discrepancy)


def swd(pair: Pair, config: Config | None = None, **settings: float) -> ClassificationRun:
    """The discrepancy is a mean of squares, much smaller than MCD's: its weight must be larger for the same pull."""
    return ClassificationRun("swd", swd_step, pair, config, SWDSettings.of(settings))
