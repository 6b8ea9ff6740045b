"""Gets the public data sets from their hosts: `python -m data_download NAME`.

Each set has a module of its own that says what is fetched from where, what it is checked against and how many samples
must be there at the end; `uda_core.data.sets` says where its files lie and what its terms are.
"""
