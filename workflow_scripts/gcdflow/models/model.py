"""The model that is trained: a backbone and a projection head."""

from __future__ import annotations

from torch import Tensor, nn

from gcdflow.config.settings import TrainSettings
from gcdflow.models.backbones import augmentation_of, build_backbone
from gcdflow.models.head import DINOHead


class Model(nn.Module):
    """Backbone and projection head.

    ``embed`` makes L2-normalised embeddings of the backbone's features. They are the head's compact
    ones where those are cheaper. Prototypes of embeddings need the wide ones: they last for longer
    than a step, and compact rows of two steps have no common axes.
    """

    def __init__(self, settings: TrainSettings):
        super().__init__()
        image_size = augmentation_of(settings).image_size
        self.backbone = build_backbone(settings.backbone, image_size)
        self.head = DINOHead(self.backbone.feature_dim, **settings.head.model_dump())
        has_prototypes = settings.pseudo is not None and settings.pseudo.loss == "prototypical"
        self.compact = self.head.compact_pays and not has_prototypes

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, out_dim or bottleneck_dim), rows of length 1, of images (B, C, H, W)."""
        return self.embed(self.backbone(images))

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings of features (B, feature_dim)."""
        return self.head.compact(features) if self.compact else self.head(features)
