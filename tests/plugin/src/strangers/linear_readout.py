"""A network: one 1x1 convolution over cached features of each frame."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from foveal.models.saliency.base import SaliencyNetwork, State
from foveal.models.saliency.spec import Input, Spec, Training


class LinearReadout(SaliencyNetwork):
    """Reads the array ``squeezenet`` of the stage beside it."""

    def __init__(
        self,
        *,
        output_size: tuple[int, int] = (32, 32),
        feature_size: tuple[int, int] = (1, 1),
        name: str = "linear_readout",
    ) -> None:
        super().__init__()
        self.readout = nn.Conv2d(512, 1, 1)
        options = {"output_size": list(output_size), "feature_size": list(feature_size)}
        self.spec = Spec(
            name,
            "A. Stranger, 2026",
            (Input("squeezenet", (512, *feature_size), "none"),),
            (output_size[0], output_size[1]),
            Training("bce", "adam", 1e-3, batch_size=2, clip_frames=4, epochs=2),
            options=options,
        )

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        (features,) = tensors
        maps = self.readout(features.flatten(0, 1))
        maps = functional.interpolate(maps, self.spec.output_size, mode="bilinear")
        return maps.sigmoid().view(*features.shape[:2], *self.spec.output_size), None
