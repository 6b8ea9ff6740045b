"""What an exercise is, and how an answer is compared: by number, with the package's own function, with a reason."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product

import torch
from matplotlib.figure import Figure
from torch import Tensor

from uda_lessons.exercises.relations import INSTEAD, close, relation


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give: a function that gives it too, and the hint that they get."""

    wrong: Callable
    hint: str


def call(function: Callable, *arguments: object) -> object:
    """What a function returns."""
    return function(*arguments)


@dataclass(frozen=True)
class Exercise:
    """One function for the learner to write. Its solution is `reference`, the package's own function.

    A mistake is recognised by its value, or, where the value is right, by its gradient with respect to those arguments
    that require one, or by its error. So an answer's spelling does not matter, and a new mistake costs one line.
    """

    name: str
    reference: Callable
    cases: Callable[..., list[tuple]]  # of a seed, 0 in lessons: fresh float64 arguments; its docstring: "X; then Y."
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]  # from a nudge to nearly the answer
    right: str  # what to notice once the answer is right
    outcome: Callable[..., object] = call  # what is compared
    tolerance: float = 1e-6  # relative and absolute
    picture: Callable[[Tensor, Tensor], Figure] | None = None  # target beside yours, for a wrong answer of right shape
    also: tuple[tuple[Callable, str], ...] = ()  # other answers that are right, and what to say of each
    explain: Callable[..., str | None] = lambda function, *arguments: None  # where no mistake on the list fits


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
    whole: bool  # an integer tensor, as labels are
    gradients: tuple[Tensor, ...] | None  # with respect to the arguments that require one; None: detached
    overwritten: tuple[int, ...]  # the places of arguments that are no longer what they were

    def same_value(self, other: "Outcome", tolerance: float) -> bool:
        """Whether both values are of one shape and equal, NaN included."""
        return close(self.value, other.value, tolerance)

    def same(self, other: "Outcome", tolerance: float) -> bool:
        """Whether all else is equal too; having no gradient is as good as one of zeros."""
        mine, others = self.gradients, other.gradients
        if mine is None or others is None:
            alike = not any(g.any() for g in mine or others or ())
        else:
            alike = all(close(a, b, tolerance) for a, b in zip(mine, others, strict=True))
        beside = (self.whole, self.overwritten) == (other.whole, other.overwritten)
        return alike and beside and self.same_value(other, tolerance)


Attempt = Outcome | BaseException  # or the error that it stopped with


class NotYetError(Exception):
    """An `outcome` raises it for what it finds wrong by itself; its text is the reason that the learner gets."""


class NoTensorError(Exception):
    """An answer returned nothing, or something that is not a tensor; its text says which."""


def verdict_on(answer: object, exercise: Exercise) -> Verdict:
    """Compare `answer` with the package's own function, case by case. Whatever the answer does, nothing is raised."""
    if not callable(answer):
        return Verdict(False, not_a_function(answer))
    return judge(
        exercise,
        attempts_of(answer, exercise),
        names_of(answer, exercise),
        lambda case: explained(answer, exercise, case),
    )


def not_a_function(answer: object) -> str:
    """What to say of an answer that cannot be called."""
    return f"expected a function, got {_kind(answer)}; pass its name, without brackets."


def judge(
    exercise: Exercise, attempts: Sequence[Attempt], names: Sequence[str], explain: Callable[[int], str | None]
) -> Verdict:
    """A verdict on what an answer did in each case, without the answer itself.

    Args:
        names: of the arguments of a case.
        explain: what `exercise.explain` says of the answer in a case.
    """
    verdict = _verdict(exercise, attempts, names, explain)
    for other, remark in exercise.also:
        if not verdict:
            verdict = _verdict(replace(exercise, reference=other, right=remark), attempts, names, explain) or verdict
    return verdict


def _verdict(
    exercise: Exercise, attempts: Sequence[Attempt], names: Sequence[str], explain: Callable[[int], str | None]
) -> Verdict:
    for case, yours in enumerate(attempts):
        if reason := _difference(exercise, case, attempts, names, explain):
            target = _target(exercise, case)
            comparable = isinstance(yours, Outcome) and target.value.shape == yours.value.shape
            drawn = comparable and not yours.same_value(target, exercise.tolerance)
            return Verdict(False, reason, *((target.value, yours.value) if drawn else ()))
    return Verdict(True, exercise.right)


# -- what a function does ----------------------------------------------------------------------------------------------


def attempts_of(answer: Callable, exercise: Exercise) -> list[Attempt]:
    """What an answer does with each case."""
    return [_attempt(exercise, answer, case) for case in range(len(exercise.cases()))]


def _attempt(exercise: Exercise, function: Callable, case: int, change: Callable[[tuple], tuple] = tuple) -> Attempt:
    """Call `function` with arguments of its own, and the same random numbers each time.

    KeyboardInterrupt passes: with it one stops an answer that never ends.
    """
    arguments = change(exercise.cases()[case])
    untouched = [a.detach().clone() if isinstance(a, Tensor) else None for a in arguments]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            value = _tensor(exercise.outcome(function, *arguments))
        gradients = _gradients(value, [a for a in arguments if isinstance(a, Tensor) and a.requires_grad])
    except (Exception, SystemExit) as error:
        return error.with_traceback(None)
    pairs = enumerate(zip(arguments, untouched, strict=True))
    overwritten = tuple(i for i, (a, b) in pairs if b is not None and not torch.equal(a, b))
    whole = not (value.is_floating_point() or value.dtype == torch.bool)
    return Outcome(value.detach().double(), whole, gradients, overwritten)


_known = cache(_attempt)  # of the package's own function and of the mistakes


def _target(exercise: Exercise, case: int) -> Outcome:
    target = _known(exercise, exercise.reference, case)
    assert isinstance(target, Outcome), target
    return target


def _tensor(value: object) -> Tensor:
    if value is None or value is ...:
        raise NoTensorError("your function returns nothing so far")
    if not isinstance(value, list | tuple):
        with suppress(TypeError, ValueError, RuntimeError):
            return torch.as_tensor(value)
    raise NoTensorError(f"your function returns {_kind(value)}")


def _gradients(value: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...] | None:
    if not leaves or not value.requires_grad:
        return None
    uneven = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view_as(value)  # so that no element is hidden
    return torch.autograd.grad((uneven * value).sum(), leaves, allow_unused=True, materialize_grads=True)


# -- what is wrong with it ---------------------------------------------------------------------------------------------


def _difference(
    exercise: Exercise,
    case: int,
    attempts: Sequence[Attempt],
    names: Sequence[str],
    explain: Callable[[int], str | None],
) -> str | None:
    """What is wrong in this case, in words; None if nothing is."""
    target, yours, tolerance = _target(exercise, case), attempts[case], exercise.tolerance
    if isinstance(yours, Outcome) and yours.same(target, tolerance):
        return None
    right_value = isinstance(yours, Outcome) and yours.same_value(target, tolerance)
    fitting = [m for m in exercise.mistakes if _makes(exercise, m, case, yours)]
    for mistake in fitting:
        elsewhere = (_makes(exercise, mistake, i, y, if_finite=True) for i, y in enumerate(attempts) if i != case)
        if right_value or not isinstance(yours, Outcome) or all(elsewhere):
            return mistake.hint
    if isinstance(yours, NotYetError):
        return str(yours)
    if isinstance(yours, NoTensorError):
        reason = f"{yours}; expected a tensor of shape {list(target.value.shape)}."
    elif not isinstance(yours, Outcome):
        line = next(iter(str(yours).splitlines()), "no message")
        reason = f"your function stops with {type(yours).__name__}: {line}"
    elif right_value:
        reason = _beside_the_value(target, yours, names, exercise.cases()[case])
    elif words := explain(case) or _relation(exercise, attempts, names, range(len(attempts))):
        return words
    elif fitting:  # in this case, if not in all
        return fitting[0].hint
    else:
        reason = _relation(exercise, attempts, names, [case]) or _numbers(target, yours, tolerance)
    if not case:
        return reason
    places = (inspect.getdoc(exercise.cases) or "").partition("\n")[0].rstrip(".").split("; then ")
    place = f" ({places[case]})" if case < len(places) else ""
    return f"right so far, but not in test case {case + 1}{place}: {reason}"


def explained(answer: Callable, exercise: Exercise, case: int) -> str | None:
    """What the exercise itself says of an answer in a case, in words."""
    with suppress(Exception, SystemExit):  # it is called once more, and need not do the same again
        return exercise.explain(answer, *exercise.cases()[case])
    return None


def _makes(exercise: Exercise, mistake: Mistake, case: int, yours: Attempt, if_finite: bool = False) -> bool:
    """Whether the mistake gives what the answer gives; where the value is right, also in all else."""
    made = _known(exercise, mistake.wrong, case)
    if if_finite and not (_is_finite(made) and _is_finite(yours)):
        return True
    if not isinstance(yours, Outcome) or not isinstance(made, Outcome):
        return (type(made).__name__, str(made)) == (type(yours).__name__, str(yours))
    right = yours.same_value(_target(exercise, case), exercise.tolerance)
    return (yours.same if right else yours.same_value)(made, exercise.tolerance)


def _is_finite(attempt: Attempt) -> bool:
    return isinstance(attempt, Outcome) and bool(attempt.value.isfinite().all())


def _beside_the_value(target: Outcome, yours: Outcome, names: Sequence[str], arguments: tuple) -> str:
    if yours.whole != target.whole:
        return "the numbers are right, but a label is a whole number: return an integer tensor, as argmax does."
    if yours.overwritten:
        written = " and ".join(names[i] for i in yours.overwritten)
        return f"the value is right, but your function writes into {written}, which others still need: work on a copy."
    if yours.gradients is None:
        return "the value is right, but no gradient flows through it: something is detached, or no longer a tensor."
    if not all(g.isfinite().all() for g in yours.gradients):
        return "the value is right, but its gradient holds NaN or infinity: look at log(0) in what you differentiate."
    leaves = [name for name, a in zip(names, arguments, strict=True) if isinstance(a, Tensor) and a.requires_grad]
    found = zip(leaves, target.gradients or (), yours.gradients, strict=True)
    if lost := [name for name, wanted, g in found if wanted.any() and not g.any()]:
        return f"the value is right, but no gradient reaches {' and '.join(lost)}: it is detached."
    return "the value is right, but its gradient is not: part of it is detached, or goes through a constant."


def _relation(exercise: Exercise, attempts: Sequence[Attempt], names: Sequence[str], of: Sequence[int]) -> str | None:
    """What the answer has to do with the right one, in those cases `of` in which it gives finite numbers."""
    cases = exercise.cases()
    finite = {i: y.value for i in of if isinstance(y := attempts[i], Outcome) and y.value.isfinite().all()}
    pairs, single = (
        [(_target(exercise, i).value, y) for i, y in finite.items()],
        sum(y.numel() for y in finite.values()),
    )
    tolerance = exercise.tolerance if single > 1 else 1e-6  # one number proves little, so it has to fit well
    tensors = [{name: a for name, a in zip(names, cases[i], strict=True) if isinstance(a, Tensor)} for i in finite]
    sizes = [{f"{name}.shape[{d}]": n for name, a in all_.items() for d, n in enumerate(a.shape)} for all_ in tensors]
    sizes = [
        of | {f"{name}.numel()": a.numel() for name, a in all_.items()} for of, all_ in zip(sizes, tensors, strict=True)
    ]
    if not pairs or (words := relation(pairs, sizes, tolerance)):
        return words if pairs else None
    matrices = [i for i, a in enumerate(cases[0]) if isinstance(a, Tensor) and a.is_floating_point() and a.dim() > 1]
    for place, (words, function) in product(matrices, INSTEAD.items()):

        def change(arguments: tuple, place: int = place, function: Callable = function) -> tuple:
            return *arguments[:place], function(arguments[place]), *arguments[place + 1 :]

        made = {i: _attempt(exercise, exercise.reference, i, change) for i in finite}
        if all(isinstance(m, Outcome) and close(m.value, finite[i], tolerance) for i, m in made.items()):
            other = words.format(names[place])
            return f"yours is what the right formula gives for {other} in place of {names[place]}."
    return None


def names_of(answer: Callable, exercise: Exercise) -> list[str]:
    """What the arguments of a test case are called: by the outcome, or by the answer itself."""
    arguments = len(exercise.cases()[0])
    for function, skipped in ((exercise.outcome, 1), (answer, 0)):
        with suppress(TypeError, ValueError):
            names = [p.name for p in inspect.signature(function).parameters.values() if p.kind != p.VAR_POSITIONAL]
            if len(names) == skipped + arguments:
                return names[skipped:]
    return [f"argument {i + 1}" for i in range(arguments)]


def _numbers(target: Outcome, yours: Outcome, tolerance: float) -> str:
    """The plain difference."""
    t, y = target.value, yours.value
    if y.shape != t.shape:
        how = {-1: ": a dimension is gone that should stay.", 0: ".", 1: ": a dimension is left that should go."}
        return f"expected shape {list(t.shape)}, got {list(y.shape)}{how[(y.dim() > t.dim()) - (y.dim() < t.dim())]}"
    if not y.isfinite().all():
        return "the result holds NaN or infinity: look for log(0), 0/0 and overflow."
    if t.numel() == 1:
        return f"expected {t.item():.4f}, got {y.item():.4f}."
    wrong = ~torch.isclose(y, t, tolerance, tolerance)
    text = f"the shape is right, but {wrong.double().mean():.0%} of the numbers are not"
    rows = ", ".join(map(str, (~wrong.flatten(1).any(1)).nonzero().flatten().tolist())) if t.dim() == 2 else ""
    if target.whole:  # labels: what they are, and what they should be, if that is one thing
        kinds = (("should all be", t[wrong].unique()), ("are all", y[wrong].unique()))
        text += "".join(f"; these {words} {labels[0]:g}" for words, labels in kinds if len(labels) == 1)
    return f"{text}; rows {rows} are right." if rows else f"{text}."


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
