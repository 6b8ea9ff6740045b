"""Batch-norm statistics: re-estimated, kept apart per domain, and updated again without a second forward."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from uda_core import methods
from uda_core.errors import UserError
from uda_core.models import per_domain_, use_domain
from uda_core.models.batch_norm import (
    batch_norms,
    reestimate_,
)
from uda_core.models.features import LastBatch


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(4)).double()


def batch(samples=20):
    return 3 + 2 * torch.randn(samples, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_reestimated_statistics_are_those_of_the_data():
    model, x = net(), batch()
    weights = [p.clone() for p in model.parameters()]
    out = reestimate_(model, x)
    first, second = batch_norms(model)
    h = model[0](x)
    torch.testing.assert_close(first.running_mean, h.mean(0))
    torch.testing.assert_close(first.running_var, h.var(0))
    hidden = ((h - h.mean(0)) / (h.var(0, correction=0) + first.eps).sqrt()).relu()  # dropout off
    torch.testing.assert_close(second.running_mean, hidden.mean(0))
    assert not out.requires_grad
    assert not any(module.training for module in model.modules())
    assert [norm.momentum for norm in batch_norms(model)] == [0.1, 0.1]
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_a_batch_that_is_recalled_moves_the_statistics_as_a_second_forward_does():
    twice, once = net(), net()
    for model in (twice, once):
        model[3].p = 0.0
        for norm in batch_norms(model):
            norm.momentum = 0.3
    x = batch()
    twice(x), twice(x)
    last = LastBatch(once)
    assert last.embed((x,), once) is last.embed((x,), once)
    for a, b in zip(once.buffers(), twice.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_run_with_adabn_shares_no_state_with_the_original(moons_task):
    run = methods.SourceOnly(moons_task.pair, methods.Config(batch_size=16))
    for _ in range(3):
        run.step()
    before = {name: p.clone() for name, p in run.heads.state_dict().items()}
    adapted = methods.adabn(run)
    assert all(torch.equal(p, before[name]) for name, p in run.heads.state_dict().items())
    changed = {name for name, p in adapted.heads.state_dict().items() if not torch.equal(p, before[name])}
    assert changed
    assert all("running" in name or "tracked" in name for name in changed)


# -- batch by batch ----------------------------------------------------------------------------------------------------


def test_statistics_over_batches_are_their_average():
    model, batches = net(), batch(24).split(8)
    for norm in batch_norms(model):
        norm.num_batches_tracked.fill_(7)
    out = reestimate_(model, iter(batches))
    first, second = batch_norms(model)
    h = torch.stack([model[0](x) for x in batches])
    torch.testing.assert_close(first.running_mean, h.mean((0, 1)))
    torch.testing.assert_close(first.running_var, h.var(1).mean(0))
    normalised = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + first.eps).sqrt()
    hidden = normalised.relu()
    torch.testing.assert_close(second.running_mean, hidden.mean((0, 1)))
    assert out.shape == (8, 4)
    assert [(norm.momentum, int(norm.num_batches_tracked)) for norm in (first, second)] == [(0.1, 7)] * 2
    assert not any(module.training for module in model.modules())


# -- per domain --------------------------------------------------------------------------------------------------------


def conv_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))


def images(mean: float, samples: int = 4):
    return mean + torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def test_each_domain_has_the_statistics_of_a_network_that_saw_only_it():
    one, only = per_domain_(conv_net()), {"source": conv_net(), "target": conv_net()}
    data = {"source": images(0.0), "target": images(5.0)}
    for domain in ("source", "target", "target", "source", "target"):  # in training
        torch.testing.assert_close(use_domain(one, domain)(data[domain]), only[domain](data[domain]), rtol=0, atol=0)
    one.eval()
    for domain, reference in only.items():  # and as used
        assert torch.equal(use_domain(one, domain)(data[domain]), reference.eval()(data[domain]))
    assert not torch.equal(use_domain(one, "source")(data["source"]), use_domain(one, "target")(data["source"]))


def test_both_domains_train_the_same_weights():
    model = per_domain_(conv_net())
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in conv_net().parameters())
    copied = copy.deepcopy(model)
    for net_ in (model, copied):
        assert net_[1]["source"].weight is net_[1]["target"].weight
    use_domain(model, "target")(images(1.0)).square().sum().backward()
    assert model[1]["source"].bias.grad.abs().sum() > 0
    with torch.no_grad():
        model[1]["source"].weight.fill_(3.0)
    copied.load_state_dict(model.state_dict())
    assert copied[1]["target"].weight.tolist() == [3.0] * 4


def test_splitting_is_in_place_once_and_leaves_torchvision_nets_as_they_were():
    model = resnet18(num_classes=2).eval()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, norms = model(x), len(list(batch_norms(model)))
    assert per_domain_(model) is model
    keys = list(model.state_dict())
    assert list(per_domain_(model).state_dict()) == keys
    for domain in ("source", "target"):
        assert torch.equal(use_domain(model, domain)(x), before)
        assert len(list(batch_norms(model))) == norms == 20


@pytest.mark.parametrize("reestimate", [reestimate_, lambda model, x: reestimate_(model, x.split(2))])
def test_only_the_domain_in_use_is_reestimated(reestimate):
    model = per_domain_(conv_net())
    source = {name: value.clone() for name, value in model.state_dict().items()}
    reestimate(use_domain(model, "target"), images(5.0))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, source[name])}
    assert changed == {f"{i}.target.running_{s}" for i in (1, 4) for s in ("mean", "var")}


def test_ordinary_batch_norm_does_not_care_and_an_unknown_domain_is_refused():
    model, x = conv_net().eval(), images(1.0)
    assert torch.equal(use_domain(model, "target")(x), use_domain(model, "source")(x))
    with pytest.raises(UserError, match="unknown domain 'targets'; known: source, target"):
        use_domain(model, "targets")
