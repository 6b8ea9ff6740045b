"""What every method shares: a run at work on a pair of domains, its fixed configuration, and its live settings."""

import copy
import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from uda_core import distributed
from uda_core.errors import UserError, choose
from uda_core.models.batch_norm import trained_statistics
from uda_core.samples import Batch, Batches, Samples, seed_of
from uda_core.task import Pair

Loss = Tensor | float  # a plain number stands for a loss that was not computed
Losses = Mapping[str, Loss]  # of one step, by name


# -- options: fields of a configuration or of settings -----------------------------------------------------------------


def option(
    default: Any, help: str, low: float = 0, high: float = 0, unit: str = "", choices: tuple[str, ...] = ()
) -> Any:
    """A field of a `RunConfig` or of `Settings`: the one place that describes it, for board and command line too.

    A number lies between `low` and `high`, as does each entry of a tuple; a text may be one of `choices`, or any.
    """
    metadata = {"help": help, "low": low, "high": high, "unit": unit, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def checked(f: dataclasses.Field, value: object) -> Any:
    """`value` as the type that the field declares.

    Raises:
        UserError: if it is of another kind, out of range, or none of the choices.
    """
    low, high = f.metadata["low"], f.metadata["high"]
    if f.metadata["choices"]:
        return value if value in f.metadata["choices"] else choose(f.name, str(value), f.metadata["choices"])
    if f.type in (bool, str):
        if not isinstance(value, f.type):
            raise UserError(f"{f.name} must be {'true or false' if f.type is bool else 'text'}, got {value!r}")
        return value
    if f.type not in (int, float):  # tuple[int, ...]
        entries = value if isinstance(value, tuple | list) else ()
        if not isinstance(value, tuple | list) or any(type(n) is not int or not low <= n <= high for n in entries):
            raise UserError(f"{f.name} must be whole numbers from {low} to {high}, such as 64,64, got {value!r}")
        return tuple(entries)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise UserError(f"{f.name} must be a number from {low} to {high}, got {value!r}")
    if not low <= value <= high:
        raise UserError(f"{f.name} must lie between {low} and {high}, got {value}")
    if f.type is int and value != int(value):
        raise UserError(f"{f.name} must be a whole number, got {value}")
    return f.type(value)


@dataclass(frozen=True)
class RunConfig:
    """What is fixed until Reset, whatever the method.

    Raises:
        UserError: for a value that is out of range, none of the choices, or a device that is not here.
    """

    seed: int = option(0, "network start, data order, dropout; the same as --seed", 0, 2**63 - 1)
    batch_size: int = option(64, "samples per domain and step; batch norm needs two", 2, 1_000_000)
    device: str = option("cpu", "cpu, cuda or cuda:1")
    precision: str = option("fp32", "of the network, not of what compares (heads, losses)", choices=("fp32", "bf16"))
    weights: str = option("none", "what a large network starts from: none, a file, or a name of torchvision's")

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
        try:
            torch.zeros(1, device=self.device).item()
        except (RuntimeError, AssertionError) as error:  # no such device, none that this torch can use, or "meta"
            raise UserError(f"device {self.device!r} is not available here; use cpu") from error


@dataclass
class Settings:
    """What may change while a run trains: weights of losses, step sizes, intervals.

    Raises:
        UserError: for a value that is refused, and for an unknown name.
    """

    learning_rate: float = option(2e-3, "step size, of features and heads alike", 0.0, 0.1)

    def __setattr__(self, name: str, value: float) -> None:
        fields = type(self).__dataclass_fields__
        if name not in fields:
            choose("setting", name, fields)
        object.__setattr__(self, name, checked(fields[name], value))

    def snapshot(self) -> Self:
        """A copy that stays as it is."""
        return copy.copy(self)


@dataclass(frozen=True)
class Record:
    """What one step did."""

    step: int  # 1 for the first
    losses: dict[str, float]  # by the names used in the method's code; the mean over the devices
    counts: dict[str, int]  # what was empty, skipped or left out, on the first device
    settings: Settings  # those that this step used


# -- runs --------------------------------------------------------------------------------------------------------------

ConfigT = TypeVar("ConfigT", bound=RunConfig)
SettingsT = TypeVar("SettingsT", bound=Settings)
Step = Callable[[Any, Any, Batch], Losses]  # (run, settings, batch): trains once, by `training.update`


class Run(Generic[ConfigT, SettingsT]):
    """A method at work on a pair of domains: networks, optimisers, data order and random state.

    `step()` trains once. `features(x)` and `predict(x)` show the networks as they would be used, without dropout,
    and change nothing: not the random state, not the batch-norm statistics.

    `ClassificationRun` and `SegmentationRun` say which networks there are (`_build`), and how they are applied.
    """

    CONFIG: ClassVar[type[RunConfig]] = RunConfig
    NETWORK_NAMES: ClassVar[tuple[str, ...]] = ()  # attributes that hold the networks
    OPTIMIZER_NAMES: ClassVar[tuple[str, ...]] = ()  # attributes that hold the optimisers
    STATE_NAMES: ClassVar[tuple[str, ...]] = ()  # attributes that hold plain values of the run's state
    config: ConfigT
    pseudo_labels: Tensor | None = None  # [N] of the target's training samples
    planned_steps: int | None = None  # where the settings say how long a run takes
    milestone: str | None = None  # what the last step completed, if it is worth a checkpoint of its own

    def __init__(self, method: str, step: Step, pair: Pair, config: RunConfig | None, settings: SettingsT):
        self.method, self._step, self.pair, self.settings = method, step, pair, settings
        self.reset(config or self.CONFIG())

    def reset(self, config: RunConfig | None = None) -> None:
        """Back to step 0, with a new `config` if one is given. The settings stay where they are.

        Raises:
            UserError: if the configuration is of another kind, or does not suit the pair.
        """
        config = config or self.config
        if type(config) is not self.CONFIG:
            if not issubclass(self.CONFIG, type(config)):
                raise UserError(f"{self.method} needs a {self.CONFIG.__name__} here, got a {type(config).__name__}")
            config = self.CONFIG(**vars(config))  # a more general one: the rest are defaults
        self.config = config  # type: ignore[assignment]
        self.steps, self.counts = 0, dict[str, int]()
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._rank, self._ranks = (distributed.rank(), distributed.ranks()) if several else (0, 1)
        device = torch.device(config.device)
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
        self._gpus = list[int]()  # the one that this run is on, if it is
        if device.type == "cuda":
            self._gpus.append(torch.cuda.current_device() if device.index is None else device.index)
        with torch.random.fork_rng(devices=self._gpus):
            torch.manual_seed(config.seed)
            self._build()
            self._random_state = self._get_random_state()
        self._batches = Batches(self.pair, config.batch_size, config.seed, self._rank, self._ranks)

    def _build(self) -> None:
        """Make the networks and their optimisers, as `self.config` has them."""
        raise NotImplementedError

    # -- training ------------------------------------------------------------------------------------------------------

    def step(self) -> Record:
        """Train once, with the settings as they stand at this moment.

        Raises:
            FloatingPointError: if a loss is no longer finite.
            UserError: if a file of the batch cannot be read.
        """
        s = self.settings.snapshot()
        self._set_learning_rate(s)
        with self._own_random_state():
            found = self._step(self, s, self._next_batch())
            losses = {name: loss.item() for name, loss in found.items() if isinstance(loss, Tensor)}
        if self._ranks > 1:
            networks = [getattr(self, name) for name in self.NETWORK_NAMES]
            distributed.average_([statistic for net in networks for statistic in trained_statistics(net)])
            losses = distributed.average(losses)
        self.steps += 1
        for name, value in losses.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"step {self.steps}: {name} is {value}; lower learning_rate ({s.learning_rate:g}) or Reset"
                )
        return Record(self.steps, losses, dict(self.counts), s)

    def _set_learning_rate(self, s: SettingsT) -> None:
        for name in self.OPTIMIZER_NAMES:
            for group in getattr(self, name).param_groups:
                group["lr"] = s.learning_rate

    # -- applying the networks, without changing anything --------------------------------------------------------------

    def features(self, x: Samples, domain: str = "target") -> Tensor:
        """The features of inputs x [N, ...] of this domain, as used at test time."""
        raise NotImplementedError

    def predict(self, x: Samples, domain: str = "target") -> tuple[Tensor, ...]:
        """The logits of each head. The predicted class is the argmax of their sum."""
        raise NotImplementedError

    # -- saving --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit: tensors and plain values only."""
        return {
            "method": self.method,
            "pair": self.pair.name,
            "classes": list(self.pair.classes),
            "config": dataclasses.asdict(self.config),
            "settings": dataclasses.asdict(self.settings),
            "steps": self.steps,
            "counts": dict(self.counts),
            **{name: getattr(self, name).state_dict() for name in self.NETWORK_NAMES + self.OPTIMIZER_NAMES},
            **{name: copy.copy(getattr(self, name)) for name in self.STATE_NAMES},
            "pseudo_labels": self.pseudo_labels,
            "random_state": self._random_state,
            "batches": self._batches.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state. `checkpoints.load` checks first that it belongs to this method and pair.

        Raises:
            KeyError, TypeError, RuntimeError, UserError: if the state does not fit this run.
        """
        if state["steps"] < 0:
            raise UserError(f"steps is {state['steps']}")
        self.reset(self.CONFIG(**state["config"] | {"weights": "none"}))  # the file that they started from may be gone
        self.config = dataclasses.replace(self.config, weights=state["config"]["weights"])
        self.settings = type(self.settings)(**state["settings"])
        self.steps, self.counts = state["steps"], dict(state["counts"])
        for name in self.NETWORK_NAMES:
            getattr(self, name).load_state_dict(state[name])
        for name in self.OPTIMIZER_NAMES:
            _load_optimizer(getattr(self, name), state[name])
        for name in self.STATE_NAMES:
            setattr(self, name, copy.copy(state[name]))
        torch.Generator().set_state(state["random_state"][0])  # fails now where the next step would
        self.pseudo_labels, self._random_state = state["pseudo_labels"], state["random_state"]
        if self.pseudo_labels is not None:
            if self.pseudo_labels.shape != (len(self.pair.target_train),) or not (
                0 <= self.pseudo_labels.min() <= self.pseudo_labels.max() < len(self.pair.classes)
            ):
                raise UserError("the pseudo-labels are not those of this target")
            self.pseudo_labels = self.pseudo_labels.to(self.config.device)
        self._batches.load_state_dict(state["batches"])

    # -- data, random state, precision ---------------------------------------------------------------------------------

    def _next_batch(self) -> Batch:
        batch, device = next(self._batches), self.config.device
        return Batch(batch.x_s.to(device), batch.y_s.to(device), batch.x_t.to(device), batch.i_t)

    @contextmanager
    def _own_random_state(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=self._gpus):
            torch.set_rng_state(self._random_state[0])
            for gpu, state in zip(self._gpus, self._random_state[1:], strict=True):
                torch.cuda.set_rng_state(state, gpu)
            self._passes = itertools.count()
            yield
            self._random_state = self._get_random_state()

    @contextmanager
    def _noise_of_device(self) -> Iterator[None]:
        """Random numbers of this device alone, by seed, step, pass and rank; those of all are as if none were drawn."""
        with torch.random.fork_rng(devices=self._gpus):
            torch.manual_seed(seed_of(self.config.seed, self.steps, next(self._passes), self._rank))
            yield

    def _get_random_state(self) -> list[Tensor]:
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self._gpus)]


@dataclass(frozen=True)
class Method:
    """A method by its name. Called with a pair of domains, it makes a run: `CGDM(task.pair, beta=0.1)`."""

    name: str
    step: Step
    settings: type[Settings]
    run: type[Run]
    of_pixels: "Method | None" = None  # its form for pairs whose pixels have labels, where it has both
    defaults: Callable[[RunConfig], dict[str, float]] = lambda config: {}  # settings that depend on the configuration

    def __call__(self, pair: Pair, config: RunConfig | None = None, **settings: float) -> Any:
        """A run of this method on `task.pair`; config and settings start at their defaults where they are not given.

        Raises:
            UserError: for a pair, a configuration or settings that do not suit the method.
        """
        method = self.of_pixels if pair.dense and self.of_pixels else self
        config, live = config or method.run.CONFIG(), method.settings()
        for name, value in (method.defaults(config) | settings).items():
            setattr(live, name, value)
        return method.run(method.name, method.step, pair, config, live)


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Give an optimiser saved moments and learning rates; its other options stay its own.

    Fused optimisers take on trust that moments have the shape and the strides of their weights, of which the strides
    may have changed, and write outside of them where they have not.
    """
    groups = zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
    optimizer.load_state_dict({"state": saved["state"], "param_groups": [g | {"lr": s["lr"]} for g, s in groups]})
    known = {"step", "exp_avg", "exp_avg_sq"} if isinstance(optimizer, torch.optim.Adam) else {"momentum_buffer"}
    for parameter, moments in optimizer.state.items():
        if moments.keys() != known:
            raise UserError(f"an optimiser's moments are {', '.join(moments)}, not {', '.join(sorted(known))}")
        for name, moment in moments.items():
            if moment is None:  # of SGD without momentum
                continue
            if moment.shape != (() if name == "step" else parameter.shape):
                raise UserError(f"{name} of an optimiser has the shape {list(moment.shape)}, not that of its weight")
            moments[name] = torch.empty_like(parameter).copy_(moment) if moment.ndim else moment


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A short name for exactly these tensors."""
    parts = (name.encode() + tensor.cpu().contiguous().numpy().tobytes() for name, tensor in tensors.items())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the former mode after."""
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
