"""`data_download` is a folder of the checkout: an installed copy has it as `uda_core.download` only."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
