"""`uda site`: the lessons, their films, results and the core's API as static pages, made by Sphinx."""
