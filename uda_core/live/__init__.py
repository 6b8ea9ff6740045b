"""The live board: watch a run train, and take part.

>>> board = Board(methods.cgdm(task.pair), controls=("alpha", "beta"), truth=task.truth)
>>> board.show()
"""

from uda_core.live.board import Board

__all__ = ["Board"]
