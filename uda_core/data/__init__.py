"""The tasks: `data.load("moons")` returns one, `data.TASKS` lists all."""

from uda_core.data.catalog import TASKS, load, missing

__all__ = ["TASKS", "load", "missing"]
