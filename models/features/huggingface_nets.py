"""This module opens backbones of transformers from a folder; code from a hub never runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import nn

from foveal.errors import MissingDependency, RecipeError
from foveal.machine import file_sha256
from foveal.models.features.backbone import Backbone, seeded, triple
from foveal.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from foveal.models.weights import random_seed, weights_folder

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
FILES = (_CONFIG, _PROCESSOR, "*.safetensors", "*.safetensors.index.json", "LICENSE*", "README.md")
"""Files that are fetched of a repository: plain descriptions and tensors, no code, no pickles."""

_MAX_JSON_BYTES = 1 << 20


def open_huggingface(
    name: str, weights: str | None, size: tuple[int, int] | None, frames: int | None
) -> Backbone:
    """Open the backbone ``huggingface:name``, see `open_backbone`."""
    transformers = _library()
    folder = _folder(name)
    seed = random_seed(weights)
    if weights is not None and seed is None:
        raise RecipeError(
            f"backbone huggingface:{name}: its weights are in its folder ({folder}); write the "
            "path of a folder as the backbone, or weights: random"
        )
    config = _config(folder, name)
    tensors = sorted(folder.glob("*.safetensors"))
    if seed is None and not tensors:
        raise MissingDependency(_how_to_get(name, f"{folder} has no *.safetensors"))
    identity = f"random:{seed}" if seed is not None else f"sha256:{_digest(folder, tensors)}"
    about = _read_json(folder / _PROCESSOR) if (folder / _PROCESSOR).is_file() else {}

    def make() -> nn.Module:
        if seed is not None:
            return seeded(seed, lambda: _module(transformers.AutoModel.from_config(config)))
        try:
            model, loading = transformers.AutoModel.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise RecipeError(f"backbone huggingface:{name}: {str(error)[:500]}") from None
        # Checkpoints of pretraining have no pooling head, and hidden states do not need it.
        missing = [key for key in loading["missing_keys"] if "pooler" not in key]
        if missing or loading["mismatched_keys"]:
            raise RecipeError(
                f"backbone huggingface:{name}: {folder} lacks the weights of "
                f"{', '.join(sorted(map(str, missing))[:4]) or loading['mismatched_keys'][:2]}"
            )
        return _module(model)

    clip_frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    return Backbone(
        name=f"huggingface:{name}",
        weights=identity,
        takes="clip" if clip_frames else "picture",
        make=make,
        mean=triple(about.get("image_mean"), IMAGENET_MEAN),
        std=triple(about.get("image_std"), IMAGENET_STD),
        size=_size(about, config),
        frames=clip_frames,
        clip_order="time",
        prefix_tokens=_prefix_tokens(config),
        about={"transformers": transformers.__version__},
    )


def fetch_huggingface(name: str) -> Path:
    """Download descriptions and tensors of a repository into the folder of weights.

    Parameters
    ----------
    name : str
        ``ORG/NAME``.

    Returns
    -------
    Path
        Their folder.

    Raises
    ------
    MissingDependency
        The download failed, or the repository has no safetensors.
    """
    from huggingface_hub import snapshot_download

    folder = weights_folder() / "huggingface" / _checked(name).replace("/", "--")
    try:
        snapshot_download(name, local_dir=folder, allow_patterns=list(FILES))
    except Exception as error:  # of many types: HTTP, no connection, no such repository
        raise MissingDependency(_how_to_get(name, f"{name} was not fetched: {error}")) from None
    if not any(folder.glob("*.safetensors")):
        raise MissingDependency(
            f"huggingface:{name} publishes no safetensors; files that need pickled code are refused"
        )
    return folder


def _library() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingDependency(
            "backbones of huggingface: need transformers; pip install 'foveal[huggingface]'"
        ) from None
    return transformers


def _checked(name: str) -> str:
    parts = name.split("/")
    if len(parts) != 2 or not all(part and part.strip(".") for part in parts) or "\\" in name:
        raise RecipeError(
            f"backbone huggingface:{name}: write huggingface:ORG/NAME, or the path of a folder"
        )
    return name


def _folder(name: str) -> Path:
    given = Path(name).expanduser()
    if given.is_dir():
        return given
    folder = weights_folder() / "huggingface" / _checked(name).replace("/", "--")
    if not (folder / _CONFIG).is_file():
        raise MissingDependency(_how_to_get(name, f"huggingface:{name} is not on this machine"))
    return folder


def _how_to_get(name: str, problem: str) -> str:
    return (
        f"{problem}; run: foveal weights get huggingface:{name}\n"
        f"or download {', '.join(FILES[:3])} of that repository by hand into "
        f"{weights_folder() / 'huggingface' / name.replace('/', '--')}"
    )


def _config(folder: Path, name: str) -> Any:
    transformers = _library()
    about = _read_json(folder / _CONFIG)
    kind = about.get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        own = " and has code of its own, which never runs" if "auto_map" in about else ""
        raise RecipeError(
            f"backbone huggingface:{name}: transformers {transformers.__version__} has no network "
            f"of the type {kind!r}{own}; install the authors' package and write "
            "module:package.factory"
        )
    return transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"it is larger than {_MAX_JSON_BYTES} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from None
    return values


def _digest(folder: Path, tensors: list[Path]) -> str:
    """Hash the configuration and every file of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for path in (folder / _CONFIG, *tensors):
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _size(about: dict[str, Any], config: Any) -> tuple[int, int] | None:
    for sides in (about.get("crop_size"), about.get("size"), getattr(config, "image_size", None)):
        if isinstance(sides, int):
            return sides, sides
        if isinstance(sides, list | tuple) and len(sides) == 2:
            return int(sides[0]), int(sides[1])
        if isinstance(sides, dict):
            height = sides.get("height") or sides.get("shortest_edge") or 0
            if height:
                return int(height), int(sides.get("width") or height)
    return None


def _prefix_tokens(config: Any) -> int:
    """Return the number of class and register tokens before the patches."""
    registers = int(getattr(config, "num_register_tokens", 0) or 0)
    without = ("videomae", "swin", "vjepa2", "convnext", "resnet", "segformer", "hiera")
    return 0 if config.model_type.startswith(without) else 1 + registers


def _module(model: Any) -> nn.Module:
    assert isinstance(model, nn.Module)
    return model
