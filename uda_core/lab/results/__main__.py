"""`python -m uda_core.lab.results README.md` renews the tables in a page."""

import sys
from pathlib import Path

from uda_core.lab.results import write_into

write_into(Path(sys.argv[1]))
