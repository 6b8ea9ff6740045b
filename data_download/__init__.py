"""Downloads the public data sets from their hosts: `python -m data_download NAME`, or `uda download NAME`.

Each data set has a module of its own, which declares what is downloaded from where, under which terms, which sums the
files must have, and how many samples a complete copy contains. The same files are the package `data_download` in a
checkout and `uda_core.download` where they are installed, so they import nothing of `uda_core`.
"""
