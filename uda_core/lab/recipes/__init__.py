"""Recipes: one TOML file for each method and task."""
