"""What a wrong value has to do with the right one, in words that are true in every test case."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from math import isclose, log

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[Tensor, Tensor]  # target and yours, of one test case, without NaN
Sizes = Mapping[str, int]  # of the arguments of one test case: {"z.shape[1]": 4}
Function = Callable[[Tensor], Tensor]


def _over(name: str, d: int, t: Tensor) -> Tensor:
    """`t.sum(d)` and its like, of a tensor that has a dimension d."""
    if t.dim() <= d:  # torch takes dimension 0 of a single number too
        raise IndexError(d)
    return getattr(t, name)(d)


OF: dict[str, Function] = {
    "minus {}": torch.neg,
    "1 minus {}": lambda t: 1 - t,
    "the square of {}": torch.square,
    "the square root of {}": torch.sqrt,
    "the absolute value of {}": torch.abs,
    "the positive part of {}": torch.relu,
    "exp of {}": torch.exp,
    "log of {}": torch.log,
    "1 / {}": torch.reciprocal,
    "{} transposed": lambda t: t.transpose(-2, -1),
    "{} from the last row to the first": lambda t: t.flip(0),
    "{} with rows scaled to length 1": lambda t: F.normalize(t, dim=1),
    "the first entry of {}": lambda t: t[0],
    "{} without its last entry": lambda t: t[:-1],
    "the sum of all numbers of {}": torch.sum,
    "the mean of all numbers of {}": torch.mean,
    **{
        f"the {name} over dimension {d} of {{}}": partial(_over, name, d)
        for name in ("sum", "mean", "argmax", "argmin", "amax")
        for d in range(3)
    },
}
TOGETHER: dict[str, Function] = {  # done to both, it makes them equal
    "the numbers are right, but not their order": lambda t: t.flatten().sort().values,
    "each row points the right way, but its length is wrong: look at what it is divided by": lambda t: F.normalize(
        t, dim=1
    ),
}
INSTEAD: dict[str, Function] = {  # of an argument
    "{}.softmax(1)": lambda x: x.softmax(1),
    "{}.softmax(0)": lambda x: x.softmax(0),
    "{}.log_softmax(1)": lambda x: x.log_softmax(1),
    "{}.sigmoid()": torch.sigmoid,
    "{}.exp()": torch.exp,
    "{}.abs()": torch.abs,
    "{}.square()": torch.square,
    "-{}": torch.neg,
    "{}.mT": lambda x: x.mT,
    "{}.mean(0)": lambda x: x.mean(0, keepdim=True),
    "{0} - {0}.mean(0)": lambda x: x - x.mean(0),
    "{}[:1]": lambda x: x[:1],
    "{}[:-1]": lambda x: x[:-1],
    "{}[1:]": lambda x: x[1:],
    "F.normalize({}, dim=1)": lambda x: F.normalize(x, dim=1),
    "F.normalize({}, dim=0)": lambda x: F.normalize(x, dim=0),
    "F.one_hot({}.argmax(1))": lambda x: F.one_hot(x.argmax(1), x.shape[1]).to(x.dtype),
}
FITTED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {  # c, and with it
    "the target times {}": (lambda t, y: (t * y).sum() / (t * t).sum().clamp_min(1e-30), lambda t, c: t * c),
    "the target plus {}": (lambda t, y: (y - t).mean(), lambda t, c: t + c),
    "{} minus the target": (lambda t, y: (y + t).mean(), lambda t, c: c - t),
}
SIZED: dict[str, Callable[[float], float]] = {
    "{}": lambda n: n,
    "1 / {}": lambda n: 1 / n,
    "{} / 2": lambda n: n / 2,
    "2 / {}": lambda n: 2 / n,
    "log({})": log,
    "1 / log({})": lambda n: 1 / log(n) if n > 1 else 0,
    "sqrt({})": lambda n: n**0.5,
    "1 / sqrt({})": lambda n: n**-0.5,
}
BASES = {1 / log(2): ", as with log2 in place of log", 1 / log(10): ", as with log10 in place of log"}


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether both are of one shape and equal, NaN included; `tolerance` is relative and absolute."""
    return a.shape == b.shape and torch.allclose(a, b, tolerance, tolerance, equal_nan=True)


def shares(vector: Tensor, parts: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, float] | None:
    """How often each of the named parts, [n] each, is in `vector`, by least squares; None if it is no sum of them."""
    names = list(names)
    matrix = torch.stack([parts[name] for name in names])
    if not (matrix.isfinite().all() and vector.isfinite().all()):
        return None
    found = torch.linalg.lstsq(matrix.T, vector[:, None], driver="gelsd").solution[:, 0]
    fits = (vector - found @ matrix).norm() <= 1e-3 * vector.norm()
    return {name: round(c, 2) + 0.0 for name, c in zip(names, found.tolist(), strict=True)} if fits else None


def miscounted(found: Mapping[str, float], right: Mapping[str, float]) -> tuple[str, str] | None:
    """The first part that does not count as often as it should, a surplus one first: its name, and words."""
    for name in sorted(found, key=lambda name: name in right):
        if (expected := right.get(name, 0.0)) != found[name]:
            return name, f"the {name} counts {found[name]:g} times, expected {expected:g}"
    return None


def relation(pairs: Sequence[Pair], sizes: Sequence[Sizes], tolerance: float) -> str | None:
    """One sentence that holds for all pairs; None if none is known."""

    def holds(of_target: Function, of_yours: Function) -> bool:
        try:
            return all(close(of_target(t).double(), of_yours(y).double(), tolerance) for t, y in pairs)
        except (RuntimeError, IndexError):  # no such dimension
            return False

    def found(functions: Mapping[str, Function]) -> str | None:
        for words, function in functions.items():
            if holds(function, torch.clone):
                return f"yours is {words.format('the target')}."
            if holds(torch.clone, function):
                return f"the target is {words.format('yours')}."
        return None

    one = pairs[0][1].flatten()[:1].sum()
    if sum(y.numel() for _, y in pairs) > 1 and holds(torch.zeros_like, lambda y: y - one):
        return f"yours is {one:.4g} everywhere, whatever comes in."
    if holds(torch.flatten, torch.flatten):
        target, yours = pairs[0]
        return f"the numbers are right, but in shape {list(yours.shape)}: expected {list(target.shape)}."
    together = (f"{words}." for words, function in TOGETHER.items() if holds(function, function))
    return found(OF) or _fitted(pairs, sizes, tolerance) or next(together, None)


def _fitted(pairs: Sequence[Pair], sizes: Sequence[Sizes], tolerance: float) -> str | None:
    """Yours by the target and one constant: a number, or a formula in a size of the arguments."""
    if any(t.shape != y.shape for t, y in pairs):
        return None
    for words, (fit, apply) in FITTED.items():
        constants = [fit(t, y) for t, y in pairs]
        if all(close(apply(t, c), y, tolerance) for (t, y), c in zip(pairs, constants, strict=True)):
            telling = [t.any() or "times" not in words for t, _ in pairs]  # any multiple of 0 is 0
            known = [(c.item(), n) for c, n, tells in zip(constants, sizes, telling, strict=True) if tells]
            numbers = sum(t.numel() for (t, _), tells in zip(pairs, telling, strict=True) if tells)
            if known and (text := _constant(known, proven=numbers > 1)):
                return f"yours is {words.format(text)}."
    return None


def _constant(fitted: Sequence[tuple[float, Sizes]], proven: bool) -> str | None:
    """One text for the constants of all cases. If they are of one number only, it must be a simple one."""
    (first, sizes), *_ = fitted
    shared = [name for name in sizes if all(name in others for _, others in fitted)]
    sized = (
        sign + form.format(name)
        for (form, function), name, sign in product(SIZED.items(), shared, ("", "-"))
        if all(isclose(c, float(f"{sign}1") * function(n[name]), rel_tol=1e-4) for c, n in fitted)
    )
    symbol = next(sized, None)
    same = all(isclose(c, first, rel_tol=1e-3) for c, _ in fitted)
    if not same or not (proven or symbol or isclose(2 * first, round(2 * first), rel_tol=1e-5)):
        return symbol
    base = next((words for ratio, words in BASES.items() if isclose(first, ratio, rel_tol=1e-4)), "")
    return f"{first:.4g}{base}" + (f", which is {symbol}" if symbol else "")
