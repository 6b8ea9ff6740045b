"""`python -m uda_core.results README.md` renews the tables in a page."""

import sys
from pathlib import Path

from uda_core.results import write_into

write_into(Path(sys.argv[1]))
