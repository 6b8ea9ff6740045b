"""Unsupervised domain adaptation to learn from, to teach, and to train with."""

__version__ = "0.1.0"
