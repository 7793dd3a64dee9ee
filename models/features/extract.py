"""This module runs a backbone on frames and pools the activations of some of its layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.models.device import choose_device
from foveal.models.features.backbone import Backbone

Pooling = Literal["none", "mean", "cls", "grid"]
"""How activations are pooled, see `Extractor`."""

Precision = Literal["float32", "bfloat16", "float16"]
"""Type that the network computes in."""


class Extractor:
    """Run a backbone on pictures or clips of one size, and return the output of some layers.

    Parameters
    ----------
    backbone : Backbone
        The network.
    layers : sequence of str
        Names of submodules as in ``named_modules``. Empty takes the last features: those before the
        classifier of torchvision's and timm's networks, else the output.
    size : (int, int)
        (height, width) of the frames.
    pooling : {'none', 'mean', 'cls', 'grid'}
        ``none`` keeps maps [channel, (time,) y, x] and tokens [token, channel] as they are;
        ``mean`` and ``cls`` (the first token) return [channel]; ``grid`` averages maps, and tokens
        arranged as a map, to [channel, (time,) *grid].
    grid : (int, int), optional
        (height, width) of the pooled maps; only for ``grid``.
    device : str
        See `foveal.models.device.choose_device`.
    precision : {'float32', 'bfloat16', 'float16'}
        Type that the network computes in; features are returned as float32.
    time : {'keep', 'mean'}
        Whether maps of clips keep their time axis or are averaged over it, [channel, y, x].

    Raises
    ------
    RecipeError
        There is no such layer.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[str] = (),
        size: tuple[int, int] = (224, 224),
        pooling: Pooling = "none",
        grid: tuple[int, int] | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        time: Literal["keep", "mean"] = "keep",
    ) -> None:
        self.backbone, self.layers, self.size = backbone, tuple(layers), size
        self.pooling, self.grid, self.precision = pooling, grid, precision
        self.time = time
        self.device = choose_device(device)
        self._moved: nn.Module | None = None
        self._shapes: dict[int | None, list[tuple[int, ...]]] = {}

    def __call__(self, items: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Compute the features of some pictures or clips together.

        Parameters
        ----------
        items : ndarray, uint8 [n, height, width, 3] or [n, frames, height, width, 3]
            Pictures, or clips.

        Returns
        -------
        list of ndarray, float32 [n, …]
            One for each layer.

        Raises
        ------
        MissingDependency
            The items do not fit into the memory of the GPU.
        FovealError
            A layer returns no tensor, or its output cannot be pooled in this way.
        """
        try:
            with self.backbone.running, torch.inference_mode(), self._arithmetic():
                network = self._network()
                pixels = self._normalised(torch.from_numpy(items).to(self.device))
                found = self._run(network, pixels)
                return [
                    self._pooled(name, tensor, items).float().cpu().numpy()
                    for name, tensor in found.items()
                ]
        except torch.cuda.OutOfMemoryError as error:
            raise MissingDependency(
                f"{len(items)} items of {items.shape[1:]} do not fit into {self.device} with "
                f"{self.backbone.name}: lower batch_size"
            ) from error

    def shapes(self, frames: int | None = None) -> list[tuple[int, ...]]:
        """Return the shape of one item of each layer; the network runs once on a black item.

        `frames` is the length of a clip, None for pictures.
        """
        if frames not in self._shapes:
            self._shapes[frames] = self._found_shapes(frames)
        return self._shapes[frames]

    def _found_shapes(self, frames: int | None) -> list[tuple[int, ...]]:
        one = (1, *((frames,) if frames else ()), *self.size, 3)
        try:
            return [values.shape[1:] for values in self(np.zeros(one, np.uint8))]
        except (FovealError, MissingDependency):
            raise
        except (RuntimeError, AssertionError, ValueError, IndexError, TypeError) as error:
            trained = f"; it was trained on {self.backbone.size}" if self.backbone.size else ""
            shown = "x".join(map(str, one[1:-1]))
            raise RecipeError(
                f"{self.backbone.name} cannot take {shown}: {str(error)[:300]}{trained}"
            ) from error

    def check(self) -> None:
        """Load the network and check that it has the layers.

        Raises
        ------
        RecipeError
            It does not have a layer (the message lists some that it has), or its weights do not
            fit.
        """
        known = dict(self.backbone.network.named_modules())
        if not self.layers:
            self.layers = tuple(n for n in self.backbone.last_layers if n in known)[:1]
        for name in self.layers:
            if name not in known or not name:
                top = [each for each in known if each and each.count(".") < 2]
                raise RecipeError(
                    f"{self.backbone.name} has no layer {name!r}; it has "
                    f"{', '.join(top[:24])}{', …' if len(top) > 24 else ''}"
                )

    def _network(self) -> nn.Module:
        if self._moved is None:
            self.check()
            self._moved = self.backbone.network.to(self.device)
        return self._moved

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        dtype = None if self.precision == "float32" else getattr(torch, self.precision)
        with contextlib.nullcontext() if dtype is None else torch.autocast(self.device.type, dtype):
            yield

    def _normalised(self, items: Tensor) -> Tensor:
        """Convert [n, (time,) y, x, rgb] to what the network takes."""
        mean = torch.tensor(self.backbone.mean, device=self.device) * 255
        scale = 1 / (torch.tensor(self.backbone.std, device=self.device) * 255)
        pixels = (items.float() - mean) * scale
        if items.ndim == 4:
            return pixels.permute(0, 3, 1, 2).contiguous()
        order = (0, 1, 4, 2, 3) if self.backbone.clip_order == "time" else (0, 4, 1, 2, 3)
        return pixels.permute(order).contiguous()

    def _run(self, network: nn.Module, pixels: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        hooks = [
            network.get_submodule(name).register_forward_hook(_keeper(found, name))
            for name in self.layers
        ]
        try:
            call: Any = network
            if self.backbone.name.startswith("timm:"):
                call = network.forward_features
            output = call(pixels)
        finally:
            for hook in hooks:
                hook.remove()
        if not self.layers:
            return {"": _tensor(output, "the output")}
        for name in self.layers:
            if name not in found:
                raise RecipeError(
                    f"{self.backbone.name}: its layer {name!r} is not used in the computation"
                )
        return {name: found[name] for name in self.layers}

    def _pooled(self, name: str, values: Tensor, items: NDArray[np.uint8]) -> Tensor:
        """Pool the output of a layer [n, …]."""
        if values.ndim == 2:
            if self.pooling in ("cls", "grid"):
                raise RecipeError(
                    f"{self.backbone.name}: {name or 'its output'} is one vector, without tokens "
                    f"or a grid for pooling {self.pooling}; write pooling: none"
                )
            return values
        if values.ndim == 3:
            return self._pooled_tokens(name, values, items)
        if self._layout() == "channels_last":
            values = values.movedim(-1, 1)
        if self.time == "mean" and values.ndim == 5:
            values = values.mean(2)
        if self.pooling == "cls":
            raise RecipeError(
                f"{self.backbone.name}: {name or 'its output'} is a map and has no class token; "
                "write pooling: mean or grid"
            )
        if self.pooling == "mean":
            return values.flatten(2).mean(2)
        return self._on_grid(values) if self.pooling == "grid" else values

    def _pooled_tokens(self, name: str, tokens: Tensor, items: NDArray[np.uint8]) -> Tensor:
        prefix = self._prefix_tokens()
        if self.pooling == "none":
            return tokens
        if self.pooling == "cls":
            if not prefix:
                raise RecipeError(
                    f"{self.backbone.name} has no class token; write pooling: mean or grid"
                )
            return tokens[:, 0]
        rest = tokens[:, prefix:]
        if self.pooling == "mean":
            return rest.mean(1)
        time, height, width = _token_grid(
            rest.shape[1], items.shape[1:-1], self.backbone.network, self.backbone.name
        )
        maps = rest.transpose(1, 2).reshape(len(rest), -1, time, height, width)
        if self.time == "mean" or items.ndim == 4:
            return self._on_grid(maps.mean(2))
        return self._on_grid(maps)

    def _on_grid(self, maps: Tensor) -> Tensor:
        assert self.grid is not None
        if maps.ndim == 4:
            return functional.adaptive_avg_pool2d(maps.float(), self.grid)
        return functional.adaptive_avg_pool3d(maps.float(), (maps.shape[2], *self.grid))

    def _layout(self) -> str:
        said = getattr(self.backbone.network, "output_fmt", "")
        return self.backbone.layout or ("channels_last" if said == "NHWC" else "channels_first")

    def _prefix_tokens(self) -> int:
        given = self.backbone.prefix_tokens
        found = getattr(self.backbone.network, "num_prefix_tokens", 0) if given is None else given
        return int(found)


def _keeper(found: dict[str, Tensor], name: str) -> Any:
    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        found[name] = _tensor(output, name)

    return keep


def _tensor(output: Any, name: str) -> Tensor:
    """Return the tensor in an output: itself, the last hidden state, or the first of several."""
    if isinstance(output, Tensor):
        return output
    hidden = getattr(output, "last_hidden_state", None)
    if isinstance(hidden, Tensor):
        return hidden
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise FovealError(f"{name} returns a {type(output).__name__}, not a tensor; name another layer")


def _token_grid(
    tokens: int, sides: Sequence[int], network: nn.Module, name: str
) -> tuple[int, int, int]:
    """Return (time, rows, columns) of tokens that are square patches of the picture.

    For clips, several grids may have this number of cells; then the network's own patches decide.
    """
    *time, height, width = sides
    frames = time[0] if time else 1
    grids = {
        (tokens // (height // patch * (width // patch)), height // patch, width // patch)
        for patch in range(1, min(height, width) + 1)
        if not tokens % (height // patch * (width // patch))
    }
    fitting = [grid for grid in grids if grid[0] <= frames and not frames % grid[0]]
    if len(fitting) > 1:
        config = getattr(network, "config", network)
        patch, steps = getattr(config, "patch_size", None), getattr(config, "tubelet_size", None)
        side = patch[-1] if isinstance(patch, tuple | list) else patch
        own = [
            grid
            for grid in fitting
            if (side is None or grid[1:] == (height // side, width // side))
            and (not isinstance(steps, int) or grid[0] == max(1, frames // steps))
        ]
        fitting = own if side is not None else fitting
    if len(fitting) != 1:
        raise RecipeError(
            f"{name}: it is not clear which grid {tokens} tokens form on a {height}x{width} "
            "picture; write pooling: none or mean, or a size that its patches fill"
        )
    return fitting[0]
