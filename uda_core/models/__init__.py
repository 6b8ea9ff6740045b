"""Networks: features (what is shared) and heads (what disagrees); segmenters and the discriminator of their outputs."""

from uda_core.models.batch_norm import per_domain_, use_domain
from uda_core.models.discriminator import Discriminator
from uda_core.models.features import make_features
from uda_core.models.heads import Head
from uda_core.models.segmenters import SmallSegmenter, make_segmenter

__all__ = ["Discriminator", "Head", "SmallSegmenter", "make_features", "make_segmenter", "per_domain_", "use_domain"]
