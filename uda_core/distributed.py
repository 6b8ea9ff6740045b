"""Several processes, one run: who is who, what they share, how they join and leave. Alone, nothing happens here.

Each process drives one device and trains on its own part of one common data order. `training.update` averages
the gradients, once per call and in one exchange, so every process takes the same steps from the same start, and the
methods need not know. There is no wrapper around the networks (DDP): `autograd.grad`, graphs of graphs and the closed
form work as they do alone, at the price that the exchange waits for the end of the backward pass.

`batch_size` is per device and domain. Where a method classifies, only the backbone works on the batch of one device:
its features, and the labels, are gathered (`gather_features`), so that heads, with their batch norm and dropout, and
losses see the batch of all devices, the same on each. So R devices at batch size B are one at R B but for rounding,
if the backbone has neither batch norm nor dropout and no image is augmented. Its batch norm sees B samples per domain:
with the small network on `fonts-handwriting`, between steps 101 and 400 and without dropout, gradients of 4 x (8 + 8)
have a cosine of 0.76 to 0.95 with those of 32 + 32. With losses per device it would be 0.05 to 0.24 for L_gd, 0.20 to
0.41 for InfoMax, 0.32 to 0.54 for L_dis. Where a method segments, each loss sees the images of one device, and its
gradient is averaged.

Batch norm's running statistics are averaged after each step: between two steps, networks and optimisers are equal
everywhere. So is the random state, and a checkpoint of the first process is one of all. What differs by device, dropout
outside the heads and jitter, has random numbers of its own (`Run._noise_of_device`).

Built on torch.distributed: gloo between CPUs and for single numbers, NCCL between GPUs. The processes are started by
torchrun, on one machine or several, or by `uda train --devices N`, which calls the same launcher.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed


def rank() -> int:
    """Which of the processes this is, from 0."""
    return distributed.get_rank() if _joined() else 0


def ranks() -> int:
    """How many processes train this run."""
    return distributed.get_world_size() if _joined() else 1


# -- what they share ---------------------------------------------------------------------------------------------------


def average_gradients_(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over the processes; where only some have one, the others count as zeros."""
    if not _joined() or not parameters:
        return
    own = [parameter.grad is not None for parameter in parameters]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    *means, anyone_s = _means([*gradients, parameters[0].new_tensor(own)])
    present = own if all(own) else anyone_s.tolist()  # a GPU is asked only where it matters
    for parameter, mean, has in zip(parameters, means, present, strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(mean) if has else None  # in the parameter's own strides


def average_(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    if _joined() and tensors:
        for tensor, mean in zip(tensors, _means(tensors), strict=True):
            tensor.copy_(mean)


def average(values: dict[str, float]) -> dict[str, float]:
    """The mean of each value over the processes, which must all have the same names."""
    if not _joined():
        return values
    means = torch.tensor(list(values.values()), dtype=torch.float64)
    average_([means])
    return dict(zip(values, means.tolist(), strict=True))


def largest(value: int) -> int:
    """The largest of the processes' values."""
    if not _joined():
        return value
    maximum = torch.tensor(value)
    distributed.all_reduce(maximum, distributed.ReduceOp.MAX)
    return int(maximum)


def share(samples: int) -> Tensor:
    """The indices, out of so many samples in order, that this process looks at."""
    return torch.arange(samples).tensor_split(ranks())[rank()]


def gather_features(f: Tensor, domains: int) -> Tensor:
    """The features [domains R B, D] of all R processes, domain by domain, from those of each, f [domains B, D].

    Each process then computes the same losses. Their gradient for its own f is R times that of the joint loss, since
    the extractor's gradient is the sum over the processes of which `average_gradients_` makes the mean. The heads'
    gradients are equal everywhere, and so is their mean.
    """
    whole: Tensor = _Gathered.apply(f)
    return whole.unflatten(0, (ranks(), domains, -1)).transpose(0, 1).flatten(0, 2)


class _Gathered(torch.autograd.Function):
    """`gather` of parts of equal length, [B, D] -> [R B, D], with a gradient for the process's own part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return gather(part, ranks() * len(part))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return ranks() * gradients[0].chunk(ranks())[rank()]


def gather(part: Tensor, samples: int) -> Tensor:
    """The results [samples, ...] of all processes in order, from those of each one's `share`, [its length, ...]."""
    if not _joined():
        return part
    lengths = [len(i) for i in torch.arange(samples).tensor_split(ranks())]
    padded = part.new_zeros(max(lengths), *part.shape[1:])
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in lengths]
    distributed.all_gather(parts, padded)
    return torch.cat([other[:length] for other, length in zip(parts, lengths, strict=True)])


def _means(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean of each tensor over the processes, all in one exchange."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    parts = flat.div_(ranks()).split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


# -- how they join and leave -------------------------------------------------------------------------------------------


@contextmanager
def together(device: str) -> Iterator[None]:
    """Inside, the processes that torchrun started are one run, and only the first one prints. Alone it does nothing.

    With `device` "cuda", the current GPU of each is its own. Afterwards each is alone again.
    """
    if under_torchrun() and not _joined():
        cuda = torch.device(device).type == "cuda"
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", init_method="env://")
    with _silence() if rank() else nullcontext():
        yield
    if _joined():  # not after an error: the others may wait in an exchange, and this process must report it first
        distributed.destroy_process_group()


def started() -> int:
    """How many processes torchrun started for this run; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if under_torchrun() else 1


def under_torchrun() -> bool:
    """Whether torchrun, or the launcher behind it, started this process."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


@contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
