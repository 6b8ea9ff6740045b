"""What an exercise is, and how an answer is compared: by number, with the package's own function, with a reason."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from matplotlib.figure import Figure
from torch import Tensor


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give: a function that gives it too, and the hint that they get."""

    wrong: Callable
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One function for the learner to write. Its solution is `reference`, the package's own function.

    A mistake is recognised by its value, or, where the value is right, by its gradient with respect to those arguments
    that require one. So an answer's spelling does not matter, and a new mistake costs one line.
    """

    name: str
    reference: Callable
    cases: Callable[[], list[tuple]]  # arguments, made afresh at each call, in float64; the plainest case first
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]  # from a nudge to nearly the answer
    right: str  # what to notice once the answer is right
    outcome: Callable[..., object] = lambda function, *arguments: function(*arguments)  # what is compared
    tolerance: float = 1e-6  # relative and absolute
    picture: Callable[[Tensor, Tensor], Figure] | None = None  # target beside yours, for a wrong answer of right shape


@dataclass(frozen=True)
class Verdict:
    """What `check` found: true if the answer is right, and one line that says why."""

    right: bool
    reason: str
    target: Tensor | None = field(default=None, repr=False)  # both set where they can be drawn side by side
    yours: Tensor | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return f"{'Correct' if self.right else 'Not yet'}: {self.reason}"

    def _ipython_display_(self) -> None:
        """Nothing: `check` has printed the line."""


@dataclass(frozen=True)
class Outcome:
    """What a function did with one case."""

    value: Tensor  # float64, without its graph
    gradients: tuple[Tensor, ...] | None  # with respect to the arguments that require one; None: detached

    def same_value(self, other: "Outcome", tolerance: float) -> bool:
        """Whether both values are of one shape and equal, NaN included."""
        return _close(self.value, other.value, tolerance)

    def same_gradients(self, other: "Outcome", tolerance: float) -> bool:
        """Whether both gradients are equal, or both values detached."""
        if self.gradients is None or other.gradients is None:
            return self.gradients is other.gradients
        return all(_close(a, b, tolerance) for a, b in zip(self.gradients, other.gradients, strict=True))


def verdict_on(answer: object, exercise: Exercise) -> Verdict:
    """Compare `answer` with the package's own function, case by case. Whatever the answer does, nothing is raised."""
    if not callable(answer):
        return Verdict(False, f"expected a function, got {_kind(answer)}; pass its name, without brackets.")
    for case in range(len(exercise.cases())):
        target = _outcome(exercise, exercise.reference, case)
        try:
            yours = _outcome(exercise, answer, case)
        except _NothingToCompareError as problem:
            return Verdict(False, f"{problem}; expected a tensor of shape {list(target.value.shape)}.")
        except Exception as error:
            line = next(iter(str(error).splitlines()), "")
            return Verdict(False, f"your function stops with {type(error).__name__}: {line}")
        if reason := _difference(exercise, case, target, yours):
            comparable = target.value.shape == yours.value.shape and not yours.same_value(target, exercise.tolerance)
            return Verdict(False, reason, *((target.value, yours.value) if comparable else ()))
    return Verdict(True, exercise.right)


class _NothingToCompareError(Exception):
    pass


def _outcome(exercise: Exercise, function: Callable, case: int) -> Outcome:
    """Call `function` with arguments of its own and the same random numbers each time."""
    arguments = exercise.cases()[case]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        value = exercise.outcome(function, *arguments)
    if value is None or value is ...:
        raise _NothingToCompareError("your function returns nothing so far")
    try:
        value = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise _NothingToCompareError(f"your function returns {_kind(value)}") from None
    leaves = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    gradients = None
    if leaves and value.requires_grad:
        uneven = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view_as(value)  # so that no element is hidden
        gradients = torch.autograd.grad((uneven * value).sum(), leaves, allow_unused=True, materialize_grads=True)
    return Outcome(value.detach().double(), gradients)


def _difference(exercise: Exercise, case: int, target: Outcome, yours: Outcome) -> str | None:
    """What is wrong, in words; None if nothing is."""
    tolerance = exercise.tolerance
    right_value = yours.same_value(target, tolerance)
    if right_value and yours.same_gradients(target, tolerance):
        return None
    for mistake in exercise.mistakes:
        try:
            made = _outcome(exercise, mistake.wrong, case)
        except Exception:  # this mistake cannot be made on this case
            continue
        if yours.same_value(made, tolerance) and (not right_value or yours.same_gradients(made, tolerance)):
            return mistake.hint
    if right_value and yours.gradients is None:
        return "the value is right, but no gradient flows through it: something is detached, or no longer a tensor."
    if right_value and not all(g.isfinite().all() for g in yours.gradients):
        return "the value is right, but its gradient holds NaN or infinity: look at log(0) in what you differentiate."
    if right_value:
        return "the value is right, but its gradient is not: part of it is detached, or goes through a constant."
    if yours.value.shape != target.value.shape:
        return f"expected shape {list(target.value.shape)}, got {list(yours.value.shape)}."
    if not yours.value.isfinite().all():
        return "the result holds NaN or infinity: look for log(0), 0/0 and overflow."
    if target.value.numel() == 1:
        return f"expected {target.value.item():.4f}, got {yours.value.item():.4f}."
    share = (~torch.isclose(yours.value, target.value, tolerance, tolerance)).double().mean().item()
    return f"the shape is right, but {share:.0%} of the numbers are not."


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, tolerance, tolerance, equal_nan=True)


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
