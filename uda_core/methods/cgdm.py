"""CGDM: Cross-Domain Gradient Discrepancy Minimization (Du et al., CVPR 2021, arXiv 2106.04151).

One feature extractor, two classifier heads. L_ce, L_im and L_wce are added up over both heads:

    L_ce   cross-entropy on the source's labels
    L_im   InfoMax: mean entropy of the target's predictions, minus the entropy of their mean
    L_wce  cross-entropy on the target's pseudo-labels; a sample weighs 1 + exp(-entropy of its prediction), and the
           gradient flows through that weight too
    L_dis  mean |softmax(z1) - softmax(z2)| on the target: how much the two heads disagree
    L_gd   mean of 1 - cos(g_s, g_t), where g_s = dL_ce/dw and g_t = dL_wce/dw are gradients of a head's weights w:
           do source and target pull the head the same way? Step C differentiates these gradients once more.

Pseudo-labels come from clustering the target's features. A class's centroid is the mean of all features, each weighted
by the probability that the heads give that class; every sample takes the class of its nearest centroid; once more, with
the mean features of those classes as centroids (`pseudo_labels.cluster_labels`). Until there are any, L_wce and L_gd
are 0, and what remains is MCD with InfoMax, or in a warm-up L_ce alone.

Letters: B samples of each domain in a batch; x_s, y_s labelled source samples, x_t unlabelled target samples, i_t [B]
their places in the training set, y_hat [B] their pseudo-labels; f [2B, D] features, source first; z_s and z_t logits,
a pair of [B, C], one of each head.
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
    """Settings of CGDM: MCD's `discrepancy` (weight of L_dis, in B and C) and `k` (steps C for each step B); weights of
    three more terms; and when pseudo-labels are made.
    """

    infomax: float = option(0.3, "weight of the InfoMax term L_im, in steps A, B and C", 0.0, 1.0)
    alpha: float = option(0.03, "weight of L_wce, the pseudo-labels' cross-entropy, in step A", 0.0, 1.0)
    beta: float = option(0.01, "weight of the gradient discrepancy L_gd, in step C; published: 0.01", 0.0, 1.0)
    warm_up: int = option(0, "first steps on the source alone", 0, 10_000, "steps")
    refresh: int = option(
        100, "new pseudo-labels every so many steps, counted from the warm-up's end", 1, 1_000_000, "steps"
    )


def cgdm_step(run: "CGDMRun", s: CGDMSettings, batch: Batch) -> Losses:
    """A: fit the labels.  B: the heads disagree.  C: the features make them agree, and align their gradients."""
    if run.steps < s.warm_up:
        return source_step(run, batch)  # L_ce alone; features and heads learn
    x_s, y_s, x_t = batch.x_s, batch.y_s, batch.x_t
    y_hat = run.pseudo_labels_of(batch.i_t, after=s.warm_up, every=s.refresh)  # UNLABELLED while there are none

    z_s, z_t = run.classify(run.embed(x_s, x_t))
    l_ce, l_im, l_wce = ce(z_s, y_s), im(z_t), run.wce(z_t, y_hat)
    update(l_ce + s.infomax * l_im + s.alpha * l_wce, run.features_opt, run.heads_opt)  # A: all learn

    z_s, z_t = run.classify(run.embed(x_s, x_t).detach())
    l_dis = classifier_discrepancy(*z_t)
    update(ce(z_s, y_s) - s.discrepancy * l_dis + s.infomax * im(z_t), run.heads_opt)  # B: minus; only the heads learn

    l_gd: Loss = 0.0
    for _ in range(s.k):
        z_t, l_gd = run.classify_with_gradient_discrepancy(run.embed(x_s, x_t), y_s, y_hat, wanted=s.beta > 0)
        l_c = s.discrepancy * classifier_discrepancy(*z_t) + s.infomax * im(z_t) + s.beta * l_gd
        update(l_c, run.features_opt)  # C: plus; only the features learn

    return {"source_ce": l_ce, "infomax": l_im, "pseudo_ce": l_wce, "discrepancy": l_dis, "gradient_discrepancy": l_gd}


@dataclass(frozen=True)
class CGDMConfig(Config):
    """What is fixed until a run's reset, and which form of CGDM it is.

    variant           "code", as in the authors' repository        "paper", by its formulas
    L_gd              a cosine for each row of w, then the mean    one cosine, of the heads' mean gradient, flattened
    weights of L_wce  divided by their sum                         as they are
    infomax           0.3 where it is not given                    0: the paper has no such term

    In both, where the authors' code goes wrong: the linear layer behind the backbone learns (on VisDA and DomainNet no
    optimiser of theirs holds it); a class to which no sample is assigned keeps its first centroid (theirs gives every
    sample that class); the first pseudo-labels come at step `warm_up`, or at step `refresh` without a warm-up, not from
    untrained heads; they come from images that are not augmented, in evaluation mode.

    Raises:
        UserError: for a value that is out of range or none of the choices, and for `fast` where it does not apply.
    """

    variant: str = option("code", "the authors' repository, mended, or the paper's formulas", choices=("code", "paper"))
    fast: bool = option(False, "L_gd in closed form; the first step C reuses B's features; equal but for rounding")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fast and self.variant == "paper":
            raise UserError(
                "fast covers variant 'code' only, for the paper's single cosine has no closed form here; set fast=false"
            )
        if self.fast and self.batches == "apart":
            raise UserError("fast covers joint batches only, whose domains share their statistics; set fast=false")


class CGDMRun(ClassificationRun[CGDMConfig]):
    """A classification run with the operations of CGDM that depend on its variant."""

    CONFIG: ClassVar[type[Config]] = CGDMConfig

    def _build(self) -> None:
        super()._build()
        dropout = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d  # makes every forward pass different
        reuse = self.config.fast and not any(isinstance(m, dropout) and m.p for m in self.extractor.modules())
        self._last_batch = LastBatch(self.extractor) if reuse else None

    def embed(self, *x: Tensor) -> Tensor:
        """Training-mode features [2B, D]; with `config.fast`, the first step C takes those of step B."""
        return self._last_batch.embed(x, super().embed) if self._last_batch else super().embed(*x)

    def wce(self, z_t: tuple[Tensor, Tensor], y_hat: Tensor) -> Loss:
        """Weighted cross-entropy of both heads on the pseudo-labels, added; 0 while there are none."""
        if self.pseudo_labels is None:
            return 0.0
        normalise = self.config.variant == "code"  # "paper": weights as they are; "code": divided by their sum
        return weighted_cross_entropy(z_t[0], y_hat, normalise) + weighted_cross_entropy(z_t[1], y_hat, normalise)

    def classify_with_gradient_discrepancy(
        self, f: Tensor, y_s: Tensor, y_hat: Tensor, wanted: bool = True
    ) -> tuple[tuple[Tensor, Tensor], Loss]:
        """Both heads' target logits for joint features f, and L_gd; 0 without pseudo-labels, or where not `wanted`."""
        if self.pseudo_labels is None or not wanted:
            return self.classify(f)[1], 0.0
        heads = cast(Sequence[Head], self.heads)
        if self.config.fast:
            return logits_and_gradient_discrepancy(heads, f, y_s, y_hat)
        z_s, z_t = self.classify(f)
        l_s, l_t, parameters = ce(z_s, y_s), self.wce(z_t, y_hat), [head.matched_parameters for head in heads]
        assert isinstance(l_t, Tensor)
        if self.config.variant == "paper":
            return z_t, flattened_gradient_discrepancy(l_s, l_t, parameters)
        left_out = len(heads[0].norms)  # biases before a batch norm: without a gradient, but counted in the mean
        return z_t, rowwise_gradient_discrepancy(l_s, l_t / len(y_hat), parameters, left_out)  # B: see its floor


def _of_variant(config: RunConfig) -> dict[str, float]:
    return {"infomax": 0.0} if isinstance(config, CGDMConfig) and config.variant == "paper" else {}


CGDM = Method("cgdm", cgdm_step, CGDMSettings, CGDMRun, defaults=_of_variant)
