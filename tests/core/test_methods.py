"""What each step of each method minimises, with which sign, and who moves."""

import copy
import itertools
from importlib import import_module
from types import ModuleType

import pytest
import torch
import transcriptions as slow
from torch import nn

from uda_core import losses, methods
from uda_core.errors import UserError
from uda_core.methods import CGDMConfig, dann
from uda_core.models import heads
from uda_core.models.features import FEATURE_EXTRACTORS, LastBatch
from uda_core.pseudo_labels import cluster_labels
from uda_core.run import Run
from uda_core.samples import Batch, Labelled, Unlabelled
from uda_core.task import Pair
from uda_core.training import gradients, update

MODULES = {name: import_module(f"uda_core.methods.{name}") for name in methods.CLASSIFICATION}
MODULES["swd"] = MODULES["mcd"]  # SWD takes MCD's step
BOTH, HEADS, FEATURES = {"extractor", "heads"}, {"heads"}, {"extractor"}
SMALL = {"batch_size": 16, "features": 8, "hidden": (6,)}


@pytest.mark.parametrize(
    "name",
    [
        "source_only",
        "coral",
        "dann",
        "mcd",
        "swd",
        "cgdm",
        "output_adversarial",
        "cag",
        "classification",
        "segmentation",
    ],
)
def test_the_modules_of_the_methods_are_modules(name):
    found = import_module(f"uda_core.methods.{name}")
    assert isinstance(found, ModuleType)
    assert getattr(methods, name) is found  # `from uda_core.methods import cgdm` too


def make(method, pair, settings=None, **config):
    method = methods.CLASSIFICATION[method]
    return method(pair, method.run.CONFIG(**(SMALL | config)), **(settings or {}))


def parts(run):
    """All that learns, copied: {"extractor": [...], "heads": [...]}."""
    return {part: [p.detach().clone() for p in getattr(run, part).parameters()] for part in ("extractor", "heads")}


def watch(monkeypatch, run):
    """A list that fills with (loss, what moved) at each `update`."""
    module, seen = MODULES[run.method], []
    update = module.update

    def spy(loss, *optimizers):
        before = parts(run)
        update(loss, *optimizers)
        after = parts(run)
        moved = {
            part
            for part in before
            if any(not torch.equal(a, b) for a, b in zip(before[part], after[part], strict=True))
        }
        seen.append((loss.item(), moved))

    monkeypatch.setattr(module, "update", spy)
    if run.method == "cgdm":  # its warm-up is a step of source only
        monkeypatch.setattr(MODULES["source_only"], "update", spy)
    return seen


def keep_batches(run):
    """A list that fills with the batches that the run trains on."""
    batches, step = [], run._step
    run._step = lambda run, settings, batch: (batches.append(batch), step(run, settings, batch))[1]
    return batches


def same_networks(a, b):
    states = [{**run.extractor.state_dict(), **run.heads.state_dict()} for run in (a, b)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# -- who moves ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 4])
@pytest.mark.parametrize("method", ["mcd", "swd", "cgdm"])
def test_a_moves_everything_b_the_heads_c_the_features(monkeypatch, moons_task, method, k):
    run = make(method, moons_task.pair, {"k": k})
    moves = watch(monkeypatch, run)
    run.step()
    assert [moved for _, moved in moves] == [BOTH, HEADS] + k * [FEATURES]


@pytest.mark.parametrize("fast", [False, True])
def test_cgdm_s_steps_move_the_same_with_pseudo_labels(monkeypatch, moons_task, fast):
    run = make("cgdm", moons_task.pair, {"k": 2}, fast=fast)
    run.refresh_pseudo_labels()
    moves = watch(monkeypatch, run)
    losses = run.step().losses
    assert {"pseudo_ce", "gradient_discrepancy"} <= losses.keys()
    assert [moved for _, moved in moves] == [BOTH, HEADS, FEATURES, FEATURES]


def test_source_only_moves_everything_once(monkeypatch, moons_task):
    run = make("source_only", moons_task.pair)
    moves = watch(monkeypatch, run)
    run.step()
    assert [moved for _, moved in moves] == [BOTH]


@pytest.mark.parametrize("method", ["mcd", "swd", "cgdm"])
def test_every_tensor_of_the_extractor_moves_the_last_layer_too(digits_task, method):
    """In the authors' VisDA and DomainNet scripts the optimiser lacks the layer behind the backbone."""
    run = make(method, digits_task.pair)
    before = parts(run)
    run.step()
    assert all(not torch.equal(a, b) for a, b in zip(before["extractor"], parts(run)["extractor"], strict=True))
    last = [module for module in run.extractor.modules() if isinstance(module, nn.Linear)][-1]
    assert any(p is last.weight for group in run.features_opt.param_groups for p in group["params"])


# -- what is minimised -------------------------------------------------------------------------------------------------
# With learning rate 0 and no dropout nothing moves, so that every step sees the same logits, and the loss handed to
# `update` is linear in each weight: its slope is the term and its sign.


def still(method, pair, settings, **config):
    """A run that does not move, pseudo-labels in place."""
    run = make(method, pair, {"learning_rate": 0.0, "k": 1} | settings, dropout=0.0, **config)
    if method == "cgdm":
        run.refresh_pseudo_labels()
    return run


def losses_of_steps(monkeypatch, run):
    """Losses handed to `update` in A, B and C, and the record."""
    with monkeypatch.context() as patch:
        seen = watch(patch, run)
        record = run.step()
    return torch.tensor([loss for loss, _ in seen], dtype=torch.float64), record.losses


CGDM_OFF = {"discrepancy": 0.0, "infomax": 0.0, "alpha": 0.0, "beta": 0.0}


@pytest.mark.parametrize(
    ("weight", "term", "signs"),
    [
        ("discrepancy", "discrepancy", (0, -1, 1)),
        ("infomax", "infomax", (1, 1, 1)),
        ("alpha", "pseudo_ce", (1, 0, 0)),
        ("beta", "gradient_discrepancy", (0, 0, 1)),
    ],
)
@pytest.mark.parametrize("config", [{}, {"fast": True}, {"variant": "paper"}])
def test_each_term_of_cgdm_enters_its_steps_with_its_sign(monkeypatch, moons_task, weight, term, signs, config):
    without, record = losses_of_steps(monkeypatch, still("cgdm", moons_task.pair, CGDM_OFF, **config))
    with_it, record_with = losses_of_steps(
        monkeypatch, still("cgdm", moons_task.pair, CGDM_OFF | {weight: 1.0}, **config)
    )
    assert without.tolist() == pytest.approx([record["source_ce"], record["source_ce"], 0])
    assert record_with[term] != 0
    slope = (with_it - without).tolist()
    assert slope == pytest.approx([sign * record_with[term] for sign in signs], abs=1e-5)


@pytest.mark.parametrize("method", ["mcd", "swd"])
def test_the_discrepancy_rises_in_b_and_falls_in_c(monkeypatch, moons_task, method):
    off, record = losses_of_steps(monkeypatch, still(method, moons_task.pair, {"discrepancy": 0.0}))
    on, _ = losses_of_steps(monkeypatch, still(method, moons_task.pair, {"discrepancy": 1.0}))
    assert off.tolist() == pytest.approx([record["source_ce"], record["source_ce"], 0])
    assert (on - off)[:2].tolist() == pytest.approx([0, -record["discrepancy"]], abs=1e-6)
    assert (on - off)[2] > 0
    if method == "mcd":  # SWD draws new directions for C
        assert (on - off)[2].item() == pytest.approx(record["discrepancy"], abs=1e-6)


def test_source_only_adds_the_infomax_term(monkeypatch, moons_task):
    (loss,), record = losses_of_steps(
        monkeypatch, make("source_only", moons_task.pair, {"infomax": 0.5, "learning_rate": 0.0})
    )
    assert loss.item() == pytest.approx(record["source_ce"] + 0.5 * record["infomax"], rel=1e-5)


@pytest.mark.parametrize("batches", ["joint", "apart"])
@pytest.mark.parametrize("variant", ["code", "paper"])
def test_cgdm_s_losses_are_the_published_ones(moons_task, variant, batches):
    """The record against slow transcriptions, fed with the run's networks, its batch and its pseudo-labels."""
    run = still("cgdm", moons_task.pair, {}, variant=variant, hidden=(6, 5), batches=batches)
    seen = keep_batches(run)
    extractor, heads = copy.deepcopy(run.extractor).double(), copy.deepcopy(run.heads).double()
    record = run.step().losses

    (batch,) = seen
    x_s, x_t = batch.x_s.double(), batch.x_t.double()
    if batches == "joint":
        z = [head(extractor(torch.cat([x_s, x_t]))).chunk(2) for head in heads]
    else:
        z = [(head(extractor(x_s)), head(extractor(x_t))) for head in heads]
    z_s, z_t = zip(*z, strict=True)
    y_hat = run.pseudo_labels[batch.i_t]
    cross_entropies = [nn.functional.cross_entropy(logits, batch.y_s) for logits in z_s]
    pseudo = [slow.weighted_cross_entropy(logits, y_hat, normalise=variant == "code") for logits in z_t]
    tensors = [[p for i, p in enumerate(head.parameters()) if i not in (1, 3)] for head in heads]  # biases before BN
    if variant == "code":
        divided = [loss / len(y_hat) for loss in pseudo]  # as the authors', where it meets the cosine's floor
        l_gd = slow.gradient_discrepancy_by_rows(cross_entropies, divided, tensors, left_out=2)
    else:
        l_gd = slow.gradient_discrepancy_of_mean(cross_entropies, pseudo, tensors)
    expected = {
        "source_ce": sum(cross_entropies),
        "infomax": sum(slow.information_maximisation(logits) for logits in z_t),
        "pseudo_ce": sum(pseudo),
        "discrepancy": slow.classifier_discrepancy(*z_t),
        "gradient_discrepancy": l_gd,
    }
    assert record == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-4)


def test_batches_apart_have_no_common_statistics(digits_task):
    """What one domain's logits are depends on the other's images in a joint batch, and only there."""
    x_s, x_t = digits_task.pair.source_train.x[:16], digits_task.pair.target_train.x[:16]
    for batches, depends in (("joint", True), ("apart", False)):
        run = make("mcd", digits_task.pair, batches=batches, dropout=0.0)
        with torch.no_grad():
            one, other = (run.classify(run.embed(x_s, x))[0][0] for x in (x_t, 1 - x_t))
        assert torch.equal(one, other) != depends


@pytest.mark.parametrize("method", ["mcd", "swd"])
@pytest.mark.parametrize("batches", ["joint", "apart"])
def test_batches_apart_pass_the_source_in_a_both_in_b_and_the_target_in_c(monkeypatch, digits_task, method, batches):
    """What moves the batch-norm statistics, step by step: each forward of the features, and of a head."""
    run = make(method, digits_task.pair, {"k": 2}, batches=batches)
    seen, passed, update = keep_batches(run), [[]], MODULES[method].update
    monkeypatch.setattr(MODULES[method], "update", lambda *a: (update(*a), passed.append([])))
    run.extractor.register_forward_pre_hook(lambda _, x: passed[-1].append(x[0]))
    run.heads[0].register_forward_pre_hook(lambda _, f: passed[-1].append(len(f[0])))
    run.step()

    def domains(x):
        return "".join(name for name in "st" if any(torch.equal(p, getattr(seen[0], f"x_{name}")) for p in x.split(16)))

    steps = [[x if isinstance(x, int) else domains(x) for x in step] for step in passed[:-1]]
    if batches == "joint":
        assert steps == [["st", 32]] * 4
    else:
        assert steps == [["s", 16], ["s", "t", 16, 16], ["t", 16], ["t", 16]]
    norms = [m for part in (run.extractor, run.heads) for m in part.modules() if hasattr(m, "num_batches_tracked")]
    assert {int(norm.num_batches_tracked) for norm in norms} == {4 if batches == "joint" else 5}


def test_mcd_with_batches_apart_is_the_authors_order_of_forwards(digits_task):
    """Three steps against a transcription of theirs, all weights and running statistics, in float64."""
    run = make("mcd", digits_task.pair, batches="apart", dropout=0.5, weight_decay=5e-4)
    for part in (run.extractor, run.heads):
        part.double()
    drawn = [run._next_batch() for _ in range(3)]
    batches = [Batch(b.x_s.double(), b.y_s, b.x_t.double(), b.i_t) for b in drawn]
    run._next_batch = lambda: batches[run.steps]
    run.embed = lambda *x: torch.cat([run.extractor(part) for part in x])  # without the cast to float32
    g, c1, c2 = (copy.deepcopy(net) for net in (run.extractor, *run.heads))
    with torch.random.fork_rng():
        torch.set_rng_state(run._random_state[0])
        slow.mcd_with_batches_apart(batches, g, c1, c2, learning_rate=run.settings.learning_rate, k=run.settings.k)
    for _ in range(3):
        run.step()
    for ours, theirs in ((run.extractor, g), (run.heads[0], c1), (run.heads[1], c2)):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-12)


def test_the_closed_form_refuses_batches_apart():
    with pytest.raises(UserError, match=r"fast covers joint batches only.*; set fast=false"):
        CGDMConfig(fast=True, batches="apart")


def test_swd_s_discrepancy_is_the_published_one(monkeypatch, moons_task):
    directions = torch.randn(2, 128, generator=torch.Generator().manual_seed(0))
    run = still("swd", moons_task.pair, {})
    batches = keep_batches(run)
    extractor, heads = copy.deepcopy(run.extractor), copy.deepcopy(run.heads)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: directions)
    record = run.step().losses
    z1, z2 = (head(extractor(torch.cat([batches[0].x_s, batches[0].x_t])))[16:].double() for head in heads)
    expected = slow.sliced_wasserstein_discrepancy(z1, z2, directions).item()
    assert record["discrepancy"] == pytest.approx(expected, rel=1e-4)


def test_the_paper_s_variant_has_no_infomax_term_unless_given(moons_task):
    assert make("cgdm", moons_task.pair, variant="paper").settings.infomax == 0
    assert make("cgdm", moons_task.pair, {"infomax": 0.2}, variant="paper").settings.infomax == 0.2
    assert make("cgdm", moons_task.pair).settings.infomax > 0


@pytest.mark.parametrize("fast", [False, True])
def test_cgdm_without_its_terms_is_mcd(digits_task, fast):
    """Bit for bit, dropout included; but for rounding in the running statistics that `fast` replays."""
    off = {"infomax": 0.0, "alpha": 0.0, "beta": 0.0, "refresh": 2}
    ours, theirs = make("cgdm", digits_task.pair, off, fast=fast), make("mcd", digits_task.pair)
    for _ in range(5):
        ours.step(), theirs.step()
    assert ours.pseudo_labels is not None
    assert fast or same_networks(ours, theirs)
    for part in ("extractor", "heads"):
        ours_part, theirs_part = getattr(ours, part), getattr(theirs, part)
        assert all(torch.equal(a, b) for a, b in zip(ours_part.parameters(), theirs_part.parameters(), strict=True))
        torch.testing.assert_close(dict(ours_part.named_buffers()), dict(theirs_part.named_buffers()))


# -- pseudo-labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True])
def test_pseudo_labels_are_looked_up_by_index_in_shuffled_batches(monkeypatch, moons_task, fast):
    pair = moons_task.pair
    run = make("cgdm", pair, {"refresh": 10_000, "k": 1}, fast=fast)
    run.pseudo_labels = marker = (torch.arange(len(pair.target_train)) % 7 < 3).long()
    batches, received = keep_batches(run), []

    def spy_on(module, name):
        loss = getattr(module, name)
        monkeypatch.setattr(module, name, lambda z, y_hat, *rest: (received.append(y_hat), loss(z, y_hat, *rest))[1])

    spy_on(MODULES["cgdm"], "weighted_cross_entropy")
    spy_on(heads, "weighted_cross_entropy_delta")
    for _ in range(4):
        received.clear()
        run.step()
        batch = batches[-1]
        assert torch.equal(batch.x_t, pair.target_train.x[batch.i_t])
        assert batch.i_t.tolist() != sorted(batch.i_t.tolist())
        assert len(received) == (3 if fast else 4)  # two heads, in A and in C; the closed form takes both at once
        assert all(torch.equal(y_hat, marker[batch.i_t]) for y_hat in received)


def test_pseudo_labels_come_from_clean_images_in_evaluation_mode(digits_task):
    pair = digits_task.pair
    run = make("cgdm", pair)
    run.step()
    extractor, heads = copy.deepcopy(run.extractor).eval(), copy.deepcopy(run.heads).eval()
    with torch.no_grad():
        f = extractor(pair.target_train.x)
        expected = cluster_labels(f, heads[0](f) + heads[1](f))
    run.refresh_pseudo_labels()
    assert torch.equal(run.pseudo_labels, expected.y_hat)
    assert run.counts["empty_clusters"] == expected.empty.sum()
    assert all(module.training for part in (run.extractor, run.heads) for module in part.modules())


def test_no_pseudo_labels_from_untrained_heads(moons_task):
    """The authors' ImageCLEF script clusters before its first step."""
    run = make("cgdm", moons_task.pair, {"refresh": 3, "k": 1})
    records = [run.step().losses for _ in range(5)]
    assert ["pseudo_ce" in losses for losses in records] == [False, False, False, True, True]
    assert ["gradient_discrepancy" in losses for losses in records] == [False, False, False, True, True]


def test_warm_up_trains_on_the_source_alone_and_ends_with_pseudo_labels(monkeypatch, moons_task):
    run = make("cgdm", moons_task.pair, {"warm_up": 2, "refresh": 3, "k": 1})
    moves, refreshed = watch(monkeypatch, run), []
    refresh = run.refresh_pseudo_labels
    run.refresh_pseudo_labels = lambda: (refreshed.append(run.steps), refresh())
    records = [run.step().losses for _ in range(9)]
    assert [set(losses) for losses in records[:2]] == [{"source_ce"}] * 2
    assert all("pseudo_ce" in losses for losses in records[2:])
    assert [moved for _, moved in moves[:5]] == [BOTH, BOTH, BOTH, HEADS, FEATURES]
    assert refreshed == [2, 5, 8]


def test_warm_up_is_source_only_s_step(moons_task):
    warm, source = make("cgdm", moons_task.pair, {"warm_up": 5}), make("source_only", moons_task.pair)
    for _ in range(5):
        warm.step(), source.step()
    assert same_networks(warm, source)


# -- the fast path -----------------------------------------------------------------------------------------------------


def in_float64(run):
    """The same run in double precision, its pseudo-labels fixed."""
    run.refresh_pseudo_labels()
    run.extractor.double(), run.heads.double()
    embed = run.extractor
    run.embed = lambda *x: embed(torch.cat(x).double())
    return run


def test_fast_equals_readable_in_float64(digits_task):
    """Weights, Adam's moments and running statistics after three steps: the closed form, and B's forward reused."""
    fast, readable = (
        in_float64(make("cgdm", digits_task.pair, {"refresh": 10_000}, dropout=0.0, fast=fast))
        for fast in (True, False)
    )
    for _ in range(3):
        assert fast.step().losses == pytest.approx(readable.step().losses, rel=1e-8)
    for part in ("extractor", "heads"):
        ours, theirs = (getattr(run, part).state_dict() for run in (fast, readable))
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-7, atol=1e-9)


def test_fast_is_close_to_readable_in_float32(digits_task):
    settings = {"refresh": 2, "k": 1}  # one step C with L_gd: what follows makes rounding larger, by processor
    fast, readable = (make("cgdm", digits_task.pair, settings, dropout=0.0, fast=fast) for fast in (True, False))
    for _ in range(3):
        assert fast.step().losses == pytest.approx(readable.step().losses, rel=1e-2, abs=1e-3)
    x = digits_task.pair.target_test.x
    torch.testing.assert_close(fast.predict(x), readable.predict(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("p", "forwards"), [(0.5, 1 + 1 + 2), (0.0, 1 + 1 + 1)])
def test_dropout_in_the_extractor_turns_the_reuse_off(monkeypatch, moons_task, p, forwards):
    mlp = FEATURE_EXTRACTORS["small"]
    with_dropout = lambda *args: (nn.Sequential(mlp(*args)[0], nn.Dropout(p)), 8)  # noqa: E731
    monkeypatch.setitem(FEATURE_EXTRACTORS, "small", with_dropout)
    run = make("cgdm", moons_task.pair, {"k": 2}, fast=True)
    calls = []
    run.extractor.register_forward_hook(lambda *_: calls.append(1))
    run.step()
    assert len(calls) == forwards


def test_features_are_reused_only_while_batch_and_weights_are_the_same():
    net, forwards = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), []
    net.register_forward_hook(lambda *_: forwards.append(1))
    last, optimizer = LastBatch(net), torch.optim.Adam(net.parameters(), fused=True)
    x, other = torch.randn(2, 5, 3)
    assert last.embed((x,), net) is last.embed((x,), net)
    assert len(forwards) == 1
    assert last.embed((x.clone(),), net) is not last.embed((x,), net)
    assert last.embed((other,), net) is not last.embed((x,), net)
    update(last.embed((x,), net).square().sum(), optimizer)
    seen = len(forwards)
    last.embed((x,), net)
    assert len(forwards) == seen + 1


def test_the_paper_s_variant_has_no_fast_form(moons_task):
    with pytest.raises(UserError, match="variant 'code' only"):
        make("cgdm", moons_task.pair, variant="paper", fast=True)


# -- every method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", methods.CLASSIFICATION)
def test_a_method_returns_a_run_of_its_name(moons_task, method):
    run = make(method, moons_task.pair)
    assert isinstance(run, Run)
    assert run.method == method
    assert run.step().losses["source_ce"] > 0


# -- update ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_gradient_in_other_strides_moves_the_same_weights(optimizer):
    """A fused optimiser alone would take the numbers in the order in which they lie in memory."""
    moved = []
    for layout in (torch.contiguous_format, torch.channels_last):
        p = nn.Parameter(torch.zeros(4, 3, 2, 2))
        factors = torch.arange(48.0).view(4, 3, 2, 2).contiguous(memory_format=layout)
        (gradient,) = torch.autograd.grad((p * factors).sum(), p)
        assert gradient.is_contiguous(memory_format=layout)
        update((p * factors).sum(), optimizer([p], lr=1.0, fused=True))
        moved.append(p.detach())
    assert torch.equal(*moved)


def test_a_loss_beside_another_adds_its_gradients_and_no_others():
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    both, one = torch.optim.SGD([p, q], lr=1.0), torch.optim.SGD([p], lr=1.0)
    update(2 * p.sum(), one, plus=gradients(3 * p.sum(), one))
    assert p.tolist() == [-4, -4]
    with pytest.raises(ValueError, match="parameters that these optimisers do not have"):
        update(p.sum(), one, plus=gradients((p + q).sum(), both))
    assert (p.tolist(), q.tolist()) == ([-4, -4], [1, 1])


# -- copies and configurations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 2])
def test_a_fast_run_can_be_copied_and_both_go_on_alike(moons_task, k):
    run = make("cgdm", moons_task.pair, {"k": k, "refresh": 2}, fast=True)
    for _ in range(3):
        run.step()
    twin = copy.deepcopy(run)
    assert [run.step() for _ in range(3)] == [twin.step() for _ in range(3)]
    assert same_networks(run, twin)


def test_a_configuration_of_another_method_is_refused(moons_task):
    with pytest.raises(UserError, match="mcd needs a Config here, got a CGDMConfig"):
        methods.MCD(moons_task.pair, CGDMConfig(variant="paper"))
    assert methods.CGDM(moons_task.pair, methods.Config(batch_size=16)).config == CGDMConfig(batch_size=16)


# -- CORAL and DANN ----------------------------------------------------------------------------------------------------


def step_beside(transcription, run, *values):
    """One step of a run in float64 and by a transcription: what all its networks became, ours and theirs."""
    networks = [getattr(run, name).double() for name in run.NETWORK_NAMES]
    run.embed = lambda *x: run.extractor(torch.cat(x))  # without the cast to float32
    b = run._next_batch()
    batch = Batch(b.x_s.double(), b.y_s, b.x_t.double(), b.i_t)
    run._next_batch = lambda: batch
    twins = copy.deepcopy(networks)
    transcription(batch, *twins, run.settings.learning_rate, *values)
    run.step()
    return [[network.state_dict() for network in side] for side in (networks, twins)]


def test_coral_s_step_is_the_published_one(digits_task):
    run = make("coral", digits_task.pair, {"coral": 3.0, "learning_rate": 0.05}, optimizer="sgd", dropout=0.0)
    ours, theirs = step_beside(slow.coral_step, run, 3.0)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("steps", "p"), [(0, 0.0), (2, 0.1), (20, 1.0)])
def test_dann_s_step_is_one_pass_through_a_gradient_reversal_layer(digits_task, steps, p):
    settings = {"domain": 3.0, "ramp": 20, "learning_rate": 0.05}
    run = make("dann", digits_task.pair, settings, optimizer="sgd", dropout=0.0)
    run.steps = steps
    ours, theirs = step_beside(slow.dann_step, run, 3.0, p)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("network", "shape", "width", "hidden"),
    [
        ("small", (2,), 8, [100]),
        ("mcd_digits", (1, 28, 28), 768, [100]),
        ("mcd_colour_digits", (3, 32, 32), 3072, [1024, 1024]),
        ("linear", (2,), 8, [1024, 1024]),
    ],
)
def test_the_discriminator_is_the_paper_s(network, shape, width, hidden):
    """One hidden layer of 100 on small networks, as for MNIST there; two of 1024 on all others."""
    x, y = torch.zeros(16, *shape), torch.arange(16) % 2
    pair = Pair("zeros", ("a", "b"), Labelled(x, y), Labelled(x, y), Unlabelled(x), Unlabelled(x))
    run = make("dann", pair, network=network)
    layers = [width, *hidden, 1]
    shapes = [tuple(p.shape) for p in run.discriminator.parameters()]
    assert shapes == [shape for n, m in itertools.pairwise(layers) for shape in ((m, n), (m,))]
    kinds = ["Linear", "ReLU"] * len(hidden) + ["Linear"]
    assert [type(layer).__name__ for layer in run.discriminator] == kinds


@pytest.mark.parametrize(("method", "moves"), [("coral", [BOTH]), ("dann", [BOTH, set()])])
def test_one_update_moves_features_and_heads(monkeypatch, moons_task, method, moves):
    run = make(method, moons_task.pair)
    seen = watch(monkeypatch, run)
    run.step()
    assert [moved for _, moved in seen] == moves  # DANN's second moves its discriminator alone


def test_lambda_by_hand():
    assert dann.reversal(0) == 0
    assert dann.reversal(0.5) == pytest.approx(0.9866142981514305)  # tanh(5 p) at p = 1/2
    assert dann.reversal(1) == dann.reversal(2) == pytest.approx(0.9999092042625951)


def test_features_ascend_the_domain_loss_and_the_discriminator_descends_it(monkeypatch, moons_task):
    run = make(
        "dann", moons_task.pair, {"domain": 100.0, "ramp": 1, "learning_rate": 1e-3}, optimizer="sgd", dropout=0.0
    )
    run.steps = 1  # p = 1
    batches, inside = keep_batches(run), []
    update = dann.update
    domain = lambda: losses.domain_cross_entropy(  # noqa: E731
        *run.discriminator(run.embed(batches[0].x_s, batches[0].x_t)).chunk(2)
    ).item()

    def spy(loss, *optimizers):
        before = domain()
        update(loss, *optimizers)
        inside.append(domain() - before)

    monkeypatch.setattr(dann, "update", spy)
    run.step()
    assert inside[0] > 0 > inside[1]


def test_dann_without_its_term_is_coral_without_its_own(digits_task):
    a = make(
        "dann", digits_task.pair, {"domain": 0.0}, dropout=0.0
    )  # its discriminator draws numbers before dropout does
    b = make("coral", digits_task.pair, {"coral": 0.0}, dropout=0.0)
    for _ in range(3):
        a.step(), b.step()
    assert same_networks(a, b)
