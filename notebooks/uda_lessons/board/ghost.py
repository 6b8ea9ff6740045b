"""The run before the last Reset: what the page keeps of it in grey, behind and beside the new one."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from uda_core.run import Record, Run
from uda_lessons.board import figures
from uda_lessons.board.loop import Frame

MOST = 300  # records kept for the grey curves
CURVES = {name: number["curve"] for name, number in figures.NUMBERS.items() if "curve" in number}


@dataclass(frozen=True)
class Ghost:
    """A run's curves, last numbers and scores, and what it was trained with. The messages' shapes are the page's."""

    records: list[list]  # [step, losses]
    gap: list[list]  # [step, numbers of `CURVES`], where they were measured
    step: int
    numbers: dict[str, float]
    scores: dict | None  # of the last frame, if they were revealed
    values: dict[str, float]  # settings of the last step, and dials
    seed: int

    @classmethod
    def of(
        cls,
        run: Run,
        records: Sequence[Record],
        film: Sequence[Frame],
        scores: dict | None,
        dials: dict[str, float],
    ) -> "Ghost":
        """What is kept of a run that has trained and is about to be reset; `dials` as they stood when it trained."""
        every = -(-len(records) // MOST)
        gap: dict[int, dict[str, float]] = {}
        for frame, (name, curve) in itertools.product(film, CURVES.items()):
            if name in frame.numbers:
                gap.setdefault(getattr(frame, curve), {})[name] = frame.numbers[name]
        return cls(
            records=[[r.step, r.losses] for r in records[(len(records) - 1) % every :: every]],  # the last one is there
            gap=[list(point) for point in sorted(gap.items())],
            step=records[-1].step,
            numbers=film[-1].numbers,
            scores=scores,
            values=dataclasses.asdict(records[-1].settings) | dials,
            seed=run.config.seed,
        )

    def message(self) -> dict:
        """To the page."""
        kept = ("records", "gap", "step", "numbers", "scores")
        return {"do": "ghost"} | {name: getattr(self, name) for name in kept}

    def changed(self, new: dict[str, float], seed: int) -> str:
        """What differs in these values and this seed, such as "beta 0.1 -> 0, seed 0 -> 3"."""
        old = self.values
        differ = [f"{name.replace('_', ' ')} {old[name]:g} -> {new[name]:g}" for name in new if old[name] != new[name]]
        return ", ".join(differ + [f"seed {self.seed} -> {seed}"] * (self.seed != seed))
