"""Every exercise by its name."""

from uda_lessons.exercises import (
    anchor_alignment,
    category_anchors,
    choosing,
    gap,
    gradient_discrepancy,
    matching_crowds,
    own_domains,
    pseudo_labels,
    two_classifiers,
)

LESSONS = (
    gap, matching_crowds, two_classifiers, pseudo_labels, gradient_discrepancy, category_anchors, anchor_alignment,
    choosing, own_domains,
)  # fmt: skip
EXERCISES = {e.name: e for lesson in LESSONS for e in lesson.EXERCISES}
