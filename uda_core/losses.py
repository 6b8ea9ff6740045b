"""Every loss, one pure function each: first those of the classification methods, then those of segmentation.

Letters used in this module: B samples in a batch, C classes, z [B, C] the logits of one head, z1 and z2 those of both
heads, p = softmax(z), y [B] true labels, y_hat [B] pseudo-labels.  Suffix _s: source, _t: target.
For segmentation: z [B, C, h, w], f [B, D, h, w] features, y [B, H, W] labels or pseudo-labels, `IGNORE` where a pixel
has none, a [C, D] category anchors.
"""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.anchors import Anchors, class_means, min_pixels
from uda_core.maps import resize
from uda_core.samples import IGNORE

LOG_FLOOR = 1e-5  # added inside every logarithm, as in the authors' code (lijin118/CGDM, utils.py)
NORM_FLOOR = 1e-8  # smallest product of two gradient norms that still counts, as in the torch of 2021


def classifier_discrepancy(z1: Tensor, z2: Tensor) -> Tensor:
    """L_dis = 1/(BC) sum |p1 - p2|: how much two heads disagree, from 0 to 2/C (Saito et al. 2018)."""
    return (z1.softmax(1) - z2.softmax(1)).abs().mean()


def sliced_wasserstein_discrepancy(
    z1: Tensor, z2: Tensor, projections: int = 128, generator: torch.Generator | None = None
) -> Tensor:
    """L_swd = 1/(MB) sum_m |sort(p1 r_m) - sort(p2 r_m)|^2 over M random unit directions r_m (Lee et al. 2019).

    It compares the *set* of outputs of head 1 with the *set* of outputs of head 2: samples are not paired.
    The directions are drawn anew at each call, the same for both heads.
    """
    p1, p2 = z1.softmax(1), z2.softmax(1)
    r = torch.randn(z1.shape[1], projections, generator=generator, dtype=z1.dtype, device=z1.device)
    r = r / r.norm(dim=0)  # [C, M], columns of length 1
    return ((p1 @ r).sort(dim=0).values - (p2 @ r).sort(dim=0).values).square().mean()


def coral(f_s: Tensor, f_t: Tensor) -> Tensor:
    """L_coral = 1/(4 D^2) |C_s - C_t|_F^2 of features [B, D]; C divides by B - 1 (Sun & Saenko 2016, eq. 1-3)."""
    return (torch.cov(f_s.T) - torch.cov(f_t.T)).square().sum() / (4 * f_s.shape[1] ** 2)


def domain_cross_entropy(d_s: Tensor, d_t: Tensor) -> Tensor:
    """L_d = 1/2 (mean softplus(d_s) + mean softplus(-d_t)), log 2 where it cannot tell them (Ganin et al. 2016, eq. 9).

    d_s and d_t are the discriminator's logits of "target": the cross-entropy over both domains' samples together.
    """
    return (F.softplus(d_s).mean() + F.softplus(-d_t).mean()) / 2


def entropy(z: Tensor) -> Tensor:
    """H_i = - sum_k p_ik log(p_ik + 1e-5), one number per sample, [B], in nats."""
    p = z.softmax(1)
    return -(p * (p + LOG_FLOOR).log()).sum(1)


def information_maximisation(z: Tensor) -> Tensor:
    """L_im = mean_i H(p_i) + sum_k m_k log m_k, with m = mean_i p_i + 1e-5: sure of each sample, balanced over classes.

    The first part is small when each sample has one clear class, the second when all classes are used equally often, so
    the smallest value, -log C, belongs to confident and balanced predictions (lijin118/CGDM, utils.py, `Entropy`; the
    paper does not mention the term).
    """
    m = z.softmax(1).mean(0) + LOG_FLOOR
    return entropy(z).mean() + (m * m.log()).sum()


def weighted_cross_entropy(z: Tensor, y_hat: Tensor, normalise: bool = True) -> Tensor:
    """L_wce = sum_i w_i CE(z_i, y_hat_i) / sum_i w_i, with w_i = 1 + exp(-H_i): sure samples count up to twice.

    The weights are not detached, so the gradient also flows through H_i; their sum is (both as in the authors' code,
    which then divides by B once more: there, alpha is B times smaller than it looks).  `normalise=False` is the paper's
    form, 1/B sum_i w_i CE_i (Du et al. 2021).
    """
    w = 1 + (-entropy(z)).exp()
    ce = F.cross_entropy(z, y_hat, reduction="none")
    return (w * ce).sum() / w.sum().detach() if normalise else (w * ce).mean()


def cosine(inner: Tensor, square_a: Tensor, square_b: Tensor) -> Tensor:
    """cos(a, b) = <a, b> / max(|a| |b|, 1e-8), from <a, b>, |a|^2 and |b|^2: 0 where a norm vanishes.

    The floor is under the *product* of the norms, as in the torch that the authors used; today's `F.cosine_similarity`
    has it under each norm, which turns the rounding noise of two vanishing gradients into unit vectors.
    """
    return inner / (square_a * square_b).clamp_min(NORM_FLOOR**2).sqrt()


def row_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the rows of two matrices, or the one value of two vectors, of the cosine between them: a number."""
    return cosine((a * b).sum(-1), (a * a).sum(-1), (b * b).sum(-1)).mean()


def rowwise_gradient_discrepancy(
    l_s: Tensor, l_t: Tensor, heads: Sequence[Sequence[Tensor]], left_out: int = 0
) -> Tensor:
    """L_gd = mean of 1 - cos(g_s, g_t) over the rows of each tensor, its tensors, and the heads: from 0 to 2.

    Do source and target pull each output unit of the heads the same way? Row by row, as in the authors' code
    (lijin118/CGDM, utils.py).  g_s and g_t, the gradients of the losses l_s and l_t, keep their graph, so that the
    result can be back-propagated to the features.

    The cosine does not see how large l_t is, but its floor does. In the authors' code l_t is divided by B once more
    (`weighted_cross_entropy`): hand over l_t / B to be damped where theirs is, on a source that is fitted well.

    Args:
        heads: the parameters of each head.
        left_out: tensors per head that are not among them and count as cosine 0: biases before a batch norm, whose
            gradient is zero but for rounding.
    """
    parameters = [p for head in heads for p in head]
    g_s = torch.autograd.grad(l_s, parameters, create_graph=True)
    g_t = torch.autograd.grad(l_t, parameters, create_graph=True)
    l_gd, pairs = l_s.new_zeros(()), zip(g_s, g_t, strict=True)
    for head in heads:
        apart = []
        for a, b in islice(pairs, len(head)):  # for each tensor of this head
            rows = cosine((a * b).sum(-1), (a * a).sum(-1), (b * b).sum(-1))
            apart.append(1 - rows.mean())
        l_gd = l_gd + (sum(apart) + left_out) / (len(apart) + left_out)
    return l_gd / len(heads)


def flattened_gradient_discrepancy(l_s: Tensor, l_t: Tensor, heads: Sequence[Sequence[Tensor]]) -> Tensor:
    """L_gd = 1 - cos(g_s, g_t), with the heads' gradients averaged and flattened: one cosine (Du et al. 2021).

    Arguments as in `rowwise_gradient_discrepancy`.
    """
    parameters = [p for head in heads for p in head]
    g_s, g_t = (torch.autograd.grad(loss, parameters, create_graph=True) for loss in (l_s, l_t))
    a, b = (torch.cat([g.flatten() for g in gradients]).view(len(heads), -1).mean(0) for gradients in (g_s, g_t))
    return 1 - cosine(a @ b, a @ a, b @ b)


# -- segmentation ------------------------------------------------------------------------------------------------------


def pixel_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """Mean of CE(z, y) over the pixels with a label, 0 if there is none; z [B,C,h,w] is resized to y bilinearly."""
    return F.cross_entropy(resize(z, y), y, ignore_index=IGNORE, reduction="sum") / (y != IGNORE).sum().clamp_min(1)


def kept_pairs(y: Tensor, anchors: Anchors) -> Tensor:
    """[B,C] bool: the pairs of image and class with an anchor and at least `min_pixels` pixels."""
    c = torch.arange(len(anchors.a), device=y.device)[:, None]
    n = (y.flatten(1)[:, None] == c).sum(2)
    return (n >= min_pixels(*y.shape[1:])) & anchors.present


def class_mean_distance(f: Tensor, y: Tensor, anchors: Anchors, area_scaled: bool = False) -> Tensor:
    """L = 1/K sum_nc l_nc over the K `kept_pairs` of image n and class c, l_nc = 1/D sum_k huber(v_nck - a_ck).

    v_nc is the mean feature of the pixels of image n with label c; L = 0 if K = 0. It vanishes as soon as the means sit
    on the anchors, however wide the pixels spread.
    """
    v, n = class_means(f, y, len(anchors.a))
    kept = kept_pairs(y, anchors)
    l_nc = F.smooth_l1_loss(v, anchors.a.to(v.dtype).expand_as(v), reduction="none").mean(2)
    if area_scaled:
        l_nc = 10 * 2 * n / y[0].numel() * l_nc
    return (kept * l_nc).sum() / kept.sum().clamp_min(1)


def area_scaled_distance(f: Tensor, y: Tensor, anchors: Anchors) -> Tensor:
    """L = 10/K sum_nc 2 n_nc/(hw) l_nc: `class_mean_distance` as the authors' code back-propagates it.

    There, a hidden factor 2 n_nc/(hw) scales the gradient by the class's area, but not the number that is logged
    (RogerZhangzz/CAG_UDA, models/utils.py), so that each pixel pulls alike, whatever its class.
    """
    return class_mean_distance(f, y, anchors, area_scaled=True)


def pixel_distance(f: Tensor, y: Tensor, anchors: Anchors) -> Tensor:
    """L = mean over labelled pixels j of |f_j - a_(y_j)|, the paper's words; 0 if there is none.

    The only one of the three that also draws the pixels of a class together.
    """
    labelled = (y != IGNORE) & anchors.present[y.clamp_max(len(anchors.a) - 1)]
    difference = f.movedim(1, -1)[labelled] - anchors.a.to(f.dtype)[y[labelled]]
    return difference.norm(dim=1).sum() / labelled.sum().clamp_min(1)


DISTANCE_LOSSES = {"code": area_scaled_distance, "class-mean": class_mean_distance, "pixel": pixel_distance}


def adversarial_loss(verdict: Tensor, domain: str) -> Tensor:
    """Least-squares GAN: mean (D - t)^2 of the discriminator's map D, with t = 0 for "source" and 1 for "target"."""
    return (verdict - float(domain == "target")).square().mean()
