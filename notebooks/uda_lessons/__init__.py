"""The machinery of the lessons: the live board, exercises, and what opens them in Colab."""
