"""The live board: watch a run train, and take part.

>>> board = Board(methods.CGDM(task.pair), controls=("alpha", "beta"), truth=task.truth)
>>> board.show()
"""

from uda_lessons.board import figures, kernel
from uda_lessons.board.page import Board
from uda_lessons.board.plane import Dial

__all__ = ["Board", "Dial", "figures"]

kernel.one_thread()  # the cells of a lesson too
