"""Networks: features (what is shared), heads (what disagrees), and discriminators of output maps and of features.

The segmenters stand in `uda_core.models.segmenters`: they need torchvision, which takes seconds to import.
"""

from uda_core.models.batch_norm import per_domain_, use_domain
from uda_core.models.discriminator import Discriminator, FeatureDiscriminator
from uda_core.models.features import make_features
from uda_core.models.heads import Head

__all__ = ["Discriminator", "FeatureDiscriminator", "Head", "make_features", "per_domain_", "use_domain"]
