"""Risk on the target from labelled source samples, each weighted by how target-like it is.

Letters: M labelled samples of the source's validation split, N of the target, D features; loss [M], such as 0 for a
right prediction and 1 for a wrong one; p_t [M], how likely each is from the target, to a classifier of domains that has
seen n_s source and n_t target samples. It is right to weight by w = p(x from target) / p(x from source) where both
domains give x the same label; no estimate knows whether they do.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

SUREST = 1 - 1e-6  # of "target", so that no weight is infinite


def target_probability(f_s: np.ndarray, f_t: np.ndarray, folds: int = 5, seed: int = 0) -> Tensor:
    """p_t [M] of the source's features f_s [M, D] beside f_t [N, D]: logistic regression, each fold from the others.

    You et al. train a multilayer perceptron on other source samples, so that it has not seen those that it weights.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    from_target = np.repeat([0, 1], [len(f_s), len(f_t)])
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    both = np.concatenate([f_s, f_t]).astype(np.float64)
    p = cross_val_predict(classifier, both, from_target, cv=split, method="predict_proba")[: len(f_s), 1]
    return torch.from_numpy(p.clip(max=SUREST))


def importance_weights(p_t: Tensor, n_s: int, n_t: int) -> Tensor:
    """w_i = (n_s / n_t) p_t / (1 - p_t), [M]: Bayes' rule turns the odds into the ratio of the densities."""
    return n_s / n_t * p_t / (1 - p_t)


def importance_weighted_risk(loss: Tensor, p_t: Tensor, n_s: int, n_t: int) -> Tensor:
    """R_IW = mean_i w_i l_i (Sugiyama et al. 2007): unbiased, but of a large variance where few samples weigh.

    skada's `ImportanceWeightedScorer` divides by the sum of the weights, and takes them from two kernel densities.
    """
    return (importance_weights(p_t, n_s, n_t) * loss).mean()


def deep_embedded_validation(loss: Tensor, p_t: Tensor, n_s: int, n_t: int) -> Tensor:
    """R_DEV = mean(w l) + eta mean(w) - eta, eta = -Cov(w l, w) / Var(w) (You et al. 2019): a control variate.

    The mean of w should be 1: what it is off by says in which direction the mean of w l is off, and eta how far.
    """
    w = importance_weights(p_t, n_s, n_t)
    cov = torch.stack([w * loss, w]).cov()
    eta = -cov[0, 1] / cov[1, 1].clamp_min(1e-12)  # equal weights: no correction
    return (w * loss).mean() + eta * w.mean() - eta
