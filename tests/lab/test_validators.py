"""Numbers that need no target label: known extremes, values by hand, and that looking changes nothing."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uda_core import methods
from uda_core.lab import validators
from uda_core.losses import weighted_cross_entropy
from uda_core.run import evaluating


@pytest.fixture(scope="module")
def run(digits_task):
    run = methods.CGDM(digits_task.pair, methods.Config(batch_size=16, features=8, hidden=(6,)), refresh=2)
    for _ in range(4):
        run.step()
    return run


def test_head_agreement_counts_equal_classes():
    z1, z2 = torch.tensor([[2.0, 1], [0, 1], [5, 0], [0, 3]]), torch.tensor([[9.0, 1], [1, 0], [1, 0], [0, 1]])
    assert validators.head_agreement(z1, z2) == 0.75
    assert validators.head_agreement(z1) == 1
    assert validators.head_agreement(z1, z2, z1.flip(1)) == 0


def test_mean_entropy_runs_from_zero_to_log_c():
    sure, clueless = torch.tensor([[100.0, 0, 0, 0]]), torch.zeros(1, 4)
    assert validators.mean_entropy(sure, sure) == pytest.approx(0, abs=1e-4)
    assert validators.mean_entropy(clueless) == pytest.approx(math.log(4), abs=1e-4)
    assert validators.mean_entropy(sure, clueless) == pytest.approx(math.log(4) / 2, abs=1e-4)


def test_mean_infomax_runs_from_minus_log_c_to_zero():
    balanced, one_class, clueless = 100 * torch.eye(4), 100 * torch.eye(4)[[0, 0, 0, 0]], torch.zeros(4, 4)
    assert validators.mean_infomax(balanced, balanced) == pytest.approx(-math.log(4), abs=1e-3)
    assert validators.mean_infomax(one_class) == pytest.approx(0, abs=1e-3)  # sure of each, but of one class alone
    assert validators.mean_infomax(clueless) == pytest.approx(0, abs=1e-3)  # balanced, but sure of none
    assert validators.mean_infomax(balanced, clueless) == pytest.approx(-math.log(4) / 2, abs=1e-3)


def test_what_predictions_say_is_of_the_whole_set():
    p = torch.tensor([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2]], dtype=torch.float64)
    q = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]], dtype=torch.float64)
    found = validators.of_predictions(p.log(), q.log())  # log p1 + log p2 is largest at 0, 0, 1 and 0
    h, l_im = [], []
    for probabilities in (p.tolist(), q.tolist()):
        means = [sum(column) / 4 for column in zip(*probabilities, strict=True)]
        h.append(sum(-p_k * math.log(p_k) for row in probabilities for p_k in row) / 4)
        l_im.append(h[-1] + sum(m_k * math.log(m_k) for m_k in means))
    assert found == {
        "head agreement": 0.5,
        "target entropy": pytest.approx(sum(h) / 2, abs=1e-4),  # 1e-5 stands inside the logarithms
        "target InfoMax": pytest.approx(sum(l_im) / 2, abs=1e-4),
        "rarest predicted class": 0.0,
        "commonest predicted class": 0.75,
    }


def test_cosines_equal_a_slow_transcription(run):
    """One loss and one backward pass for each class, domain and head, on copies."""
    cosines = validators.class_gradient_cosines(run, samples=50)
    source, target = run.pair.source_train, run.pair.target_train
    i_s, i_t = validators.fixed_subset(len(source), 50), validators.fixed_subset(len(target), 50)
    assert cosines.shape == (2, 10)
    compared = 0
    for h, head in enumerate(copy.deepcopy(run.heads)):
        with evaluating(head):
            for c in range(10):
                gradients = []
                for x, y, loss in (
                    (source.x[i_s], source.y[i_s], F.cross_entropy),
                    (target.x[i_t], run.pseudo_labels[i_t], weighted_cross_entropy),
                ):
                    if not (y == c).any():
                        break
                    head.zero_grad()
                    loss(head(run.features(x[y == c])), y[y == c]).backward()
                    gradients.append(torch.cat([p.grad.flatten() for p in head.parameters()]))
                if len(gradients) < 2:
                    assert cosines[h, c].isnan()
                else:
                    assert cosines[h, c] == pytest.approx(F.cosine_similarity(*gradients, dim=0).item(), abs=1e-4)
                    compared += 1
    assert compared >= 10


def test_cosines_are_unknown_below_the_floor(run):
    assert validators.class_gradient_cosines(run, samples=50, floor=1e6).isnan().all()


def test_cosines_use_predictions_while_there_are_no_pseudo_labels(digits_task):
    fresh = methods.CGDM(digits_task.pair, methods.Config(batch_size=16, features=8, hidden=(6,)))
    predicted = set(sum(fresh.predict(fresh.pair.target_train.x)).argmax(1).tolist())
    known = set(validators.class_gradient_cosines(fresh, samples=1000)[0].isfinite().nonzero().flatten().tolist())
    assert known == predicted


def test_looking_changes_nothing(run):
    before, state = copy.deepcopy(run.state_dict()), torch.get_rng_state()
    gradients = [p.grad.clone() for p in run.heads.parameters()]
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002 - that is what must not move
    validators.class_gradient_cosines(run)
    after = run.state_dict()
    for part in ("extractor", "heads"):
        assert all(torch.equal(before[part][name], after[part][name]) for name in before[part])
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, run.heads.parameters(), strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert (legacy == np.random.get_state()[1]).all()  # noqa: NPY002
    assert all(head.training for head in run.heads)
