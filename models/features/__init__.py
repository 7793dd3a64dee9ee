"""Features of any network of pictures or clips, by the name ``library:network``.

::

    backbone = open_backbone("timm:vit_tiny_patch16_224", "random")
    extractor = Extractor(backbone, layers=("blocks.5", "blocks.11"), size=(224, 384))
    low, high = extractor(frames)  # uint8 [n, height, width, 3] to float32 [n, …]

Nothing is downloaded here (``foveal weights get`` does that), and no code from a hub runs.
"""

from __future__ import annotations

from foveal.models.features.backbone import Backbone, open_backbone
from foveal.models.features.extract import Extractor

__all__ = ["Backbone", "Extractor", "open_backbone"]
