"""CGDM: Cross-Domain Gradient Discrepancy Minimization (Du et al., CVPR 2021, arXiv 2106.04151)."""

from dataclasses import dataclass

from torch import Tensor, nn

from uda_core import closed_form
from uda_core.data.task import Pair
from uda_core.errors import UserError
from uda_core.losses import (
    classifier_discrepancy,
    gradient_discrepancy,
    information_maximisation,
    weighted_cross_entropy,
)
from uda_core.methods.classification import ClassificationRun, Config, ce, sum_over_heads
from uda_core.methods.run import Batch, Settings, setting, update
from uda_core.models.batch_norm import replay_, running_statistics


@dataclass
class CGDMSettings(Settings):
    discrepancy: float = setting(1.0, 0.0, 100.0, "weight of the disagreement of the heads, in steps B and C")
    entropy: float = setting(0.3, 0.0, 1.0, "weight of the information-maximisation term, in all steps")
    alpha: float = setting(0.03, 0.0, 1.0, "weight of the pseudo-labels' cross-entropy, in step A")
    beta: float = setting(0.1, 0.0, 1.0, "weight of the gradient discrepancy, in step C")
    k: int = setting(4, 0, 8, "steps C for each step B", "steps")
    warm_up: int = setting(0, 0, 10_000, "first steps on the source alone", "steps")
    refresh: int = setting(100, 1, 1_000_000, "new pseudo-labels every so many steps", "steps")


def cgdm_step(run: ClassificationRun, s: CGDMSettings, batch: Batch) -> dict:
    """A: fit the source and the pseudo-labels.  B: the heads disagree.  C: the features win back, and pull one way."""
    x_s, y_s, x_t = batch.x_s, batch.y_s, batch.x_t
    if run.steps < s.warm_up:
        z_s = run.classify(run.embed(x_s), domains=1)[0]
        update(ce(z_s, y_s), run.features_opt, run.heads_opt)
        return {"source_ce": ce(z_s, y_s)}
    if run.steps and (run.steps - s.warm_up) % s.refresh == 0:
        run.refresh_pseudo_labels()
    y_hat = None if run.pseudo_labels is None else run.pseudo_labels[batch.i_t]

    z_s, z_t = run.classify(run.embed(x_s, x_t))
    losses = {"source_ce": ce(z_s, y_s), "entropy": im(z_t)}
    loss = losses["source_ce"] + s.entropy * losses["entropy"]
    if y_hat is not None:
        losses["pseudo_ce"] = wce(run, z_t, y_hat)
        loss = loss + s.alpha * losses["pseudo_ce"]
    update(loss, run.features_opt, run.heads_opt)  # A

    before = running_statistics(run.extractor)
    f = run.embed(x_s, x_t)
    z_s, z_t = run.classify(f.detach())
    losses["discrepancy"] = classifier_discrepancy(*z_t)
    loss = ce(z_s, y_s) - s.discrepancy * losses["discrepancy"] + s.entropy * im(z_t)
    update(loss, run.heads_opt)  # B: minus, the heads move apart

    for i in range(s.k):
        reuse = i == 0 and reusable(run)  # B left the features as they were: its f is still true
        if not reuse:
            f = run.embed(x_s, x_t)
        z_t, l_gd = logits_and_gradient_discrepancy(run, f, y_s, y_hat if s.beta else None)
        loss = s.discrepancy * classifier_discrepancy(*z_t) + s.entropy * im(z_t)
        if l_gd is not None:
            losses["gradient_discrepancy"] = l_gd
            loss = loss + s.beta * l_gd
        update(loss, run.features_opt)  # C: plus, the features bring them together
        if reuse:
            replay_(run.extractor, before)
    return losses


def im(z: list[Tensor]) -> Tensor:
    """Information maximisation of both heads, added."""
    return sum_over_heads(information_maximisation, z)


def wce(run: ClassificationRun, z_t: list[Tensor], y_hat: Tensor) -> Tensor:
    """Weighted cross-entropy of both heads, added. "paper": weights as they are; "code": divided by their sum."""
    return sum_over_heads(weighted_cross_entropy, z_t, y_hat, run.config.variant == "code")


def logits_and_gradient_discrepancy(
    run: ClassificationRun, f: Tensor, y_s: Tensor, y_hat: Tensor | None
) -> tuple[list[Tensor], Tensor | None]:
    """Both heads' target logits for joint features f, and L_gd, or None while there are no pseudo-labels."""
    if y_hat is None:
        return run.classify(f)[1], None
    if not run.config.fast:
        z_s, z_t = run.classify(f)
        # "paper": one cosine of the heads' averaged gradients; "code": one per row, biases before a batch norm left out
        return z_t, gradient_discrepancy(
            ce(z_s, y_s),
            wce(run, z_t, y_hat),
            [head.matched_parameters() for head in run.heads],
            rowwise=run.config.variant == "code",
            left_out=run.heads[0].unmatched,
        )
    return closed_form.logits_and_gradient_discrepancy(run.heads, f, y_s, y_hat)


def reusable(run: ClassificationRun) -> bool:
    """Whether step C may start from step B's features: on request, and not where dropout makes each forward another."""
    dropout = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d
    return run.config.fast and not any(isinstance(m, dropout) and m.p for m in run.extractor.modules())


def cgdm(pair: Pair, config: Config | None = None, **settings: float) -> ClassificationRun:
    """Variants (`config.variant`): "code" is the authors' repository with its result-changing bugs mended, "paper" the
    formulas of the paper: one flattened cosine, weights not normalised, and no entropy term (its weight defaults to 0).

    Mended in both: the layer behind the backbone trains; an empty cluster keeps its soft centroid; pseudo-labels start
    only after `refresh` steps (or `warm_up`), not from untrained heads; they are made in evaluation mode, from clean
    images. Both also cluster as the code does: one membership from the summed logits, on features of length 1.
    """
    config = config or Config()
    if config.variant == "paper":
        settings = {"entropy": 0.0} | settings
        if config.fast:
            raise UserError(
                "fast covers variant 'code' only, for the paper's single cosine has no closed form here; set fast=false"
            )
    return ClassificationRun("cgdm", cgdm_step, pair, config, CGDMSettings.of(settings))
