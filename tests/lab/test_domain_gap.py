"""How far apart two domains are: known extremes, values by hand, no draw from the global state, no torch."""

import subprocess
import sys

import numpy as np
import pytest

from uda_core.lab.domain_gap import domain_accuracy, neighbour_mixing


def gaussian(n: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(int(10 * shift) + n).normal(shift, size=(n, 4))


@pytest.mark.parametrize("measure", [domain_accuracy, neighbour_mixing])
def test_one_distribution_looks_like_its_control(measure):
    value, control = measure(gaussian(400), gaussian(300))
    assert value == pytest.approx(0.5, abs=0.08)
    assert control == pytest.approx(0.5, abs=0.08)


def test_a_gap_is_seen_and_its_control_is_not():
    domain, mixing = (m(gaussian(200), gaussian(150, 9.0)) for m in (domain_accuracy, neighbour_mixing))
    assert domain.value == 1
    assert mixing.value == 0
    assert domain.control == pytest.approx(0.5, abs=0.12)
    assert mixing.control == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("k", "share"), [(1, 0), (2, 1 / 2), (3, 2 / 3)])
def test_neighbour_mixing_by_hand(k, share):
    """Two source samples at 0, two target samples at 1 and 1.1: first one's own kind, then the others."""
    assert neighbour_mixing(np.zeros((4, 1)), np.array([[1.0], [1.1]]), k).value == pytest.approx(share)


def test_measuring_draws_nothing_from_the_global_random_state():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - that is what must not move
    domain_accuracy(gaussian(60), gaussian(50))
    neighbour_mixing(gaussian(60), gaussian(50))
    assert (before == np.random.get_state()[1]).all()  # noqa: NPY002


def test_a_process_that_measures_imports_no_torch():
    code = "import sys, uda_core.lab.domain_gap; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
