"""Lesson 02's exercises: right answers in any spelling, and wrong ones that no mistake on the list equals."""

import numpy as np
import torch
from torch.nn import functional as F

from uda_core import training
from uda_core.losses import coral, domain_cross_entropy
from uda_core.methods.classification import ce
from uda_core.methods.dann import dann_step, reversal
from uda_core.training import update


def centred(f):
    """Covariance by hand."""
    f = f - f.mean(0, keepdim=True)
    return torch.einsum("bi,bj->ij", f, f) / (f.shape[0] - 1)


def without_centring_first(f):
    """E[f f'] - mean mean', with Bessel's correction."""
    b = len(f)
    return (f.T @ f - b * torch.outer(f.mean(0), f.mean(0))) / (b - 1)


class Reversal(torch.autograd.Function):
    """The layer of the paper: f forwards, the gradient times -strength backwards."""

    @staticmethod
    def forward(ctx, f, strength):
        ctx.strength = strength
        return f.view_as(f)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def strength_of(run, s):
    return s.domain * reversal(run.steps / s.ramp)


def step_with_reversal_layer(run, s, batch):
    """One backward pass through a gradient reversal layer, one update of all three."""
    f = run.embed(batch.x_s, batch.x_t)
    l_d = domain_cross_entropy(*run.discriminator(Reversal.apply(f, strength_of(run, s))).chunk(2))
    loss = ce(run.classify(f)[0], batch.y_s) + l_d
    update(loss, run.features_opt, run.heads_opt, run.discriminator_opt)


def step_by_binary_cross_entropy(run, s, batch):
    """The domain loss as torch has it, labels 0 and 1, and the sign turned inside."""
    f = run.embed(batch.x_s, batch.x_t)
    target = torch.cat([torch.zeros(len(batch.x_s)), torch.ones(len(batch.x_t))])[:, None]

    def loss(f):
        return F.binary_cross_entropy_with_logits(run.discriminator(f), target)

    z_s = run.classify(f)[0]
    update(F.cross_entropy(z_s[0], batch.y_s) + F.cross_entropy(z_s[1], batch.y_s) + strength_of(run, s) * -loss(f),
           run.heads_opt, run.features_opt)  # fmt: skip
    update(loss(f.clone().detach()), run.discriminator_opt)


def step_with_backward(run, s, batch):
    """A plain torch script: both losses backwards before anybody moves."""
    f = run.embed(batch.x_s, batch.x_t)
    half = len(batch.x_s)
    for optimizer in (run.features_opt, run.heads_opt, run.discriminator_opt):
        optimizer.zero_grad()
    d = run.discriminator(f)
    l_d = (F.softplus(d[:half]).mean() + F.softplus(-d[half:]).mean()) / 2
    (ce(run.classify(f)[0], batch.y_s) - strength_of(run, s) * l_d).backward()
    run.features_opt.step()
    run.heads_opt.step()
    run.discriminator_opt.zero_grad()
    domain_cross_entropy(*run.discriminator(f.detach()).chunk(2)).backward()
    run.discriminator_opt.step()


def step_with_a_weight(run, s, batch, c):
    """A wrong one that no mistake on the list equals: c times the strength."""
    f = run.embed(batch.x_s, batch.x_t)
    l_d = domain_cross_entropy(*run.discriminator(f).chunk(2))
    update(ce(run.classify(f)[0], batch.y_s) - c * strength_of(run, s) * l_d, run.features_opt, run.heads_opt)
    update(domain_cross_entropy(*run.discriminator(f.detach()).chunk(2)), run.discriminator_opt)


def step_with_a_graph_used_twice(run, s, batch):
    """The second update differentiates what the first has freed."""
    f = run.embed(batch.x_s, batch.x_t)
    l_d = domain_cross_entropy(*run.discriminator(f).chunk(2))
    update(ce(run.classify(f)[0], batch.y_s) - strength_of(run, s) * l_d, run.features_opt, run.heads_opt)
    update(l_d, run.discriminator_opt)


def step_that_clears_nothing(run, s, batch):
    """Right only where no gradient is left from before."""
    f = run.embed(batch.x_s, batch.x_t)
    l_d = domain_cross_entropy(*run.discriminator(f).chunk(2))
    (ce(run.classify(f)[0], batch.y_s) - strength_of(run, s) * l_d).backward(retain_graph=True)
    run.features_opt.step()
    run.heads_opt.step()
    update(domain_cross_entropy(*run.discriminator(f.detach()).chunk(2)), run.discriminator_opt)


def step_of_the_features_in_two(run, s, batch):
    """One step for each loss: the same only for an optimiser without momentum."""
    f = run.embed(batch.x_s, batch.x_t)
    l_d = domain_cross_entropy(*run.discriminator(f).chunk(2))
    climbs = training.gradients(-strength_of(run, s) * l_d, run.features_opt)
    f = run.embed(batch.x_s, batch.x_t)
    update(ce(run.classify(f)[0], batch.y_s), run.features_opt, run.heads_opt)
    for parameter, gradient in climbs.items():
        parameter.grad = gradient
    run.features_opt.step()
    update(domain_cross_entropy(*run.discriminator(f.detach()).chunk(2)), run.discriminator_opt)


RIGHT = {
    "coral": [
        coral,
        lambda f_s, f_t: (centred(f_s) - centred(f_t)).pow(2).sum() / (2 * f_s.shape[1]) ** 2,
        lambda f_s, f_t: (without_centring_first(f_s) - without_centring_first(f_t)).square().mean() / 4,
        lambda f_s, f_t: torch.linalg.matrix_norm(f_s.T.cov() - f_t.T.cov()).square() / (4 * f_s.size(1) ** 2),
        lambda f_s, f_t: F.mse_loss(torch.cov(f_t.T), torch.cov(f_s.T)) / 4,
        lambda f_s, f_t: (
            torch.trace((torch.cov(f_s.T) - torch.cov(f_t.T)) @ (centred(f_s) - centred(f_t)))
            / (4 * f_s.shape[-1] ** 2)
        ),
    ],
    "dann_step": [dann_step, step_with_reversal_layer, step_by_binary_cross_entropy, step_with_backward],
}


def and_sets_the_slider(run, s, batch):
    dann_step(run, s, batch)
    s.domain = 0.0


WRONG = [
    ("dann_step", and_sets_the_slider, "your step changes s"),
    ("coral", lambda f_s, f_t: ..., "returns nothing so far"),
    ("coral", lambda f_s, f_t: (centred(f_s) - centred(f_t)).square(), "expected shape [], got [3, 3]"),
    ("coral", lambda f_s, f_t: coral(f_s, f_t).item(), "detached"),
    ("coral", lambda f_s, f_t: torch.as_tensor(np.cov(f_s.detach().T) - np.cov(f_t.detach().T)), "expected shape []"),
    ("coral", lambda f_s, f_t: (centred(f_s) - centred(f_t)) @ f_s, "stops with RuntimeError"),
    ("dann_step", lambda run, s, batch: step_with_a_weight(run, s, batch, 0.7), "numbers are not"),
    ("dann_step", lambda run, s, batch: step_with_a_weight(run, s, batch, 0.0), "play no game yet"),
    ("dann_step", step_that_clears_nothing, "numbers are not"),
    ("dann_step", step_of_the_features_in_two, "numbers are not"),
    ("dann_step", step_with_a_graph_used_twice, "backward through the graph a second time"),
]
