"""CGDM: Cross-Domain Gradient Discrepancy Minimization (Du et al., CVPR 2021, arXiv 2106.04151).

Letters: x_s, y_s, x_t a batch of labelled source and unlabelled target samples, y_hat [B] the target's pseudo-labels,
f features, z_s and z_t logits of both heads, g_s and g_t gradients of a head's parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor, nn

from uda_core.errors import UserError
from uda_core.losses import (
    classifier_discrepancy,
    flattened_gradient_discrepancy,
    rowwise_gradient_discrepancy,
    weighted_cross_entropy,
)
from uda_core.methods.classification import ClassificationRun, Config, ce, im
from uda_core.methods.mcd import MCDSettings
from uda_core.methods.source_only import source_step
from uda_core.models.features import LastBatch
from uda_core.models.heads import Head, logits_and_gradient_discrepancy
from uda_core.run import Loss, Losses, Method, RunConfig, option
from uda_core.samples import Batch
from uda_core.training import update


@dataclass
class CGDMSettings(MCDSettings):
    """Settings of CGDM: those of MCD, and the weights of the three terms that it adds."""

    infomax: float = option(0.3, "weight of the InfoMax term, in all steps", 0.0, 1.0)
    alpha: float = option(0.03, "weight of the pseudo-labels' cross-entropy, in step A", 0.0, 1.0)
    beta: float = option(0.1, "weight of the gradient discrepancy, in step C", 0.0, 1.0)
    warm_up: int = option(0, "first steps on the source alone", 0, 10_000, "steps")
    refresh: int = option(100, "new pseudo-labels every so many steps", 1, 1_000_000, "steps")


def cgdm_step(run: "CGDMRun", s: CGDMSettings, batch: Batch) -> Losses:
    """A: fit the source and pseudo-labels.  B: the heads move apart.  C: the features win back, and pull one way."""
    if run.steps < s.warm_up:
        return source_step(run, batch)
    x_s, y_s, x_t = batch.x_s, batch.y_s, batch.x_t
    y_hat = run.pseudo_labels_of(batch.i_t, after=s.warm_up, every=s.refresh)  # UNLABELLED while there are none

    z_s, z_t = run.classify(run.embed(x_s, x_t))
    l_ce, l_im, l_wce = ce(z_s, y_s), im(z_t), run.wce(z_t, y_hat)
    update(l_ce + s.infomax * l_im + s.alpha * l_wce, run.features_opt, run.heads_opt)  # A: all learn

    z_s, z_t = run.classify(run.embed(x_s, x_t).detach())
    l_dis = classifier_discrepancy(*z_t)
    update(ce(z_s, y_s) - s.discrepancy * l_dis + s.infomax * im(z_t), run.heads_opt)  # B: minus, the heads move apart

    l_gd: Loss = 0.0
    for _ in range(s.k):
        z_t, l_gd = run.classify_with_gradient_discrepancy(run.embed(x_s, x_t), y_s, y_hat, s.beta)
        l_c = s.discrepancy * classifier_discrepancy(*z_t) + s.infomax * im(z_t) + s.beta * l_gd
        update(l_c, run.features_opt)  # C: plus, the features bring them together

    return {"source_ce": l_ce, "infomax": l_im, "pseudo_ce": l_wce, "discrepancy": l_dis, "gradient_discrepancy": l_gd}


@dataclass(frozen=True)
class CGDMConfig(Config):
    """What is fixed until Reset, and which form of CGDM it is.

    Variants: "code" is the authors' repository with its result-changing bugs mended, "paper" the formulas of the paper:
    one flattened cosine, weights not normalised, and no InfoMax term (its weight defaults to 0).

    Mended in both: the layer behind the backbone trains; an empty cluster keeps its soft centroid; pseudo-labels start
    only after `refresh` steps (or `warm_up`), not from untrained heads; they are made in evaluation mode, from clean
    images. Both also cluster as the code does: one membership from the summed logits, on features of length 1.

    Raises:
        UserError: for a value that is out of range or none of the choices, and for `fast` where it does not apply.
    """

    variant: str = option("code", "the authors' repository, mended, or the paper's formulas", choices=("code", "paper"))
    fast: bool = option(False, "gradient discrepancy in closed form: faster, equal but for rounding")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fast and self.variant == "paper":
            raise UserError(
                "fast covers variant 'code' only, for the paper's single cosine has no closed form here; set fast=false"
            )
        if self.fast and self.batches == "apart":
            raise UserError("fast covers joint batches only, whose domains share their statistics; set fast=false")


class CGDMRun(ClassificationRun[CGDMConfig]):
    """A classification run with the words of CGDM that depend on its variant."""

    CONFIG: ClassVar[type[Config]] = CGDMConfig

    def _build(self) -> None:
        super()._build()
        dropout = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d  # with it, each forward pass is another one
        reuse = self.config.fast and not any(isinstance(m, dropout) and m.p for m in self.extractor.modules())
        self._last_batch = LastBatch(self.extractor) if reuse else None

    def embed(self, *x: Tensor) -> Tensor:
        """Training-mode features [sum of B, D]; with `config.fast`, step C starts from those of step B."""
        return self._last_batch.embed(x, super().embed) if self._last_batch else super().embed(*x)

    def wce(self, z_t: tuple[Tensor, Tensor], y_hat: Tensor) -> Loss:
        """Weighted cross-entropy of both heads on the pseudo-labels, added; 0 while there are none."""
        if self.pseudo_labels is None:
            return 0.0
        normalise = self.config.variant == "code"  # "paper": weights as they are; "code": divided by their sum
        return weighted_cross_entropy(z_t[0], y_hat, normalise) + weighted_cross_entropy(z_t[1], y_hat, normalise)

    def classify_with_gradient_discrepancy(
        self, f: Tensor, y_s: Tensor, y_hat: Tensor, beta: float = 1.0
    ) -> tuple[tuple[Tensor, Tensor], Loss]:
        """Both heads' target logits for joint features f, and L_gd; 0 without pseudo-labels, or where beta is 0."""
        if self.pseudo_labels is None or not beta:
            return self.classify(f)[1], 0.0
        heads = cast(Sequence[Head], self.heads)
        if self.config.fast:
            return logits_and_gradient_discrepancy(heads, f, y_s, y_hat)
        z_s, z_t = self.classify(f)
        l_s, l_t, parameters = ce(z_s, y_s), self.wce(z_t, y_hat), [head.matched_parameters for head in heads]
        assert isinstance(l_t, Tensor)
        if self.config.variant == "paper":
            return z_t, flattened_gradient_discrepancy(l_s, l_t, parameters)
        return z_t, rowwise_gradient_discrepancy(l_s, l_t, parameters, left_out=len(heads[0].norms))


def _of_variant(config: RunConfig) -> dict[str, float]:
    return {"infomax": 0.0} if isinstance(config, CGDMConfig) and config.variant == "paper" else {}


CGDM = Method("cgdm", cgdm_step, CGDMSettings, CGDMRun, defaults=_of_variant)
