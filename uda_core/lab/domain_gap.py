"""How far apart the features [N, D] of source and target lie. Without torch, so that a small process can measure it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Controlled(NamedTuple):
    """A number that compares two domains, and the same number for two random halves of the source."""

    value: float
    control: float


def domain_accuracy(f_s: np.ndarray, f_t: np.ndarray, folds: int = 3, seed: int = 0) -> Controlled:
    """How well logistic regression, cross-validated, separates the domains: 0.5 is chance, 1 is a visible gap.

    Both sets get equal sizes: half the source, or fewer where the target is smaller. Needs 2 * `folds` source samples.
    """

    return _beside_control(partial(_accuracy, folds=folds, seed=seed), f_s, f_t, seed)


def separation(f_s: np.ndarray, f_t: np.ndarray, folds: int = 3, seed: int = 0) -> float:
    """The same accuracy without a control, from as many samples of each as the smaller set has, at least `folds`."""
    rng = np.random.default_rng(seed)
    n = min(len(f_s), len(f_t))
    f = np.concatenate([rng.permutation(of_domain)[:n] for of_domain in (f_s, f_t)])
    return _accuracy(f, np.repeat([0, 1], n), folds, seed)


def neighbour_mixing(f_s: np.ndarray, f_t: np.ndarray, k: int = 15, seed: int = 0) -> Controlled:
    """Share of a sample's k nearest neighbours that come from the other domain, averaged: about 0.5 is well mixed."""

    def mixing(f: np.ndarray, domain: np.ndarray) -> float:
        neighbours = NearestNeighbors(n_neighbors=min(k, len(f) - 1), algorithm="brute").fit(f).kneighbors()[1]
        return float((domain[neighbours] != domain[:, None]).mean())

    return _beside_control(mixing, f_s, f_t, seed)


def _accuracy(f: np.ndarray, domain: np.ndarray, folds: int, seed: int) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(classifier, f, domain, cv=split).mean())


def _beside_control(number: Callable, f_s: np.ndarray, f_t: np.ndarray, seed: int) -> Controlled:
    """The number for half the source and as much target, beside that for the two halves of the source."""
    rng = np.random.default_rng(seed)
    source, target = rng.permutation(f_s), rng.permutation(f_t)
    n = min(len(source) // 2, len(target))
    domain = np.repeat([0, 1], n)
    return Controlled(*(number(np.concatenate([source[:n], other]), domain) for other in (target[:n], source[-n:])))
