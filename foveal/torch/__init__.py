"""This package reads training data from stores: `Clips` (map-style) and `ClipLoader` (batches).

::

    clips = Clips("dhf1k.zarr", "train", frames=16, variables=["frames", "flow_tvl1", "density"])
    for batch in ClipLoader(clips, batch_size=4, num_workers=2, seed=1):
        batch["frames"]  # uint8 [4, 16, 3, height, width]
"""

from __future__ import annotations

from foveal.extras import needing

with needing("train"):
    from foveal.torch.batch import collate
    from foveal.torch.clips import Clips
    from foveal.torch.interface import Reading, Variable
    from foveal.torch.joined import JoinedClips
    from foveal.torch.loader import ClipLoader
    from foveal.torch.sound import Sound
    from foveal.torch.transforms import (
        Augmentation,
        ColourJitter,
        Mirror,
        ResizedCrop,
        Rotate,
        Subsample,
    )
    from foveal.torch.variables import FixationMap, Flow, Items, Windows

__all__ = [
    "Augmentation",
    "ClipLoader",
    "Clips",
    "ColourJitter",
    "FixationMap",
    "Flow",
    "Items",
    "JoinedClips",
    "Mirror",
    "Reading",
    "ResizedCrop",
    "Rotate",
    "Sound",
    "Subsample",
    "Variable",
    "Windows",
    "collate",
]
