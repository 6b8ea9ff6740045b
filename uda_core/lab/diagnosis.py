"""Which kind of shift lies between two domains, by numbers that need no target label; and how class shares moved.

Letters: N samples, C classes; x samples, y labels, z [N, C] logits. Suffix _s: source, _t: target.
"""

import math
from collections.abc import Mapping

import torch
from scipy.stats import chi2_contingency
from torch import Tensor

from uda_core.errors import UserError
from uda_core.evaluation import predicted
from uda_core.lab.domain_gap import separation
from uda_core.lab.validators import mean_entropy
from uda_core.methods import adabn
from uda_core.methods.classification import ClassificationRun
from uda_core.samples import Samples

FEWEST = 12  # samples of a domain from which a domain classifier learns anything
MARGIN, RARE = 0.08, 0.01  # accuracy above the control, and p-value, that count as a difference
SINGULAR = 1e-6  # smallest singular value of C, of at most 1, at which it can still be solved


def bbse(confusion: Tensor, read_as: Tensor) -> Tensor:
    """w_j = p_t(y = j) / p_s(y = j), [C]: how much more frequent each class is in the target (Lipton et al. 2018).

        w = max(0, M^-1 m),   M_ij = p_s(y_hat = i, y = j),   m_i = p_t(y_hat = i)

    Black-box shift estimation, arXiv 1802.03916. It holds where only the classes' shares differ: where p(x|y) has
    changed as well, it returns numbers all the same.

    Args:
        confusion: [C, C] counts on held-out source samples; rows: true class, columns: predicted class.
        read_as: [C] how many target samples are predicted as each class.

    Raises:
        UserError: for other shapes, counts that are negative, not finite or all 0, and a matrix that cannot be solved:
            a class without a held-out sample, one that is never predicted, or two that are confused beyond recognition.
    """
    counts, read_as = confusion.double(), read_as.double()
    if counts.ndim != 2 or not counts.shape == (len(counts), len(counts)) or read_as.shape != (len(counts),):
        raise UserError(f"bbse takes counts [C, C] and [C], got {list(confusion.shape)} and {list(read_as.shape)}")
    for name, values in (("confusion", counts), ("read_as", read_as)):
        if not (values.isfinite().all() and (values >= 0).all() and values.any()):
            raise UserError(f"{name}: counts must be finite, 0 or more, and not all 0")
    joint = counts.T / counts.sum()
    if torch.linalg.svdvals(joint)[-1] < SINGULAR:
        mend = "hold out more of the source, train longer, or merge the classes that it confuses"
        raise UserError(f"confusion: cannot be solved, for the source's classes are not told apart; {mend}")
    return torch.linalg.solve(joint, read_as / read_as.sum()).clamp_min(0)


def symptoms(run: ClassificationRun, x_s: Samples, x_t: Samples) -> dict[str, float]:
    """What a shift looks like without a target label, to a run that the source has trained.

    "told apart" is the accuracy with which logistic regression guesses the domain from the features: 0.5 where it
    cannot, 1 for a visible gap; "matched" the same from as many samples of each predicted class in both domains, NaN
    where fewer than `FEWEST` are left. "counts" is the p-value of a chi-squared test that both domains are predicted in
    the same shares (black-box shift detection, in the same paper as `bbse`), "rarest" the smallest share of the
    target, "entropy" its mean entropy in nats, "AdaBN" the same with batch-norm statistics of the target.

    Args:
        run: trained on the source alone.
        x_s: source samples that did not train, at least `FEWEST`.
        x_t: target samples, at least `FEWEST`.
    Raises:
        UserError: if there are fewer.
    """
    if min(len(x_s), len(x_t)) < FEWEST:
        raise UserError(f"symptoms takes {FEWEST} samples of each domain or more, got {len(x_s)} and {len(x_t)}")
    f_s, f_t = run.features(x_s, "source").cpu(), run.features(x_t).cpu()
    y_s, y_t = predicted(run, x_s, "source"), predicted(run, x_t)
    counts = torch.stack([y.bincount(minlength=len(run.pair.classes)) for y in (y_s, y_t)])
    places = [torch.cat([(y == c).nonzero().flatten()[:n] for c, n in enumerate(counts.amin(0))]) for y in (y_s, y_t)]
    i_s, i_t = places
    return {
        "told apart": separation(f_s.numpy(), f_t.numpy()),
        "matched": separation(f_s[i_s].numpy(), f_t[i_t].numpy()) if len(i_s) >= FEWEST else math.nan,
        "counts": float(chi2_contingency(counts[:, counts.sum(0) > 0]).pvalue),
        "rarest": counts[1].min().item() / len(y_t),
        "entropy": mean_entropy(*run.predict(x_t)),
        "AdaBN": mean_entropy(*adabn(run, x_t).predict(x_t)),
    }


def verdict(found: Mapping[str, float], control: Mapping[str, float]) -> str:
    """What the `symptoms` of a target speak for; `control` are those of other source samples in its place.

    "class counts" where matching them leaves the domains alike; "statistics" where AdaBN takes four fifths of the
    entropy away that the control does not have; "the images" for the rest. "nothing to see" is also what a change of
    the classes' meaning looks like.

    >>> found = {"told apart": 0.9, "matched": 0.9, "counts": 0.0, "entropy": 1.0, "AdaBN": 0.11}
    >>> verdict(found, {"told apart": 0.5, "entropy": 0.1})
    'statistics'
    """
    usual = max(control["told apart"], 0.5) + MARGIN
    if found["told apart"] <= usual and found["counts"] > RARE:
        return "nothing to see"
    if found["matched"] <= usual:
        return "class counts"
    risen, left = (found[name] - control["entropy"] for name in ("entropy", "AdaBN"))
    return "statistics" if risen > 0 and 5 * left <= risen else "the images"
