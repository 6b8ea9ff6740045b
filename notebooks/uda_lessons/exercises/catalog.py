"""Every exercise by its name."""

from uda_lessons.exercises import (
    anchor_alignment,
    category_anchors,
    gap,
    gradient_discrepancy,
    own_domains,
    pseudo_labels,
    two_classifiers,
)

LESSONS = gap, two_classifiers, pseudo_labels, gradient_discrepancy, category_anchors, anchor_alignment, own_domains
EXERCISES = {e.name: e for lesson in LESSONS for e in lesson.EXERCISES}
