"""The model that is trained: a backbone and a projection head."""

from __future__ import annotations

from torch import Tensor, nn

from gcdflow.config.settings import TrainSettings
from gcdflow.models.backbones import augmentation_of, build_backbone
from gcdflow.models.head import DINOHead


class Model(nn.Module):
    """Backbone and projection head.

    ``forward`` gives L2-normalised embeddings (B, out_dim); ``backbone`` alone gives the features.
    """

    def __init__(self, settings: TrainSettings):
        super().__init__()
        image_size = augmentation_of(settings).image_size
        self.backbone = build_backbone(settings.backbone, image_size)
        self.head = DINOHead(self.backbone.feature_dim, **settings.head.model_dump())

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, out_dim), rows of length 1, of images (B, C, H, W)."""
        return self.head(self.backbone(images))

    def from_stored(self, stored: Tensor) -> Tensor:
        """The same from what the frozen part of the backbone gave for the images (B, …)."""
        return self.head(self.backbone.trained(stored))
