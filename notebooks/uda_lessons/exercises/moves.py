"""A training step, move by move: which optimiser steps, and which losses its gradient is made of."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from uda_core.run import Run, Settings
from uda_core.samples import Batch
from uda_lessons.exercises.exercise import NotYetError
from uda_lessons.exercises.relations import miscounted, shares

Losses = Callable[[Run, Batch], tuple[dict[str, Tensor], dict[str, Tensor]]]  # what moves are made of; what by mistake
Move = tuple[str, dict[str, float]]  # an optimiser, and how often each loss counts in its gradient


def refuse_leftovers(run: Run, s: Settings, before: Settings) -> None:
    """See that a step leaves nothing behind but weights that have moved.

    Raises:
        NotYetError: for a frozen weight, and for settings that are no longer those of `before`.
    """
    if s != before:
        raise NotYetError("your step changes s: these are the sliders, and the next step reads them again.")
    frozen = [name for name, weights in _weights(run).items() if not all(p.requires_grad for p in weights)]
    if frozen:
        raise NotYetError(
            f"your step leaves the weights of {' and '.join(frozen)} frozen, so that the next step stops at them. "
            "`update` moves nothing but its optimisers' weights: there is nothing to freeze."
        )


def first_other_move(
    reference: Callable, losses: Losses, stages: Sequence[str], why: Mapping[str, str], left: str
) -> Callable[..., str]:
    """An `explain`: the first move of an answer that is not the reference's.

    Args:
        stages: what each move belongs to; the last one goes on.
        why: reasons, by stage and optimiser or loss: {"B, heads_opt": "..."}.
        left: what to say where every move is right.
    """

    def explain(answer: Callable, run: Run, s: Settings, batch: Batch) -> str:
        again = copy.deepcopy((run, s, batch))
        yours, right = _moves(answer, losses, run, s, batch), _moves(reference, losses, *again)
        stages_ = [stages[min(i, len(stages) - 1)] for i in range(len(right))]
        for i, (move, wanted, stage) in enumerate(zip(yours, right, stages_)):  # noqa: B905
            if _other(move, wanted):
                if i + 1 < len(right) and not _other(move, right[i + 1]):
                    return f"the move of {wanted[0]} in {stage} is missing."
                words, subject = _other(move, wanted)
                return f"in {stage}, {words}{why.get(f'{stage}, {subject}', '')}."
        if len(yours) < len(right):
            return f"your step makes {len(yours)} moves: {stages_[len(yours)]} is missing, or should run more often."
        return left if len(yours) == len(right) else f"your step goes on after its end: {_in_words(yours[len(right)])}."

    return explain


def _other(yours: Move, wanted: Move) -> tuple[str, str] | None:
    """What is wrong with a move, and with which optimiser or loss; None if nothing is."""
    (optimizer, follows), (right_optimizer, right) = yours, wanted
    if optimizer != right_optimizer:
        return f"{right_optimizer} should move, but you have {_in_words(yours)}", optimizer
    if not follows:
        return f"{optimizer} follows something else than a sum of {' and '.join(right)}", ""
    if not any(follows.values()):
        return f"{optimizer} follows no loss, and nothing moves", ""
    found = miscounted(follows, right)
    return found and (found[1], found[0])


def _in_words(move: Move) -> str:
    parts = " ".join(f"{share:+g} {name}" for name, share in move[1].items() if share)
    return f"{move[0]} following {parts or 'something else'}"


def _moves(step: Callable, losses: Losses, run: Run, s: Settings, batch: Batch) -> list[Move]:
    """Every move of a step. An update of two optimisers takes both gradients before either moves.

    So a gradient is looked for among those of the losses as they are and as they were before the last move: as a sum of
    the right ones, or with one mistaken one, of as few as will do.
    """
    made, known, weights = list[Move](), list[dict[str, dict[str, Tensor]]](), _weights(run)

    def note(name: str, *_: object) -> None:
        gradient = _flat([torch.zeros_like(p) if p.grad is None else p.grad for p in weights[name]])
        for p in chain(*weights.values()):
            p.requires_grad_()
        right, mistaken = losses(run, batch)
        found = {**right, **mistaken}
        known.append({of: {n: _gradient(loss, ps) for n, loss in found.items()} for of, ps in weights.items()})
        chosen = [[*right], *([*right, extra] for extra in mistaken)]
        sums = (shares(gradient, parts[name], names) for names in chosen for parts in known[:-3:-1])
        made.append((name, min(filter(None, sums), key=lambda c: sum(map(bool, c.values())), default={})))

    for name in weights:
        getattr(run, name).register_step_pre_hook(partial(note, name))
    step(run, s, batch)
    return made


def _weights(run: Run) -> dict[str, list[Tensor]]:
    groups = {name: getattr(run, name).param_groups for name in run.OPTIMIZER_NAMES}
    return {name: [p for group in of for p in group["params"]] for name, of in groups.items()}


def _gradient(loss: Tensor, weights: list[Tensor]) -> Tensor:
    return _flat(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True))


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradients]).double()
