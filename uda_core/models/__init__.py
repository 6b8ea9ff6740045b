"""Networks: features (what is shared), heads (what disagrees), and the discriminator of output maps.

The segmenters stand in `uda_core.models.segmenters`: they need torchvision, which takes seconds to import.
"""

from uda_core.models.batch_norm import per_domain_, share_statistics_, use_domain
from uda_core.models.discriminator import Discriminator
from uda_core.models.features import make_features
from uda_core.models.heads import Head

__all__ = ["Discriminator", "Head", "make_features", "per_domain_", "share_statistics_", "use_domain"]
