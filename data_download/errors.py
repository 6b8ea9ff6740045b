"""The errors of this package: one line each, which names what is wrong and how to mend it."""


class DownloadError(ValueError):
    """Bad input, or a data set that cannot be downloaded; the command prints it as `error: ...`."""


class Unreachable(DownloadError):
    """A host does not answer, does not have the file, or does not send all of it."""
