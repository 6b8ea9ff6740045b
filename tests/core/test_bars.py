"""What needs no adaptation: source only with clusters, and logistic regression, which every method must beat."""

import copy
import math

import numpy as np
import pytest
import torch
import transcriptions as slow
from torch import tensor

from uda_core import methods
from uda_core.errors import UserError
from uda_core.evaluation import evaluate, predicted
from uda_core.lab import checkpoints, validators
from uda_core.methods import clusters as page
from uda_core.methods.logistic_regression import ABSENT, LogisticRegressionConfig
from uda_core.pseudo_labels import cluster_labels
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task, Truth

SMALL = {"batch_size": 16, "features": 8, "hidden": (6,)}


@pytest.fixture(scope="module")
def three():
    """Three classes of 20 vectors of four numbers; the target's are moved and turned a little."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    middle = 2 * torch.randn(3, 4, generator=generator)
    x_s, x_t = (middle[y] + 1.2 * torch.randn(60, 4, generator=generator) for _ in range(2))
    source, target = Labelled(x_s, y), Unlabelled(x_t + 0.8)
    return Task(Pair("three", ("a", "b", "c"), source, source, target, Unlabelled(x_t[:30] + 1.0)), Truth(y, y[:30]))


def trained(pair, method="clusters", steps=5, **config):
    run = methods.CLASSIFICATION[method](pair, methods.Config(**(SMALL | config)))
    for _ in range(steps):
        run.step()
    return run


def clustered(run):
    """The clusters of the run's target as it is now."""
    f = run.features(run.pair.target_train.x)
    with torch.no_grad():
        heads = copy.deepcopy(run.heads).eval()
        return cluster_labels(f, sum(head(f) for head in heads))


# -- clusters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"infomax": 0.3}])
def test_the_weights_are_source_only_s_bit_for_bit(digits_task, settings):
    runs = [
        methods.CLASSIFICATION[n](digits_task.pair, methods.Config(**SMALL), **settings)
        for n in ("clusters", "source_only")
    ]
    for _ in range(4):
        assert runs[0].step() == runs[1].step()
        predicted(runs[0], digits_task.pair.target_test.x)
    for part in ("extractor", "heads", "features_opt", "heads_opt"):
        ours, theirs = (getattr(run, part).state_dict() for run in runs)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_target_is_labelled_by_its_clusters_exactly_and_the_source_by_the_heads(digits_task):
    pair, run = digits_task.pair, trained(digits_task.pair)
    y_hat = clustered(run).y_hat
    assert torch.equal(predicted(run, pair.target_train.x), y_hat)
    parts = [predicted(run, x) for x in pair.target_train.x.split(7)]
    assert torch.equal(torch.cat(parts), y_hat)
    assert evaluate(run, digits_task, "target_train").score == (y_hat == digits_task.truth.target_train).float().mean()
    source_only = trained(pair, "source_only")
    x = pair.source_val.x
    assert all(torch.equal(a, b) for a, b in zip(run.predict(x, "source"), source_only.predict(x), strict=True))
    assert not torch.equal(y_hat, predicted(source_only, pair.target_train.x))


def test_a_test_split_takes_the_nearest_centroid_of_the_training_target(three):
    run, x = trained(three.pair), three.pair.target_test.x
    c, rows = clustered(run).centroids.double(), run.features(x).double()
    for f, label in zip(rows, predicted(run, x), strict=True):
        one = torch.cat([f, f.new_ones(1)])
        cosines = [one @ k / (math.sqrt(one @ one) * math.sqrt(k @ k)) for k in c]
        assert max(range(3), key=lambda k: cosines[k]) == label
    z1, z2 = run.predict(x)
    assert z1 is z2
    assert z1.tolist()[-1] == pytest.approx([float(v) for v in cosines], abs=1e-6)


def test_clusters_are_never_stale_and_not_made_twice(three, monkeypatch, tmp_path):
    calls = []
    count = lambda *of: calls.append(1) or cluster_labels(*of)  # noqa: E731
    monkeypatch.setattr(page, "cluster_labels", count)
    pair = Pair("three", three.pair.classes, three.pair.source_train, three.pair.source_val,
                Unlabelled(three.pair.target_train.x.clone()), three.pair.target_test)  # fmt: skip
    run, x = trained(pair), pair.target_test.x

    def fresh():
        """Whether what the run predicts is what its clusters give now, and how often they had to be made."""
        calls.clear()
        for part in x.split(5):
            run.predict(part)
        c = clustered(run).centroids
        return torch.equal(run.centroids(), c), len(calls)

    assert fresh() == (True, 1)
    assert fresh() == (True, 0)
    run.step()
    assert fresh() == (True, 1)
    checkpoints.save(run, tmp_path / "a.pt")
    run.step()
    checkpoints.load(tmp_path / "a.pt", run)
    assert fresh() == (True, 1)
    with torch.no_grad():
        run.heads[1].linears[-1].weight.mul_(-3)
    assert fresh() == (True, 1)
    pair.target_train.x.add_(torch.linspace(0, 3, 4))  # as a board moves its target
    assert fresh() == (True, 1)
    with torch.no_grad():
        run.heads[0].norms[0].running_mean.add_(2.0)
    assert fresh() == (True, 1)
    run.reset()
    assert fresh() == (True, 1)
    run = copy.deepcopy(run)
    run.step()
    assert fresh() == (True, 1)


def test_adabn_clusters_anew_with_the_target_s_statistics(digits_task):
    run = trained(digits_task.pair)
    before = run.centroids()
    adapted = methods.adabn(run)
    assert torch.equal(predicted(adapted, digits_task.pair.target_train.x), clustered(adapted).y_hat)
    assert not torch.equal(adapted.centroids(), before)
    assert run.centroids() is before


def test_what_needs_no_label_can_be_measured(three):
    for run in (trained(three.pair), fitted(three.pair), fitted(three.pair, clusters=True)):
        z = run.predict(three.pair.target_train.x)
        assert validators.head_agreement(*z) == 1
        assert 0 < validators.mean_entropy(*z) < math.log(3) + 1e-6
        assert validators.class_gradient_cosines(run).shape == (len(run.heads), 3)


# -- logistic regression -----------------------------------------------------------------------------------------------


def fitted(pair, **config):
    run = methods.LogisticRegression(pair, LogisticRegressionConfig(**config))
    run.record = run.step()
    return run


def objective(run, C):
    """C sum_i CE(W x_i + b, y_i) + |W|^2 / 2 at the run's weights, and its gradients, in float64, by loops."""
    [head], source = run.heads, run.pair.source_train
    weight, bias = (p.detach().double().requires_grad_() for p in (head.weight, head.bias))
    total = sum(w * w for w in weight.flatten()) / 2
    for x, y in zip(source.x.double(), source.y, strict=True):
        total = total - C * slow.softmax(weight @ x + bias)[y].log()
    return total, torch.autograd.grad(total, (weight, bias))


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_the_weights_are_the_minimum_of_the_published_objective(three, C):
    run = fitted(three.pair, C=C)
    most = 2e-4 * C * 60  # scikit-learn stops where no derivative of the objective, divided by C N, exceeds 1e-4
    assert all(g.abs().max() < most for g in objective(run, C)[1])
    assert objective(run, 2 * C)[1][0].abs().max() > 10 * most
    assert run.record.losses["source_ce"] == pytest.approx(cross_entropy(run), rel=1e-5)


def cross_entropy(run):
    x, y = run.pair.source_train.x, run.pair.source_train.y
    rows = run.predict(x, "source")[0].double()
    return -sum(float(slow.softmax(z)[k].log()) for z, k in zip(rows, y, strict=True)) / len(y)


def test_two_classes_at_one_and_minus_one():
    """w (1 + e^w) = 2, and no bias."""
    x, y = tensor([[-1.0], [1.0]]), tensor([0, 1])
    run = fitted(Pair("two", ("a", "b"), Labelled(x, y), Labelled(x, y), Unlabelled(x), Unlabelled(x)))
    (a, w), (c, b) = run.heads[0].weight.flatten().tolist(), run.heads[0].bias.tolist()
    assert (a, c) == (0, 0)
    assert w * (1 + math.exp(w)) == pytest.approx(2, abs=1e-3)
    assert b == pytest.approx(0, abs=1e-3)
    [z] = run.predict(tensor([[3.0]]))
    assert z.tolist() == [pytest.approx([0, 3 * w + b])]


def test_two_moons_have_the_probabilities_of_scikit_learn(moons_task):
    from sklearn.linear_model import LogisticRegression

    source, x = moons_task.pair.source_train, moons_task.pair.target_train.x
    theirs = LogisticRegression().fit(source.x.double().numpy(), source.y.numpy()).predict_proba(x.numpy())
    [z] = fitted(moons_task.pair).predict(x)
    np.testing.assert_allclose(z.softmax(1).numpy(), theirs, atol=1e-5)


def test_a_class_that_the_source_lacks_is_never_predicted(three):
    x, y = three.pair.source_train.x, tensor([0, 2, 3])[three.pair.source_train.y]
    for of in ([0, 2, 3], [2, 3]):  # scikit-learn has a row for each class, of two classes a single one
        some = Labelled(x[torch.isin(y, tensor(of))], y[torch.isin(y, tensor(of))])
        target = three.pair.target_train
        run = fitted(Pair("five", tuple("abcde"), some, some, target, target))
        assert [k for k, b in enumerate(run.heads[0].bias.tolist()) if b == ABSENT] == [
            k for k in range(5) if k not in of
        ]
        assert set(predicted(run, x, "source").tolist()) == set(of)
        assert (predicted(run, some.x, "source") == some.y).float().mean() > 0.8


def test_with_clusters_the_target_is_labelled_by_one_call_on_features_and_log_probabilities(three):
    plain, run, x = fitted(three.pair), fitted(three.pair, clusters=True), three.pair.target_train.x
    [z] = plain.predict(x)
    assert torch.equal(predicted(run, x), cluster_labels(x, z.log_softmax(1)).y_hat)
    assert torch.equal(predicted(plain, x), z.argmax(1))
    assert not torch.equal(predicted(run, x), predicted(plain, x))
    assert torch.equal(run.predict(x, "source")[0], z)
    assert torch.equal(run.features(x), x)


def test_the_seed_changes_nothing_and_a_second_step_neither(three):
    runs = [fitted(three.pair, seed=seed) for seed in (0, 1)]
    runs[1].step()
    for name, value in runs[0].heads.state_dict().items():
        assert torch.equal(value, runs[1].heads.state_dict()[name])


def test_a_fit_is_saved_and_loaded(three, tmp_path):
    run = fitted(three.pair, C=3.0, clusters=True)
    checkpoints.save(run, tmp_path / "a.pt")
    other = methods.LogisticRegression(three.pair)
    checkpoints.load(tmp_path / "a.pt", other)
    assert other.config == run.config
    assert torch.equal(other.predict(three.pair.target_test.x)[0], run.predict(three.pair.target_test.x)[0])
    held = torch.load(tmp_path / "a.pt", weights_only=True)["heads"]
    assert {name: value.shape for name, value in held.items()} == {"0.weight": (3, 4), "0.bias": (3,)}


def test_adabn_has_nothing_to_change(three):
    run = fitted(three.pair)
    assert torch.equal(
        methods.adabn(run).predict(three.pair.target_test.x)[0], run.predict(three.pair.target_test.x)[0]
    )


def test_images_are_refused(digits_task):
    with pytest.raises(UserError, match=r"logistic_regression takes vectors, but .* has images; make features of the"):
        methods.LogisticRegression(digits_task.pair)
