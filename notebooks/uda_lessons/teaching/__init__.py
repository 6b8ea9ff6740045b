"""For whoever teaches: editions and slides of the lessons, and grading."""
