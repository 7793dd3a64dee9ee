"""ResNet-50 without its classifier, plain modules with torchvision's names of weights."""

from __future__ import annotations

from torch import Tensor, nn

from foveal.models.saliency.base import scaled

EXPANSION = 4
BLOCKS = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] to [n, 4 x channels, h / stride, w / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y)) + shortcut
        activated: Tensor = self.relu(y)
        return activated


class ResNet50(nn.Module):
    """The four residual stages of ResNet-50, at strides 4, 8, 16 and 32.

    Parameters
    ----------
    width : float
        Multiplies all channel counts.
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
            inner = base * 2**index
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(channels, inner, 2 if block == 0 and index > 0 else 1))
                channels = inner * EXPANSION
            setattr(self, f"layer{index + 1}", nn.Sequential(*stage))
        self.stage_channels = tuple(base * 2**index * EXPANSION for index in range(len(BLOCKS)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Output of each stage: [n, 256 | 512 | 1024 | 2048, h / s, w / s] at width 1."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        stages = []
        for index in range(len(BLOCKS)):
            x = getattr(self, f"layer{index + 1}")(x)
            stages.append(x)
        return stages
