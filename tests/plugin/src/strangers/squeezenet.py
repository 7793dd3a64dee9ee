"""A per-frame feature stage: the last map of a torchvision backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foveal.pipeline.recipe.section import Size, StageSection
from foveal.pipeline.stages.base import (
    FRAMES,
    Arrays,
    PlainStage,
    Stage,
    StageRequest,
)
from foveal.pipeline.video.resize import resize_frames
from foveal.pipeline.video.types import FrameBatch
from foveal.storage.schema import ArraySpec


class SqueezeNetSection(StageSection):
    """Section ``squeezenet`` of the recipe."""

    size: Size = (32, 32)
    seed: int = 0

    def make(self, request: StageRequest) -> Sequence[Stage]:
        network = request.shared.once(("squeezenet", self.seed), lambda: _network(self.seed))
        return [SqueezeNetStage(self, network)]


def _network(seed: int) -> Any:
    import torch
    from torchvision.models import squeezenet1_1

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return squeezenet1_1(weights=None).features.eval()


class SqueezeNetStage(PlainStage):
    """``squeezenet``: float16 [frame, 512, y, x]."""

    name = "squeezenet"
    inputs = (FRAMES,)
    arrays = ("squeezenet",)

    def __init__(self, section: SqueezeNetSection, network: Any) -> None:
        self._section, self._network = section, network

    def parameters(self) -> dict[str, Any]:
        return {**self._section.resolved(), "weights": f"random:{self._section.seed}"}

    def outputs(self) -> Sequence[ArraySpec]:
        shape = self._features(np.zeros((1, *self._section.size, 3), np.uint8)).shape[1:]
        dims = ("time", "squeezenet_feature", "squeezenet_y", "squeezenet_x")
        return [
            ArraySpec(
                "squeezenet", dims, shape, np.dtype(np.float16), axis="frame", kind="features"
            )
        ]

    def push(self, batch: FrameBatch) -> Arrays:
        return {"squeezenet": self._features(resize_frames(batch.frames, self._section.size))}

    def _features(self, frames: np.ndarray) -> np.ndarray:
        import torch

        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return self._network(pixels).numpy().astype(np.float16)
