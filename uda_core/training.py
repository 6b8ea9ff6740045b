"""Training is an iterator; whoever calls it owns the loop."""

from collections.abc import Iterator

from uda_core.methods.run import Record, Run


def fit(run: Run, steps: int) -> Iterator[Record]:
    """Train `steps` more steps, yielding each one's record.

    >>> for record in fit(run, 400):
    ...     print(record.step, record.losses)
    """
    for _ in range(steps):
        yield run.step()
