"""What every method shares: a run, its configuration, its settings, and the one way in which anything learns."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from uda_core import distributed
from uda_core.data.batches import Batch, Batches, seed_of
from uda_core.data.task import Pair
from uda_core.errors import UserError, choose
from uda_core.models.batch_norm import trained_statistics

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class RunConfig:
    """What is fixed until Reset, whatever the method."""

    seed: int = 0
    batch_size: int = 64  # per domain
    device: str = "cpu"
    precision: str = "fp32"  # "bf16": the network under autocast, not the heads; what compares is in float32
    weights: str = "none"  # that a large network starts from: none, a file, or a name of torchvision's

    def __post_init__(self):
        choose("precision", self.precision, PRECISIONS)
        if self.batch_size < 2:
            raise UserError(f"batch_size must be at least 2 (batch norm needs two samples), got {self.batch_size}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed must be at least 0 and below 2^63, got {self.seed}")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # no such device, or none that this torch can use
            raise UserError(f"device {self.device!r} is not available here; use cpu") from error


def setting(default: float, low: float, high: float, help: str, unit: str = "") -> float:
    """A field of `Settings`: its default, its range, and the words and unit that board and command line show."""
    return field(default=default, metadata={"low": low, "high": high, "help": help, "unit": unit})


@dataclass
class Settings:
    """What may change while a run trains. Values out of range, not numbers, or of unknown names are refused."""

    learning_rate: float = setting(2e-3, 0.0, 0.1, "step size of Adam, features and heads alike")

    def __setattr__(self, name: str, value: float) -> None:
        fields = {f.name: f for f in dataclasses.fields(self)}
        choose("setting", name, fields)
        f = fields[name]
        low, high = f.metadata["low"], f.metadata["high"]
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise UserError(f"setting {name} must be a number from {low} to {high}, got {value!r}")
        if not low <= value <= high:
            raise UserError(f"setting {name} must lie between {low} and {high}, got {value}")
        if f.type is int and value != int(value):
            raise UserError(f"setting {name} must be a whole number, got {value}")
        object.__setattr__(self, name, f.type(value))

    @classmethod
    def of(cls, values: dict[str, float]) -> "Settings":
        """The defaults, changed by `values`; an unknown name is told in one line."""
        for name in values:
            choose("setting", name, [f.name for f in dataclasses.fields(cls)])
        return cls(**values)

    def snapshot(self) -> "Settings":
        """A copy that stays as it is."""
        return dataclasses.replace(self)


@dataclass(frozen=True)
class Record:
    """What one step did."""

    step: int  # 1 for the first
    losses: dict[str, float]  # by the names used in the method's code; the mean over the devices
    counts: dict[str, int]  # what was empty, skipped or left out, on the first device
    settings: Settings  # those that this step used


def update(loss: Tensor | Iterable[Tensor], *optimizers: torch.optim.Optimizer) -> None:
    """Gradients of `loss` for exactly these optimisers' parameters, then their step. Nothing else learns, anywhere.

    Where several devices train, the gradients are averaged over them.

    Several losses are differentiated one after the other and their gradients added: from a generator, each graph is
    freed before the next one is built, which halves the memory of two equal ones.
    """
    parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = None
    for part in [loss] if isinstance(loss, Tensor) else loss:
        gradients = torch.autograd.grad(part, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                gradient = laid_out_as(parameter, gradient)
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    distributed.average_gradients_(parameters)
    for optimizer in optimizers:
        optimizer.step()


def laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the parameter's own strides: fused optimisers take both for flat, and silently mix up the rest.

    `backward()` sees to that, `autograd.grad` does not; compiled networks, and channels last, give others.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


class Run:
    """A method at work on a pair of domains: networks, optimisers, data order and random state.

    `step()` trains once. `features(x)` and `predict(x)` look at the networks as they would be used, without dropout,
    and change nothing: not the random state, not the batch-norm statistics.

    `ClassificationRun` and `SegmentationRun` say which networks there are (`_build`), and how one looks at them.
    """

    CONFIG: ClassVar[type[RunConfig]] = RunConfig
    NETWORKS: ClassVar[tuple[str, ...]] = ()  # names of the modules and optimisers, as attributes
    OPTIMIZERS: ClassVar[tuple[str, ...]] = ()
    pseudo_labels: Tensor | None = None
    planned_steps: int | None = None  # where the settings say how long a run takes
    milestone: str | None = None  # what the last step completed, if it is worth a checkpoint of its own

    def __init__(
        self,
        method: str,
        step: Callable[["Run", Settings, Batch], dict[str, Tensor]],
        pair: Pair,
        config: RunConfig | None,
        settings: Settings,
    ):
        self.method, self._step, self.pair, self.settings = method, step, pair, settings
        self.reset(config or self.CONFIG())

    def reset(self, config: RunConfig | None = None) -> None:
        """Back to step 0, with a new `config` if one is given. The settings stay where they are."""
        config = config or self.config
        if not isinstance(config, self.CONFIG):
            raise UserError(f"{self.method} needs a {self.CONFIG.__name__} here, got a {type(config).__name__}")
        self.config = config
        self.steps, self.counts = 0, {}
        with torch.random.fork_rng(devices=self._cuda_devices()):
            torch.manual_seed(config.seed)
            self._build()
            self._random_state = self._get_random_state()
        self._batches = Batches(self.pair, config.batch_size, config.seed, distributed.rank(), distributed.ranks())

    def _build(self) -> None:
        """Make the networks and their optimisers, as `self.config` has them."""
        raise NotImplementedError

    # -- training ----------------------------------------------------------------------------------------------------

    def step(self) -> Record:
        """Train once, with the settings as they stand at this moment."""
        s = self.settings.snapshot()
        self._set_learning_rate(s)
        with self._own_random_state():
            losses = {name: loss.item() for name, loss in self._step(self, s, self._next_batch()).items()}
        networks = [getattr(self, name) for name in self.NETWORKS]
        distributed.average_([statistic for net in networks for statistic in trained_statistics(net)])
        losses = distributed.average(losses)
        self.steps += 1
        for name, value in losses.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"step {self.steps}: {name} is {value}; lower learning_rate ({s.learning_rate:g}) or Reset"
                )
        return Record(self.steps, losses, dict(self.counts), s)

    def _set_learning_rate(self, s: Settings) -> None:
        for name in self.OPTIMIZERS:
            for group in getattr(self, name).param_groups:
                group["lr"] = s.learning_rate

    # -- looking, without touching -----------------------------------------------------------------------------------

    def features(self, x: Tensor, domain: str = "target") -> Tensor:
        """The features of inputs x [N, ...] of this domain, as used at test time."""
        raise NotImplementedError

    def predict(self, x: Tensor, domain: str = "target") -> tuple[Tensor, ...]:
        """The logits of each head. The predicted class is the argmax of their sum."""
        raise NotImplementedError

    # -- saving ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        """Everything needed to go on bit for bit: tensors and plain values only."""
        config = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self.config).items()}
        return {
            "method": self.method,
            "pair": self.pair.name,
            "classes": list(self.pair.classes),
            "config": config,
            "settings": dataclasses.asdict(self.settings),
            "steps": self.steps,
            "counts": dict(self.counts),
            **{name: getattr(self, name).state_dict() for name in self.NETWORKS + self.OPTIMIZERS},
            "pseudo_labels": self.pseudo_labels,
            "random_state": self._random_state,
            "batches": self._batches.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take up a saved state. `checkpoints.load` checks first that it belongs to this method and pair."""
        config = {name: tuple(v) if isinstance(v, list) else v for name, v in state["config"].items()}
        config = self.CONFIG(**config)
        self.reset(dataclasses.replace(config, weights="none"))  # the file that they started from may be elsewhere
        self.config = config
        self.settings = type(self.settings)(**state["settings"])
        self.steps, self.counts = state["steps"], dict(state["counts"])
        for name in self.NETWORKS + self.OPTIMIZERS:
            getattr(self, name).load_state_dict(state[name])
        self.pseudo_labels, self._random_state = state["pseudo_labels"], state["random_state"]
        if self.pseudo_labels is not None:
            self.pseudo_labels = self.pseudo_labels.to(self.config.device)
        self._batches.load_state_dict(state["batches"])

    # -- data, random state, precision -------------------------------------------------------------------------------

    def _next_batch(self) -> Batch:
        batch, device = next(self._batches), self.config.device
        return Batch(batch.x_s.to(device), batch.y_s.to(device), batch.x_t.to(device), batch.i_t)

    @contextmanager
    def _own_random_state(self):
        with torch.random.fork_rng(devices=self._cuda_devices()):
            if distributed.rank() == 0:
                self._set_random_state(self._random_state)
            else:
                torch.manual_seed(seed_of(self.config.seed, self.steps, distributed.rank()))
            yield
            self._random_state = self._get_random_state()

    def _cuda_devices(self) -> list[int]:
        device = torch.device(self.config.device)
        if device.type != "cuda":
            return []
        return [torch.cuda.current_device() if device.index is None else device.index]

    def _get_random_state(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(i) for i in self._cuda_devices())]

    def _set_random_state(self, state: list[Tensor]) -> None:
        torch.set_rng_state(state[0])
        for i, cuda_state in zip(self._cuda_devices(), state[1:], strict=True):
            torch.cuda.set_rng_state(cuda_state, i)

    def _autocast(self):
        if self.config.precision == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(self.config.device).type, dtype=torch.bfloat16)


@contextmanager
def evaluating(*modules: nn.Module):
    """Evaluation mode inside, the former mode after."""
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
