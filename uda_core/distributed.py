"""Several processes, one run: who is who, what they share, and how they start and end. Alone, nothing happens here.

Each process drives one device and trains on its own part of one common data order. `update` in `methods.run` averages
the gradients, once per call and in one exchange, so every process takes the same steps from the same start, and the
methods need not know. There is no wrapper around the networks (DDP): `autograd.grad`, graphs of graphs and the closed
form work as they do alone, at the price that the exchange waits for the end of the backward pass.

`batch_size` is per device and domain. What a loss computes over a batch, it computes over the batch of one device:
discrepancy, sliced Wasserstein distance, gradient discrepancy, information maximisation, the weights of pseudo-labels,
batch norm; its *gradient* is averaged. So two devices at batch size B are one at 2B for cross-entropies and
`classifier_discrepancy`, but for rounding, and near it for the others. Batch norm's running statistics are averaged
after each step: between two steps, networks and optimisers are equal everywhere. Dropout and jitter differ by device:
the first carries the run's random state on, the others start each step from seed, step and rank, so that a checkpoint
of the first is one of all.

Built on torch.distributed: gloo between CPUs and for single numbers, NCCL between GPUs. `train --devices N` starts the
processes of one machine; those of several are started by torchrun, with the same command behind `torchrun ... -m`.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import Tensor, distributed

from uda_core.errors import UserError

START_METHOD = "spawn"  # of the processes: CUDA allows no other
GRACE = 2.0  # seconds after the first failure in which the others may tell what they saw, before they are ended


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
    gradients = [p.grad if has else torch.zeros_like(p) for p, has in zip(parameters, own, strict=True)]
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
    value = torch.tensor(value)
    distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return value.item()


def share(samples: int) -> Tensor:
    """The indices, out of so many samples in order, that this process looks at."""
    return torch.arange(samples).tensor_split(ranks())[rank()]


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


# -- how they start and end --------------------------------------------------------------------------------------------


@contextmanager
def together(device: str) -> Iterator[None]:
    """Inside, the processes that `launch` or torchrun started are one run, which prints what the first one has to say.

    With `device` "cuda", the current GPU of each is its own. Afterwards each is alone again.
    """
    if not _joined() and _under_torchrun():
        _join(device, int(os.environ["LOCAL_RANK"]), init_method="env://")
    with _silence() if rank() else nullcontext():
        yield
    if _joined():  # not after an error: others may hang in an exchange, and this process is to tell it first
        distributed.destroy_process_group()


def started() -> int:
    """How many processes torchrun started for this run; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if _under_torchrun() else 1


def _under_torchrun() -> bool:
    return distributed.is_available() and distributed.is_torchelastic_launched()


def launch(devices: int, device: str, function: Callable[..., int], *args) -> int:
    """`function(*args)` in so many processes of this machine, one for each device; the largest exit status.

    Ctrl-C and SIGTERM are handed on to all of them. If one fails, the others are ended. One device needs no process of
    its own, and those of torchrun are there already.

    Raises:
        UserError: if there are not so many devices.
        ChildProcessError: if one of them was killed.
        Exception: what one of them raised.
    """
    _check(devices, device)
    if devices == 1 or _under_torchrun():
        return function(*args)
    context, processes, ends = multiprocessing.get_context(START_METHOD), [], []
    with tempfile.TemporaryDirectory() as folder, _handing_on(processes) as handed_on:
        meeting = (Path(folder) / "store").as_uri()
        for i in range(devices):
            end, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, i, devices, device, meeting, function, args))
            process.start()
            theirs.close()
            processes.append(process)
            ends.append(end)
        try:
            outcomes = _outcomes(ends)
            deadline = time.monotonic() + GRACE
            for process in processes:
                process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for process in processes:
                process.kill()  # those that hang
                process.join()
    if failures := [outcome for outcome in outcomes if isinstance(outcome, BaseException)]:
        failure = min(failures, key=_loudness)
        if handed_on and isinstance(failure, ChildProcessError):  # before it could listen
            raise KeyboardInterrupt
        raise failure
    return max(outcomes)


def _check(devices: int, device: str) -> None:
    """Raise a `UserError` if there are not so many devices of this kind, or torchrun started another number."""
    kind = torch.device(device)
    if devices < 1:
        raise UserError(f"--devices must be at least 1, got {devices}")
    if _under_torchrun() and devices != started():
        raise UserError(f"torchrun started {started()} processes, but this run has {devices} devices")
    if devices > 1 and not hasattr(os, "setpgrp"):
        raise UserError("--devices above 1 needs Linux or macOS")
    if devices > 1 and kind.type not in ("cpu", "cuda"):
        raise UserError(f"--devices works with cpu and cuda, not with {device}")
    if devices > 1 and kind.index is not None:
        raise UserError(f"device {device} is a single one; use device=cuda with --devices {devices}")
    if kind.type == "cuda" and not _under_torchrun() and devices > torch.cuda.device_count():
        raise UserError(f"--devices {devices}, but there are {torch.cuda.device_count()} GPUs here")


@contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _join(device: str, local_rank: int, **how) -> None:
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", **how)


def _work(end: Connection, i: int, devices: int, device: str, meeting: str, function: Callable, args: tuple) -> None:
    """The life of one process: its outcome, an exit status or an exception, goes through `end`."""
    os.setpgrp()  # so that Ctrl-C in the terminal reaches it once, through `launch`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    try:
        _join(device, i, init_method=meeting, rank=i, world_size=devices)
        with together(device):
            outcome = function(*args)
    except BaseException as error:
        error.add_note(f"in process {i} of {devices}:\n{traceback.format_exc()}")
        outcome = error
    sys.stdout.flush()
    end.send(outcome)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _outcomes(ends: list[Connection]) -> list[int | BaseException]:
    """What came of the processes: of all, or after a failure of those that tell it within `GRACE`."""
    outcomes, running, deadline = [], dict(zip(ends, range(len(ends)), strict=True)), None
    while running and (deadline is None or time.monotonic() < deadline):
        for end in wait(running, None if deadline is None else max(0.0, deadline - time.monotonic())):
            i = running.pop(end)
            try:
                outcomes.append(end.recv())
            except EOFError:
                outcomes.append(ChildProcessError(f"process {i} of {len(ends)} was killed; the others were ended"))
            if isinstance(outcomes[-1], BaseException) and deadline is None:
                deadline = time.monotonic() + GRACE
    return outcomes


def _loudness(error: BaseException) -> int:
    """Which of several failures tells the cause: the others are what the rest saw of it, such as a closed line."""
    causes = (KeyboardInterrupt, UserError, FloatingPointError, ChildProcessError, OSError)
    return next((i for i, kind in enumerate(causes) if isinstance(error, kind)), len(causes))


@contextmanager
def _handing_on(processes: list[BaseProcess]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM go to the processes, which know when to stop; the list fills with those that came."""
    handed_on = []

    def hand_on(number: int, frame) -> None:
        handed_on.append(number)
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield handed_on
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
