"""What a lesson asks of its reader: a guess before the experiment, a function of one to five lines after it, a quiz.

>>> check("classifier_discrepancy", my_function)
Not yet: the differences cancel: take their absolute values before the mean.
"""

from uda_lessons.exercises.dialogue import check, hand_in, hint, reveal
from uda_lessons.exercises.guesses import predict, replay
from uda_lessons.exercises.questions import quiz
from uda_lessons.exercises.signing import sign

__all__ = ["check", "hand_in", "hint", "predict", "quiz", "replay", "reveal", "sign"]
