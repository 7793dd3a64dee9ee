"""This module defines ``decoder3d``, a small hierarchical decoder of stored features.

The idea is ViNet's (Jain et al., IROS 2021): features of a video backbone at several depths, from
coarse to fine; each is upsampled to the next one's grid and merged by a 3D convolution. Here the
features come from the store (recipe section ``features``), so that any backbone can be used and
only the decoder is trained. The rest is this project's: group normalisation, one width for all
scales, a learned map of where people look in any frame, and sound, which scales and shifts the
coarsest features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.errors import RecipeError
from foveal.models.saliency.base import DARK_LOGIT, SaliencyNetwork, State
from foveal.models.saliency.spec import Input, Spec, Training

PAPER = "after ViNet (Jain et al., IROS 2021); the decoder is foveal's own"
PRIOR_SIZE = (9, 16)
"""Size of the learned map."""

_GROUPS = 8


class Decoder3D(SaliencyNetwork):
    """Turn stored features into saliency maps.

    Parameters
    ----------
    features : sequence of str
        Arrays of the store, in any order of their scales.
    feature_shapes : sequence of shapes
        Shape of one item of each: [channel, y, x] for networks of pictures, or [channel, time, y,
        x] for windows. If all are of pictures, the convolutions run over the time of the clip, so a
        frame sees those around it; else each frame uses only its own windows.
    output_size : (int, int)
        (height, width) of the map.
    channels : int
        Channels of every scale in the decoder, a multiple of 8.
    sound : str or None
        An array of hops, such as ``log_mel``.
    sound_shape : (int, int)
        Hops around each frame, and bands of one hop.
    prior : bool
        Whether a learned map, the same for all frames, is added.
    clip_frames : int
        Frames of a clip in training and prediction.
    name : str
        Registered name.
    """

    def __init__(
        self,
        *,
        features: Sequence[str] = ("features_0", "features_1"),
        feature_shapes: Sequence[Sequence[int]] = ((192, 8, 14, 24), (768, 8, 7, 12)),
        output_size: tuple[int, int] = (224, 384),
        channels: int = 96,
        sound: str | None = None,
        sound_shape: tuple[int, int] = (96, 64),
        prior: bool = True,
        clip_frames: int = 8,
        name: str = "decoder3d",
    ) -> None:
        super().__init__()
        shapes = [tuple(int(side) for side in shape) for shape in feature_shapes]
        _check(name, features, shapes, channels)
        self._of_windows = any(len(shape) == 4 for shape in shapes)
        # From the coarsest grid to the finest.
        self._order = sorted(range(len(shapes)), key=lambda n: shapes[n][-2] * shapes[n][-1])
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(1, shapes[n][0]), nn.Conv3d(shapes[n][0], channels, 1))
            for n in self._order
        )
        self.merges = nn.ModuleList(
            _block(channels * (1 if first else 2), channels)
            for first in [True, *[False] * (len(shapes) - 1)]
        )
        half = channels // 2
        self.head = nn.Sequential(_block(channels, half), nn.Conv3d(half, 1, 1))
        nn.init.constant_(self.head.get_parameter("1.bias"), DARK_LOGIT)
        self.prior = nn.Parameter(torch.zeros(1, 1, *PRIOR_SIZE)) if prior else None
        self.sound = None if sound is None else _Sound(int(sound_shape[1]), channels)
        inputs = [Input(kind, shape, "none") for kind, shape in zip(features, shapes, strict=True)]
        if sound is not None:
            hops, bands = (int(count) for count in sound_shape)
            inputs.append(Input(sound, (hops, bands), "none", per_frame=hops))
        self.spec = Spec(
            name=name,
            paper=PAPER,
            inputs=tuple(inputs),
            output_size=(int(output_size[0]), int(output_size[1])),
            training=Training(
                loss="kl",
                optimiser="adam",
                learning_rate=1e-4,
                batch_size=8,
                clip_frames=clip_frames,
            ),
            options={
                "features": list(features),
                "feature_shapes": [list(shape) for shape in shapes],
                "output_size": [int(side) for side in output_size],
                "channels": channels,
                "sound": sound,
                "sound_shape": [int(count) for count in sound_shape],
                "prior": prior,
                "clip_frames": clip_frames,
            },
        )

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        batch, time = tensors[0].shape[:2]
        maps = [self._with_time(tensors[n]) for n in self._order]
        merged: Tensor | None = None
        for tensor, lateral, merge in zip(maps, self.laterals, self.merges, strict=True):
            found = lateral(tensor)
            if merged is None:
                if self.sound is not None:
                    found = self.sound(found, tensors[-1], self._of_windows)
            else:
                finer = functional.interpolate(merged, found.shape[2:], mode="trilinear")
                found = torch.cat([finer, found], dim=1)
            merged = merge(found)
        assert merged is not None
        logits = self.head(merged)  # [n, 1, t, y, x]
        # [batch · clip, 1, y, x], over the time of the window or of the clip
        by_frame = logits.transpose(1, 2).flatten(0, 1)
        logits = logits.mean(dim=2) if self._of_windows else by_frame
        size = self.spec.output_size
        logits = functional.interpolate(logits.float(), size, mode="bilinear")
        if self.prior is not None:
            logits = logits + functional.interpolate(self.prior, size, mode="bicubic")
        return logits.sigmoid().view(batch, time, *size), None

    def _with_time(self, features: Tensor) -> Tensor:
        """Reshape [batch, clip, channel, (t,) y, x] to [n, channel, t, y, x]."""
        if not self._of_windows:
            return features.transpose(1, 2)
        features = features.flatten(0, 1)
        return features if features.ndim == 5 else features.unsqueeze(2)

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return all weights, and separately the learned map, with a larger learning rate."""
        rest = [value for key, value in self.named_parameters() if key != "prior"]
        groups: list[dict[str, object]] = [{"params": rest}]
        if self.prior is not None:
            lr = 30 * self.spec.training.learning_rate
            groups.append({"params": [self.prior], "lr": lr})
        return groups


class _Sound(nn.Module):
    """Turn the sound around a frame into a factor and an addend for each channel.

    Hops that are zero mean no sound (the logarithm of power is never 0 in all bands), so videos
    without sound are decoded as without this branch.
    """

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            nn.Conv1d(bands, channels, 5, 2, 2), nn.ReLU(), nn.Conv1d(channels, channels, 5, 2, 2)
        )
        self.film = nn.Linear(channels, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, features: Tensor, sound: Tensor, of_windows: bool) -> Tensor:
        """Modulate features [n, channel, t, y, x] by sound [batch, clip, hops, bands]."""
        batch, time = sound.shape[:2]
        heard = (sound != 0).any(dim=-1).any(dim=-1, keepdim=True)  # [batch, clip, 1]
        hops = sound.flatten(0, 1).transpose(1, 2) / 10
        film = self.film(self.steps(hops).relu().mean(dim=2)).view(batch, time, -1) * heard
        # [n, 2 · channel, 1] or [batch, 2 · channel, clip]
        film = film.flatten(0, 1)[:, :, None] if of_windows else film.transpose(1, 2)
        factor, addend = film[..., None, None].chunk(2, dim=1)
        modulated: Tensor = features * (1 + factor.tanh()) + addend
        return modulated


def _block(before: int, after: int) -> nn.Sequential:
    groups = _GROUPS if after % _GROUPS == 0 else 1
    return nn.Sequential(
        nn.Conv3d(before, after, 3, padding=1), nn.GroupNorm(groups, after), nn.ReLU()
    )


def _check(
    name: str, features: Sequence[str], shapes: Sequence[tuple[int, ...]], channels: int
) -> None:
    if not features or len(features) != len(shapes) or len(set(features)) != len(features):
        raise RecipeError(
            f"{name}: give each array once in features, and its shape in feature_shapes; got "
            f"{list(features)} and {[list(shape) for shape in shapes]}"
        )
    for feature, shape in zip(features, shapes, strict=True):
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise RecipeError(
                f"{name}: {feature} has items of {list(shape)}; it needs maps [channel, y, x] or "
                "[channel, time, y, x] (pooling: none or grid), not vectors or tokens"
            )
    if channels < 8 or channels % 8:
        raise RecipeError(f"{name}: channels must be a multiple of 8, got {channels}")
