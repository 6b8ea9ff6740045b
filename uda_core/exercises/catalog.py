"""Every exercise by its name."""

from uda_core.exercises import gap, gradient_discrepancy, pseudo_labels, two_classifiers

LESSONS = gap, two_classifiers, pseudo_labels, gradient_discrepancy
EXERCISES = {e.name: e for lesson in LESSONS for e in lesson.EXERCISES}
