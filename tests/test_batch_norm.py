"""Batch-norm statistics: re-estimated on another domain, and updated again without a second forward."""

import torch
from torch import nn

from uda_core import methods
from uda_core.models.batch_norm import batch_norms, reestimate_, replay_, running_statistics


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


def test_replay_is_a_second_forward():
    twice, once = net(), net()
    twice.eval(), once.eval()
    for model in (twice, once):
        for norm in batch_norms(model):
            norm.train()
            norm.momentum = 0.3
    x = batch()
    twice(x), twice(x)
    before = running_statistics(once)
    once(x)
    replay_(once, before)
    for a, b in zip(once.buffers(), twice.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_run_with_target_statistics_shares_no_state_with_the_original(moons_task):
    run = methods.source_only(moons_task.pair, methods.Config(batch_size=16))
    for _ in range(3):
        run.step()
    before = {name: p.clone() for name, p in run.heads.state_dict().items()}
    adapted = methods.with_target_statistics(run)
    assert all(torch.equal(p, before[name]) for name, p in run.heads.state_dict().items())
    changed = {name for name, p in adapted.heads.state_dict().items() if not torch.equal(p, before[name])}
    assert changed
    assert all("running" in name or "tracked" in name for name in changed)
