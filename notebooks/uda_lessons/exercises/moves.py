"""A training step, move by move: which optimiser steps, and which losses its gradient is made of."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest

import torch
from torch import Tensor

from uda_core.run import Run, Settings
from uda_core.samples import Batch
from uda_lessons.exercises.exercise import NotYetError

Losses = Callable[[Run, Batch], Mapping[str, Tensor]]  # what a gradient may be made of
Move = tuple[
    str, dict[str, float] | None
]  # an optimiser, and how often each loss is in its gradient; None: it is another


def refuse_leftovers(run: Run, s: Settings, before: Settings) -> None:
    """Raise what a step has left behind, though it moved the right weights.

    Raises:
        NotYetError: for a frozen weight, and for settings that are no longer those of `before`.
    """
    if s != before:
        raise NotYetError("your step changes s: these are the sliders, and the next step reads them again.")
    for name in run.OPTIMIZER_NAMES:
        if not all(p.requires_grad for p in _weights(run, name)):
            raise NotYetError(
                f"your step leaves weights of {name} frozen, requires_grad = False, so that the next step stops there. "
                "`update` moves nothing but its optimisers' weights: there is nothing to freeze."
            )


def first_other_move(reference: Callable, losses: Losses) -> Callable[..., str]:
    """An `explain`: the first move of an answer that is not the reference's."""

    def explain(answer: Callable, run: Run, s: Settings, batch: Batch) -> str:
        again = copy.deepcopy((run, s, batch))
        yours, right = _moves(answer, losses, run, s, batch), _moves(reference, losses, *again)
        for i, (move, wanted) in enumerate(zip_longest(yours, right), 1):
            if reason := _other(move, wanted):
                return f"move {i} of your step: {reason}."
        return "each move is right, but something is left changed that the next step feels: a mode, a learning rate."

    return explain


def _other(yours: Move | None, wanted: Move | None) -> str | None:
    """What is wrong with a move, in words; None if nothing is."""
    if yours is None or wanted is None or yours[0] != wanted[0]:
        return f"{_in_words(yours)}; expected {_in_words(wanted)}"
    (optimizer, shares), (_, right) = yours, wanted
    if shares is None or right is None:
        return f"{optimizer} follows something else than {_in_words(wanted)}"
    names = [name for name in right if abs(shares[name] - right[name]) > 0.01]
    return (
        "; ".join(f"the {n} counts {shares[n]:.2g} times, expected {right[n]:.2g}" for n in names)
        + (f" ({optimizer})" if names else "")
        or None
    )


def _in_words(move: Move | None) -> str:
    if move is None:
        return "none"
    optimizer, shares = move
    parts = (f"{share:+.2g} {name}" for name, share in (shares or {}).items() if abs(share) > 0.01)
    return f"{optimizer} down {' '.join(parts).removeprefix('+') or 'nothing'}"


def _moves(step: Callable, losses: Losses, run: Run, s: Settings, batch: Batch) -> list[Move]:
    """Every move of a step.

    An update of two optimisers takes both gradients before either moves, so the losses are tried as they are and as
    they were before the last move.
    """
    made, known = list[Move](), list[dict[str, Tensor]]()

    def note(name: str, *_: object) -> None:
        found = losses(run, batch)
        known.append({of: torch.stack([_gradient(loss, _weights(run, of)) for loss in found.values()]) for of in names})
        gradient = _flat([p.grad for p in _weights(run, name)], _weights(run, name))
        shares = (_shares(gradient, parts[name]) for parts in known[:-3:-1])
        fitting = next((c for c in shares if c is not None), None)
        made.append((name, fitting and dict(zip(found, fitting, strict=True))))

    names = run.OPTIMIZER_NAMES
    for name in names:
        getattr(run, name).register_step_pre_hook(partial(note, name))
    step(run, s, batch)
    return made


def _shares(gradient: Tensor, parts: Tensor) -> list[float] | None:
    """How often each of the parts [m, n] is in `gradient` [n], by least squares; None if it is no sum of them."""
    shares = torch.linalg.lstsq(parts.T, gradient[:, None], driver="gelsd").solution[:, 0]
    return shares.tolist() if (gradient - shares @ parts).norm() <= 1e-2 * gradient.norm() else None


def _gradient(loss: Tensor, weights: list[Tensor]) -> Tensor:
    return _flat(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True), weights)


def _flat(gradients: Sequence[Tensor | None], weights: list[Tensor]) -> Tensor:
    pairs = zip(gradients, weights, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]).double()


def _weights(run: Run, optimizer: str) -> list[Tensor]:
    return [p for group in getattr(run, optimizer).param_groups for p in group["params"]]
