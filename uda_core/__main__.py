"""`python -m uda_core`: the same as the command `uda`."""

import sys

from uda_core.lab.main import main

if __name__ == "__main__":
    sys.exit(main())
