"""Fetches the public data sets from their hosts: `python -m data_download NAME`.

Each data set has a module of its own, which declares what is fetched from where, under which terms, which sums the
files must have, and how many samples a complete copy contains.
"""
