"""Target beside yours: what a wrong answer of the right shape looks like."""

from collections.abc import Callable

from matplotlib.figure import Figure
from torch import Tensor

from uda_lessons.board import figures


def bars(title: str, sample: str = "sample") -> Callable[[Tensor, Tensor], Figure]:
    """A picture of two vectors of one length: a pair of bars per element."""

    def picture(target: Tensor, yours: Tensor) -> Figure:
        figure = figures.new_figure(6, 2.2)
        axis = figure.add_subplot()
        places = range(len(target))
        axis.bar([i - 0.2 for i in places], target.tolist(), 0.38, color=figures.CONTROL, label="target")
        axis.bar([i + 0.2 for i in places], yours.tolist(), 0.38, color=figures.ACCENT, label="yours")
        axis.set(xticks=list(places), xlabel=sample, title=title)
        axis.legend()
        return figure

    return picture
