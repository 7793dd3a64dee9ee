"""This module defines ResNet-50 without its classifier, with torchvision's names of weights."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from foveal.models.saliency.base import scaled

BLOCKS = (3, 4, 6, 3)


class ResNet50(nn.Module):
    """The four residual stages of ResNet-50, at strides 4, 8, 16 and 32.

    Parameters
    ----------
    width : float
        Factor on all channel counts.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        base = scaled(64, width)
        self.conv1 = nn.Conv2d(3, base, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = base
        for index, blocks in enumerate(BLOCKS):
            inner, stride = base * 2**index, 2 if index else 1
            out = inner * Bottleneck.expansion
            shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
            stage = [Bottleneck(channels, inner, stride, shortcut)]
            stage += [Bottleneck(out, inner) for _ in range(blocks - 1)]
            setattr(self, f"layer{index + 1}", nn.Sequential(*stage))
            channels = out
        self.stage_channels = tuple(base * 2**index * 4 for index in range(len(BLOCKS)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage for pictures `x` [n, 3, h, w].

        At width 1 they are [n, 256 | 512 | 1024 | 2048, h / s, w / s].
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        stages = []
        for index in range(len(BLOCKS)):
            x = getattr(self, f"layer{index + 1}")(x)
            stages.append(x)
        return stages
