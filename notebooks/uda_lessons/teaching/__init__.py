"""What a lecturer runs: grading, and editions of the lessons."""
