"""The command line, run folders, recipes, studies and their results."""
