"""Downloads of public data sets: one module per set, from its official host, with its size and terms printed first.

Empty so far: the lessons' data need no download.
"""
