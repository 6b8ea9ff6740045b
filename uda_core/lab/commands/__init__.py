"""The commands of `python -m uda_core`, one room each: what it does, and the arguments that it takes."""
