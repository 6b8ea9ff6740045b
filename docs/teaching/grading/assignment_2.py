"""Assignment 2, adapting without the source: model solutions, mistakes and hidden cases. Not for students.

Letters: B or N target samples, C classes, D features; x [B, ...], z [B, C] logits, p = softmax(z), f [N, D].
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda_lessons.exercises.exercise import Exercise, Mistake
from uda_lessons.exercises.outcomes import prepared, stepped


def tent_prepare(net: nn.Module) -> None:
    """Every batch norm uses its batch's statistics, and its weight and bias learn; nothing else does."""
    net.eval()
    net.requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.train()
            module.requires_grad_(True)


def tent_step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> Tensor:
    """One step down the mean entropy of a batch; returns the logits [B, C] from before it."""
    z = net(x)
    loss = -(z.softmax(1) * z.log_softmax(1)).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return z.detach()


def shot_labels(f: Tensor, z: Tensor, least: int) -> Tensor:
    """SHOT's labels [N]: nearest of the soft centroids, then of the hard ones, among classes that are in use."""
    p, f = z.softmax(1), F.normalize(f, dim=1)
    used = (F.one_hot(z.argmax(1), z.shape[1]).sum(0) > least).nonzero().flatten()
    for _ in range(2):
        c = p.T @ f / (1e-8 + p.sum(0)[:, None])
        y_hat = used[(f @ F.normalize(c[used], dim=1).T).argmax(1)]
        p = F.one_hot(y_hat, z.shape[1]).to(f.dtype)
    return y_hat


def reliable_entropy(z: Tensor) -> Tensor:
    """EATA's loss: the mean over all samples of exp(E - H) H where H < E = 0.4 log C, the weight without gradient."""
    h = -(z.softmax(1) * z.log_softmax(1)).sum(1)
    e = 0.4 * torch.tensor(z.shape[1]).log()
    return ((e - h).exp().detach() * h * (h < e)).mean()


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _net(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 4), nn.BatchNorm1d(4)
        net = nn.Sequential(*layers).double()
        for norm in (net[1], net[5]):
            nn.init.uniform_(norm.weight, 0.5, 2)
            norm.running_mean.normal_()
    return net.eval()


def _net_and_batch(seed: int = 0) -> list[tuple]:
    """A net in evaluation mode and a batch; then one in training mode; then one that convolves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        convolves = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).double().eval()
        convolves[1].running_mean.normal_()
    return [
        (_net(seed), 2 + _draw(seed, 8, 3)),
        (_net(seed + 1).train(), _draw(seed + 1, 6, 3)),
        (convolves, _draw(seed, 5, 1, 3, 3)),
    ]


def _prepared_net(seed: int = 0) -> list[tuple]:
    """A prepared net, plain gradient descent on its batch norms, and a batch; then another of each."""
    made = []
    for i, rate in enumerate((0.5, 0.1)):
        net = _net(seed + i)
        tent_prepare(net)
        learns = [p for p in net.parameters() if p.requires_grad]
        made.append((net, torch.optim.SGD(learns, lr=rate), 1 + _draw(seed + i, 8, 3)))
    return made


def _clusters(seed: int = 0) -> list[tuple]:
    """Four classes, all in use; then five, of which class 4 is predicted once: at most `least` times is not in use."""
    centres, made = 2 * torch.eye(5, 6).double(), []
    for classes, rare in ((4, 0), (5, 1)):
        y = torch.cat([torch.arange(96) % 4, torch.full((rare,), 4)])
        f = (centres[y] + 1.0 * _draw(seed + rare, len(y), 6)) * torch.linspace(0.5, 2, len(y)).double()[:, None]
        z = 3 * F.one_hot((y + (torch.arange(len(y)) % 5 == 0)) % 4, classes) + 0.3 * _draw(seed + 7, len(y), classes)
        if rare:
            z[-1] = torch.tensor([0.0, 0, 0, 0, 4])
        made.append((f, z, 1))
    return made


def _logits(seed: int = 0) -> list[tuple]:
    """Sure and unsure samples; then none that is sure."""
    scale = torch.tensor([6, 4, 5, 0.3, 0.5, 8, 0.1]).double()[:, None]
    sure = F.one_hot(torch.tensor([0, 1, 2, 3, 0, 1, 2]), 4) * scale + 0.1 * _draw(seed, 7, 4)
    return [(sure.requires_grad_(),), ((0.1 * _draw(seed, 5, 6)).requires_grad_(),)]


def _norms(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


def _prepare(modes: Callable, learn: Callable) -> Callable:
    def prepare(net: nn.Module) -> None:
        net.eval()
        modes(net)
        net.requires_grad_(False)
        learn(net)

    return prepare


def _norms_train(net: nn.Module) -> None:
    for norm in _norms(net):
        norm.train()


def _norms_learn(net: nn.Module) -> None:
    for norm in _norms(net):
        norm.requires_grad_(True)


def _step(loss: Callable, after: bool = False, move: bool = True, clear: bool = True) -> Callable:
    def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> Tensor:
        z = net(x)
        if clear:
            optimizer.zero_grad()
        loss(z).backward()
        if move:
            optimizer.step()
        return (net(x) if after else z).detach()

    return step


def _h(z: Tensor) -> Tensor:
    return -(z.softmax(1) * z.log_softmax(1)).sum(1)


def _shot(f: Tensor, z: Tensor, least: int, rounds: int = 2, hard: bool = False, guard: bool = True, unit: bool = True):
    p = F.one_hot(z.argmax(1), z.shape[1]).double() if hard else z.softmax(1)
    f = F.normalize(f, dim=1) if unit else f
    counts = F.one_hot(z.argmax(1), z.shape[1]).sum(0)
    used = (counts > (least if guard else -1)).nonzero().flatten()
    for _ in range(rounds):
        c = p.T @ f / (1e-8 + p.sum(0)[:, None])
        similar = f @ F.normalize(c[used], dim=1).T if unit else -torch.cdist(f, c[used])
        y_hat = used[similar.argmax(1)]
        p = F.one_hot(y_hat, z.shape[1]).double()
    return y_hat


def _eata(
    z: Tensor, weigh=lambda e, h: (e - h).exp().detach(), keep=lambda e, h: h < e, share=0.4, over=None
) -> Tensor:
    h, e = _h(z), share * torch.tensor(z.shape[1]).log()
    kept = keep(e, h)
    return (weigh(e, h) * h * kept).sum() / (len(h) if over is None else over(kept))


TENT_PREPARE = Exercise(
    name="tent_prepare",
    reference=tent_prepare,
    cases=_net_and_batch,
    outcome=prepared,
    tolerance=1e-5,
    mistakes=(
        Mistake(lambda net: None, "nothing has changed: the net is as it came."),
        Mistake(
            lambda net: (net.train(), net.requires_grad_(False), _norms_learn(net)),
            "dropout is awake: net.train() wakes it with the batch norms. Put the batch norms alone in training mode.",
        ),
        Mistake(
            _prepare(lambda net: None, _norms_learn),
            "the right parameters learn, but the batch norms still use the source's statistics: .train() for each.",
        ),
        Mistake(
            _prepare(_norms_train, lambda net: net.requires_grad_(True)),
            "everything learns: entropy alone would move whole filters. Freeze all but the batch norms.",
        ),
        Mistake(
            _prepare(_norms_train, lambda net: None),
            "everything is frozen, the batch norms' weight and bias too: these two learn.",
        ),
        Mistake(
            _prepare(_norms_train, lambda net: [n.weight.requires_grad_(True) for n in _norms(net)]),
            "only the weights of the batch norms learn: their biases do, too.",
        ),
    ),
    hints=("Two loops in one: mode and requires_grad of each batch norm.", "net.requires_grad_(False) first."),
    right="two numbers for each channel learn, and what they scale is normalised by the target's own batch.",
)
TENT_STEP = Exercise(
    name="tent_step",
    reference=tent_step,
    cases=_prepared_net,
    outcome=stepped,
    tolerance=1e-5,
    mistakes=(
        Mistake(
            _step(lambda z: _h(z).mean(), after=True),
            "you return what the net says *after* its step: online, a sample is answered before it teaches.",
        ),
        Mistake(
            _step(lambda z: -_h(z).mean()),
            "the sign: you climb the entropy, and the net grows unsure. Go down.",
        ),
        Mistake(
            _step(lambda z: _h(z).sum()),
            "the sum over the batch: take the mean, or a larger batch would take longer steps.",
        ),
        Mistake(
            _step(lambda z: F.cross_entropy(z, z.argmax(1))),
            "this is the cross-entropy on the net's own hard labels: TENT takes the entropy of all of p.",
        ),
        Mistake(
            _step(lambda z: -(z.softmax(1) * z.log_softmax(1)).mean()),
            "you divide by C as well: add over the classes, then take the mean over the samples.",
        ),
        Mistake(
            _step(lambda z: _h(z).mean(), clear=False),
            "the first step is right, a second one is not: gradients of the step before are still there. zero_grad.",
        ),
        Mistake(_step(lambda z: _h(z).mean(), move=False), "nothing has moved: optimizer.step() is missing."),
    ),
    hints=("z, loss, zero_grad, backward, step, z.", "loss = -(p * log p).sum(1).mean()."),
    right="one pass, one step: the answer is the one from before it.",
)
SHOT_LABELS = Exercise(
    name="shot_labels",
    reference=shot_labels,
    cases=_clusters,
    mistakes=(
        Mistake(lambda f, z, least: z.argmax(1), "these are the predictions: labels come from the centroids."),
        Mistake(
            lambda f, z, least: _shot(f, z, least, guard=False),
            "a class that is predicted at most `least` times still gets samples: leave it out of the centroids.",
        ),
        Mistake(
            lambda f, z, least: F.normalize(f, dim=1).mm(F.normalize(z.softmax(1).T @ f, dim=1).T).argmin(1),
            "argmin of a similarity is the farthest centroid.",
        ),
        Mistake(
            lambda f, z, least: _shot(f, z, least, rounds=1),
            "one round: the centroids are made once more, of the labels that the first ones gave.",
        ),
        Mistake(
            lambda f, z, least: _shot(f, z, least, rounds=3),
            "a round too many: the second labels are the answer.",
        ),
        Mistake(
            lambda f, z, least: _shot(f, z, least, hard=True),
            "the first centroids are weighted by p = softmax(z), and not by the predictions alone.",
        ),
        Mistake(
            lambda f, z, least: _shot(f, z, least, unit=False),
            "features are scaled to length 1 before anything else, and a cosine is compared, not a distance.",
        ),
        Mistake(
            lambda f, z, least: _shot(f, z, least, guard=True).double(),
            "a label is a whole number: return an integer tensor.",
        ),
        Mistake(
            lambda f, z, least: torch.unique(_shot(f, z, least), return_inverse=True)[1] + 1,
            "the labels are shifted: a place in the list of used classes is not the class itself.",
        ),
    ),
    hints=("used = classes predicted more than `least` times.", "used[similarity.argmax(1)] gives classes again."),
    right="what lies together gets one label, and a class that nobody uses attracts nobody.",
)
RELIABLE_ENTROPY = Exercise(
    name="reliable_entropy",
    reference=reliable_entropy,
    cases=_logits,
    tolerance=1e-5,
    mistakes=(
        Mistake(
            lambda z: _h(z).mean(), "this is TENT's loss: unsure samples should not teach, and sure ones count more."
        ),
        Mistake(lambda z: _eata(z, weigh=lambda e, h: 1.0), "the weight exp(E - H) is missing."),
        Mistake(
            lambda z: _eata(z, weigh=lambda e, h: (e - h).exp()),
            "the value is right, but gradient flows through the weight: detach it, or a sample gains by being unsure.",
        ),
        Mistake(
            lambda z: _eata(z, keep=lambda e, h: h > e),
            "you keep the unsure samples: H < E keeps the sure ones.",
        ),
        Mistake(
            lambda z: _eata(z, keep=lambda e, h: torch.ones_like(h)),
            "no sample is left out: those with H >= E should not count.",
        ),
        Mistake(
            lambda z: _eata(z, over=lambda kept: kept.sum()),
            "you divide by the number of samples kept: divide by all of the batch, or one sure sample takes a full "
            "step, and none at all gives 0/0.",
        ),
        Mistake(lambda z: _eata(z, share=1.0), "the threshold is 0.4 log C; yours is log C, which keeps everyone."),
        Mistake(
            lambda z: _eata(z, weigh=lambda e, h: (h - e).exp().detach()),
            "the weight is upside down: exp(E - H) is large where the entropy is small.",
        ),
    ),
    hints=("H, E = 0.4 log C, a mask and a weight.", "((E - H).exp().detach() * H * (H < E)).mean()."),
    right="who is unsure says nothing, and a batch of unsure samples moves nothing.",
)
EXERCISES = (TENT_PREPARE, TENT_STEP, SHOT_LABELS, RELIABLE_ENTROPY)
