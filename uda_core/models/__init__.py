"""Networks: features (what is shared) and heads (what disagrees)."""

from uda_core.models.features import make_features
from uda_core.models.heads import Head

__all__ = ["Head", "make_features"]
