"""The live board: watch a run train, and take part.

>>> board = Board(methods.CGDM(task.pair), controls=("alpha", "beta"), truth=task.truth)
>>> board.show()
"""

from uda_lessons.board import figures
from uda_lessons.board.page import Board
from uda_lessons.board.plane import Dial

__all__ = ["Board", "Dial", "figures"]
