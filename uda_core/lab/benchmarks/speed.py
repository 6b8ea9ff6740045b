"""How much the fast forms save: CGDM's heads alone, a whole training step, networks in channels last; and a peer.

Forms are interleaved round by round; medians, and their ratios within this one run. On a CPU one thread, and processor
time, which other programs disturb less than the clock; on a GPU the clock, and ResNet-101 at VisDA's size only. The
naive forms are our transcription of what the authors' code computes (lijin118/CGDM, commit 012d631, train_visda.py and
utils.py): six forwards, six whole backwards and one `autograd.grad` for each tensor. The peer is pytorch-adapt's MCD,
where it is installed: the same networks, optimisers, batches and number of steps C, each domain passed apart.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from uda_core.lab.benchmarks import race
from uda_core.losses import classifier_discrepancy, rowwise_gradient_discrepancy, weighted_cross_entropy
from uda_core.methods.cgdm import CGDMConfig, CGDMRun, CGDMSettings, cgdm_step
from uda_core.methods.classification import Config, ce, im
from uda_core.methods.mcd import MCD
from uda_core.models.features import make_features
from uda_core.models.heads import Head, logits_and_gradient_discrepancy
from uda_core.samples import Batch, Labelled, Unlabelled
from uda_core.task import Pair

BATCH = 32  # per domain
TARGETS = {  # (slow form, fast form) -> the speed-up that the fast form must reach
    ("heads, one autograd.grad per tensor", "heads, closed form"): 3.0,
    ("heads, one autograd.grad per domain", "heads, closed form"): 1.5,
    ("whole step, naive", "whole step, fast"): 1.3,
    ("step on features, readable", "step on features, fast"): 1.5,
    ("convolutions of resnet18, contiguous", "convolutions of resnet18, channels last"): 1.0,
    ("convolutions of mcd_colour_digits, contiguous", "convolutions of mcd_colour_digits, channels last"): 1.0,
    ("resnet18 fp32, naive", "resnet18 fp32, fast"): 1.2,
}
GPU_TARGETS = {
    ("resnet101 fp32, naive", "resnet101 fp32, fast"): 1.5,
    ("resnet101 bf16, naive", "resnet101 bf16, fast"): 1.5,
    ("resnet101 fp32, naive", "resnet101 bf16, fast and compiled"): 3.0,
}
PEER = "pytorch-adapt==0.0.83"
PEER_INSTALL = f'python3 -m pip install "{PEER}" "setuptools<81"'  # its torchmetrics needs pkg_resources


def measure(rounds: int = 30, device: str = "cpu") -> dict:
    """Milliseconds of each form (median over `rounds`), the ratios of the targets, and ResNet's images per second."""
    CGDMConfig(device=device)  # refuses a device that is not here
    if torch.device(device).type == "cpu":
        result = race(_cpu_forms, TARGETS, rounds, "bench speed", 1, time.process_time)
        result["missing"] = [] if _peer() else [f"{PEER}, not installed here: {PEER_INSTALL}"]
    else:
        result = race(partial(_resnet_forms, device), GPU_TARGETS, rounds, "bench speed", 1, _clock_of_gpu)
    images, times = 2 * _resnet_size(device)[2], result["median_ms"].items()
    rates = {name: 1000 * images / ms for name, ms in times if name.startswith("resnet")}
    return result | {"device": device, "images_per_s": rates}


def _clock_of_gpu() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _cpu_forms() -> dict[str, Callable[[], object]]:
    """All of them, by name."""
    heads_and_steps = _heads_forms() | _digits_forms() | _features_forms() | _resnet_forms("cpu")
    return heads_and_steps | _convolution_forms() | _mcd_forms()


# -- the heads alone, at VisDA's size ----------------------------------------------------------------------------------


def _heads_forms() -> dict[str, Callable[[], None]]:
    """Step C without the backbone: both heads forward, discrepancy and L_gd, backward to the features."""
    features, classes = 256, 12
    heads = [Head(features, classes, (1000, 1000), dropout=0.5) for _ in range(2)]
    f = torch.randn(2 * BATCH, features, requires_grad=True)
    y_s, y_hat = torch.randint(classes, (2, BATCH))

    def by_tensor() -> tuple:
        z_s, z_t = zip(*(head(f).chunk(2) for head in heads), strict=True)
        return z_t, naive_gradient_discrepancy(heads, z_s, y_s, z_t, y_hat)

    def by_domain() -> tuple:
        z_s, z_t = zip(*(head(f).chunk(2) for head in heads), strict=True)
        l_s, l_t = ce(z_s, y_s), sum(weighted_cross_entropy(z, y_hat) for z in z_t) / BATCH
        parameters, left_out = [head.matched_parameters for head in heads], len(heads[0].norms)
        return z_t, rowwise_gradient_discrepancy(l_s, l_t, parameters, left_out)

    def backward(form: Callable[[], tuple]) -> None:
        z_t, l_gd = form()
        torch.autograd.grad(classifier_discrepancy(*z_t) + l_gd, f)

    return {
        "heads, one autograd.grad per tensor": partial(backward, by_tensor),
        "heads, one autograd.grad per domain": partial(backward, by_domain),
        "heads, closed form": partial(backward, partial(logits_and_gradient_discrepancy, heads, f, y_s, y_hat)),
    }


def naive_gradient_discrepancy(
    heads: Sequence[Head], z_s: Sequence[Tensor], y_s: Tensor, z_t: Sequence[Tensor], y_hat: Tensor
) -> Tensor:
    """One `autograd.grad` for each tensor, domain and head: 40 calls for two heads of ten tensors."""
    per_head = []
    for head, source, target in zip(heads, z_s, z_t, strict=True):
        l_s, l_t = F.cross_entropy(source, y_s), weighted_cross_entropy(target, y_hat) / len(y_hat)
        cosines = []
        for parameter in head.parameters():
            (g_s,) = torch.autograd.grad(l_s, parameter, create_graph=True)
            (g_t,) = torch.autograd.grad(l_t, parameter, create_graph=True)
            cosines.append(F.cosine_similarity(g_s, g_t, dim=-1).mean())
        per_head.append(1 - torch.stack(cosines).mean())
    return torch.stack(per_head).mean()


# -- a whole step ------------------------------------------------------------------------------------------------------


def _digits_forms() -> dict[str, Callable[[], object]]:
    """Steps A, B and four times C on 28x28 images, with MCD's network for USPS."""
    config = CGDMConfig(network="mcd_digits", features=0, hidden=(100, 100), batch_size=BATCH)
    naive, fast = run_on_images(naive_cgdm_step, config), run_on_images(cgdm_step, replace(config, fast=True))
    return {"whole step, naive": naive.step, "whole step, fast": fast.step}


def _features_forms() -> dict[str, Callable[[], object]]:
    """Steps A, B and four times C on frozen features of 1,280 numbers, heads 500 and 500 wide, as on Office-31's."""
    config = CGDMConfig(network="linear", features=256, hidden=(500, 500), batch_size=BATCH, optimizer="sgd")
    on = partial(run_on_images, cgdm_step, shape=(1280,), classes=31)
    readable, fast, without = on(config), on(replace(config, fast=True)), on(replace(config, fast=True))
    without.settings.beta = 0.0
    steps = {"readable": readable.step, "fast": fast.step, "without L_gd": without.step}
    return {f"step on features, {form}": step for form, step in steps.items()}


def run_on_images(
    step: Callable, config: CGDMConfig, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10
) -> CGDMRun:
    """A run of `step` on random images, with pseudo-labels."""
    pair = _random_images(config.batch_size, shape, classes)
    run = CGDMRun("cgdm", step, pair, config, CGDMSettings(refresh=10_000))
    run.refresh_pseudo_labels()
    return run


def _random_images(batch: int, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> Pair:
    """Eight batches of noise; the target is the source mirrored."""
    x = torch.rand(8 * batch, *shape, generator=torch.Generator().manual_seed(0))
    source, target = Labelled(x, torch.arange(len(x)) % classes), Unlabelled(x.flip(-1))
    return Pair("random images", tuple(map(str, range(classes))), source, source, target, target)


def _resnet_forms(device: str) -> dict[str, Callable[[], object]]:
    """Steps A, B and four times C, pseudo-labels in place; on a GPU also in bf16, which CPUs emulate, and compiled."""
    network, side, batch = _resnet_size(device)
    config = CGDMConfig(
        network=network, features=256, hidden=(1000, 1000), batch_size=batch, optimizer="sgd", device=device
    )
    forms, on = {}, partial(run_on_images, shape=(3, side, side), classes=12)
    on_gpu = torch.device(device).type != "cpu"
    for precision in ("fp32", "bf16") if on_gpu else ("fp32",):
        naive, fast = replace(config, precision=precision), replace(config, precision=precision, fast=True)
        forms[f"{network} {precision}, naive"] = on(naive_cgdm_step, naive).step
        forms[f"{network} {precision}, fast"] = on(cgdm_step, fast).step
        if on_gpu:
            run = on(cgdm_step, fast)
            run.extractor.compile()
            forms[f"{network} {precision}, fast and compiled"] = run.step
    return forms


def _resnet_size(device: str) -> tuple[str, int, int]:
    """Which ResNet, pixels a side, images per domain: CGDM's on VisDA for a GPU, a small one for a CPU."""
    return ("resnet18", 64, 8) if torch.device(device).type == "cpu" else ("resnet101", 224, 32)


def naive_cgdm_step(run: CGDMRun, s: CGDMSettings, batch: Batch) -> dict:
    """Six forwards and six full backwards, whoever moves, and 160 calls of `autograd.grad`."""
    y_s, y_hat = batch.y_s, run.pseudo_labels[batch.i_t]
    optimizers = run.features_opt, run.heads_opt

    def descend(loss: Tensor, *moving: torch.optim.Optimizer) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in moving:
            optimizer.step()

    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    descend(ce(z_s, y_s) + s.infomax * im(z_t) + s.alpha * run.wce(z_t, y_hat), *optimizers)  # A

    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    descend(ce(z_s, y_s) - s.discrepancy * classifier_discrepancy(*z_t) + s.infomax * im(z_t), run.heads_opt)  # B

    for _ in range(s.k):
        z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
        l_gd = naive_gradient_discrepancy(run.heads, z_s, y_s, z_t, y_hat)
        loss = s.discrepancy * classifier_discrepancy(*z_t) + s.infomax * im(z_t) + s.beta * l_gd
        descend(loss, run.features_opt)  # C
    return {"gradient_discrepancy": l_gd}


# -- layouts -----------------------------------------------------------------------------------------------------------


def _convolution_forms() -> dict[str, Callable[[], object]]:
    """Networks that are kept in channels last, forward and backward, in torch's own layout and in theirs."""
    forms = {}
    for name, shape in (("resnet18", (3, 128, 128)), ("mcd_colour_digits", (3, 32, 32))):
        x = torch.rand(BATCH // 2, *shape)
        for layout, memory_format in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
            net = make_features(name, shape, 0)[0].to(memory_format=memory_format)
            forms[f"convolutions of {name}, {layout}"] = lambda net=net, x=x: torch.autograd.grad(
                net(x).square().mean(), list(net.parameters())
            )
    return forms


# -- a peer ------------------------------------------------------------------------------------------------------------


def _mcd_forms() -> dict[str, Callable[[], object]]:
    """MCD's steps A, B and four times C with its network for USPS, domains apart: ours and, where it is, the peer's."""
    config = Config(network="mcd_digits", features=0, hidden=(100, 100), batch_size=BATCH, batches="apart")
    ours, theirs = (MCD(_random_images(BATCH), config) for _ in range(2))
    forms: dict[str, Callable[[], object]] = {"MCD step, ours": ours.step}
    if peer := _peer():
        hooks, layers = peer
        heads = layers.MultipleModels(*theirs.heads)
        hook = hooks.MCDHook(g_opts=[theirs.features_opt], c_opts=[theirs.heads_opt], repeat=ours.settings.k)

        def step() -> None:
            batch = theirs._next_batch()
            images = {"src_imgs": batch.x_s, "src_labels": batch.y_s, "target_imgs": batch.x_t}
            hook({"G": theirs.extractor, "C": heads} | images)

        forms[f"MCD step, {PEER}"] = step
    return forms


def _peer() -> tuple[Any, Any] | None:
    """The peer's modules `hooks` and `layers`; None where it, this version of it, or what it needs is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its torchmetrics warns of setuptools
            from pytorch_adapt import __version__, hooks, layers
    except ImportError:
        return None
    return (hooks, layers) if PEER.endswith(f"=={__version__}") else None
