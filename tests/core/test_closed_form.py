"""The closed-form gradient discrepancy against `autograd`, in float64."""

import pytest
import torch
import transcriptions as slow
from torch.nn import functional as F

from uda_core import losses
from uda_core.models.heads import (
    Head,
    cross_entropy_delta,
    logits_and_gradient_discrepancy,
    weighted_cross_entropy_delta,
)

F64 = torch.float64
SHAPES = [  # B, D, hidden, C
    (4, 3, (), 3),
    (4, 3, (5,), 3),
    (6, 5, (7, 4), 2),
    (4, 3, (4, 4), 12),
]


def make(b, d, hidden, c, dropout=0.0, dtype=F64, seed=0):
    """Two heads, joint features that carry a gradient, source labels, pseudo-labels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        heads = [Head(d, c, hidden, dropout) for _ in range(2)]
        for head in heads:
            for norm in head.norms:  # away from 1 and 0, where errors hide
                torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
                torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
        f = torch.randn(2 * b, d)
        y_s, y_hat = torch.randint(c, (2, b))
    return [head.to(dtype) for head in heads], f.to(dtype).requires_grad_(), y_s, y_hat


def readable(heads, f, y_s, y_hat):
    """Target logits and L_gd by `losses.rowwise_gradient_discrepancy`."""
    z = [head(f).chunk(2) for head in heads]
    loss_s = sum(F.cross_entropy(z_s, y_s) for z_s, _ in z)
    loss_t = sum(losses.weighted_cross_entropy(z_t, y_hat) for _, z_t in z) / len(y_hat)
    parameters = [head.matched_parameters for head in heads]
    return [z_t for _, z_t in z], losses.rowwise_gradient_discrepancy(
        loss_s, loss_t, parameters, left_out=len(heads[0].norms)
    )


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_the_readable_form(shape, dropout):
    """Value, and gradient with respect to the features, with the same dropout masks."""
    heads, f, y_s, y_hat = make(*shape, dropout)
    results = []
    for form in (logits_and_gradient_discrepancy, readable):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            z_t, l_gd = form(heads, f, y_s, y_hat)
        results.append((torch.stack(z_t), l_gd, torch.autograd.grad(l_gd, f)[0]))
    for ours, theirs in zip(*results, strict=True):
        assert relative(ours, theirs) < 1e-10


@pytest.mark.parametrize("fitted", [False, True])
def test_on_a_fitted_source_it_equals_the_authors_form(fitted):
    """Theirs divides the target's loss by B once more, which lowers its gradient against the floor of the cosine."""
    b, c = 8, 4
    (head, _), f, _, y_hat = make(b, c, (), c)
    y_s = torch.arange(b) % c
    if fitted:
        with torch.no_grad():
            head.linears[0].weight.copy_(torch.eye(c))
            head.linears[0].bias.zero_()
            f.copy_(12 * F.one_hot(torch.cat([y_s, y_hat]), c))
    z_s, z_t = head(f).chunk(2)
    l_s, l_t = F.cross_entropy(z_s, y_s), losses.weighted_cross_entropy(z_t, y_hat)
    forms = [logits_and_gradient_discrepancy([head, head], f, y_s, y_hat)[1]]
    for loss in (l_t / b, l_t):
        forms.append(slow.gradient_discrepancy_by_rows([l_s], [loss], [head.matched_parameters], left_out=0))
    ours, theirs, undivided = (torch.autograd.grad(l_gd, f, retain_graph=True)[0] for l_gd in forms)
    assert forms[0].item() == pytest.approx(forms[1].item(), rel=1e-12)
    assert relative(ours, theirs) < 1e-10
    assert (relative(ours, undivided) > 0.5) == fitted


def test_it_equals_the_readable_form_in_float32_as_far_as_rounding_goes():
    heads, f, y_s, y_hat = make(16, 20, (30, 30), 5, dtype=torch.float32)
    (_, ours), (_, theirs) = (form(heads, f, y_s, y_hat) for form in (logits_and_gradient_discrepancy, readable))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert relative(torch.autograd.grad(ours, f)[0], torch.autograd.grad(theirs, f)[0]) < 1e-3


def test_the_closed_form_needs_no_autograd_grad(monkeypatch):
    heads, f, y_s, y_hat = make(4, 3, (5,), 3)
    monkeypatch.setattr(torch.autograd, "grad", None)
    _, l_gd = logits_and_gradient_discrepancy(heads, f, y_s, y_hat)
    l_gd.backward()
    assert f.grad.abs().max() > 0


# -- deltas ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
@pytest.mark.parametrize(("b", "c"), [(1, 2), (5, 3), (8, 12)])
def test_deltas_are_the_gradients_of_the_losses(b, c, scale):
    """And their own gradients those of the gradients: L_gd is back-propagated through them."""
    generator = torch.Generator().manual_seed(0)
    z = (scale * torch.randn(b, c, generator=generator, dtype=F64)).requires_grad_()
    direction = torch.randn(b, c, generator=generator, dtype=F64)
    y = torch.randint(c, (b,), generator=generator)
    for delta, loss in (
        (cross_entropy_delta, F.cross_entropy),
        (weighted_cross_entropy_delta, losses.weighted_cross_entropy),
    ):
        (gradient,) = torch.autograd.grad(loss(z, y), z, create_graph=True)
        assert relative(delta(z, y), gradient) < 1e-10
        ours, theirs = (torch.autograd.grad((direction * d).sum(), z)[0] for d in (delta(z, y), gradient))
        assert (ours - theirs).abs().max() < 1e-10 * theirs.abs().max() + 1e-15


# -- the head, written out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("hidden", [(), (5,), (7, 4)])
def test_the_head_written_out_is_the_head(hidden, dropout):
    """Logits, running statistics and random state."""
    outcomes = []
    for name in ("forward", "forward_with_activations"):
        (head, _), f, _, _ = make(6, 3, hidden, 4, dropout)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            for _ in range(3):
                z = getattr(head, name)(f)
            random_state = torch.get_rng_state()
        outcomes.append((z[0] if isinstance(z, tuple) else z, list(head.buffers()), random_state))
    (z, buffers, state), (z_out, buffers_out, state_out) = outcomes
    torch.testing.assert_close(z_out, z, rtol=1e-12, atol=1e-12)
    for a, b in zip(buffers_out, buffers, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert torch.equal(state, state_out)


def test_the_biases_before_a_batch_norm_are_left_out_and_counted():
    head = Head(3, 4, (5, 6), dropout=0.0)
    assert len(head.norms) == 2
    assert len(head.matched_parameters) == 8
    assert len(list(head.parameters())) == 10
    left_out = [p for p in head.parameters() if all(p is not kept for kept in head.matched_parameters)]
    assert [p is linear.bias for p, linear in zip(left_out, head.linears, strict=False)] == [True, True]


def test_the_gradient_of_what_is_left_out_is_zero():
    (head, _), f, y_s, _ = make(6, 3, (5, 6), 4)
    gradients = torch.autograd.grad(F.cross_entropy(head(f)[:6], y_s), [linear.bias for linear in head.linears])
    assert [g.abs().max().item() < 1e-15 for g in gradients] == [True, True, False]
