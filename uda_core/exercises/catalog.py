"""Every exercise by its name."""

from uda_core.exercises import gap, two_classifiers

EXERCISES = {e.name: e for lesson in (gap, two_classifiers) for e in lesson.EXERCISES}
