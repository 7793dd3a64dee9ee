"""This module lists each setting of a network in its paper, in its released code, and here.

docs/training.md and ``foveal train NETWORK --explain`` print these tables; foveal's own values come
from the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foveal.models.saliency.spec import Schedule, Spec

NOT_STATED = "not stated"
NO_PAPER = "no paper"


@dataclass(frozen=True)
class Said:
    """One setting of a network.

    Attributes
    ----------
    setting : str
        A setting of `foveal train`, ``options.NAME`` of the network, or another name.
    paper : str
        The paper's value, with its section, table or equation.
    ours : callable or str
        Foveal's default, as a function of the network's `Spec`, or in words.
    released : str
        The released code's value if it differs; else empty.
    reason : str
        Why foveal's default is not simply the paper's value.
    """

    setting: str
    paper: str
    ours: Callable[[Spec], object] | str
    released: str = ""
    reason: str = ""


def explain(spec: Spec) -> list[tuple[str, str, str, str, str]]:
    """Return setting, paper, released code, ours and reason for each setting in a network's `spec`.

    For networks without a paper, and those of other packages, the values come from the `Spec`.
    """
    said = PROTOCOLS.get(spec.name)
    if said is None:
        said = tuple(Said(setting, NO_PAPER, ours) for setting, ours in _COMMON.items())
    return [
        (
            one.setting,
            one.paper,
            one.released,
            one.ours if isinstance(one.ours, str) else _text(one.ours(spec)),
            one.reason,
        )
        for one in said
    ]


HEADS = ("setting", "paper", "released code", "ours", "why")
"""Column heads of the table."""


def markdown(spec: Spec) -> str:
    """Return the table of docs/training.md for a network's `spec`."""
    lines = [
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
    ]
    for row in explain(spec):
        cells = [row[0] and f"`{row[0]}`", *row[1:]]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Schedule):
        return f"x{value.factor:g} after every {value.every} {value.unit}s"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) or "nothing"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "x".join(map(str, value))
    return str(value)


def _option(name: str) -> Callable[[Spec], object]:
    return lambda spec: spec.options[name]


def _input_size(spec: Spec) -> object:
    return spec.inputs[0].shape[-2:]


def _batch(spec: Spec) -> object:
    others = spec.training.batch_size_of
    return f"{spec.training.batch_size}" + (f" ({_text(others)})" if others else "")


_COMMON: dict[str, Callable[[Spec], object]] = {
    "loss": lambda spec: spec.training.loss,
    "optimiser": lambda spec: spec.training.optimiser,
    "learning_rate": lambda spec: spec.training.learning_rate,
    "schedule": lambda spec: spec.training.schedule or "constant",
    "weight_decay": lambda spec: spec.training.weight_decay,
    "gradient_clip_norm": lambda spec: spec.training.gradient_clip_norm,
    "batch_size": _batch,
    "clip_frames": lambda spec: spec.training.clip_frames,
    "short": lambda spec: spec.training.short,
    "epochs": lambda spec: spec.training.epochs or "10",
    "augment": lambda spec: spec.training.augment,
}


def _common(name: str, paper: str, released: str = "", reason: str = "") -> Said:
    return Said(name, paper, _COMMON[name], released, reason)


_NO_PATIENCE = Said("patience", NOT_STATED, "none", reason="no paper stops early")

_LINARDOS_TRAINING = (
    _common("loss", "binary cross entropy, mean over pixels (§4, Eq 7)"),
    Said(
        "ground truth",
        "the continuous map (§4)",
        "each map scaled to 0 … 1",
        "each map scaled to 0 … 1",
        "as released",
    ),
    Said(
        "loss_over_time",
        NOT_STATED,
        lambda spec: spec.training.loss_over_time,
        "sum",
        "as released; Adam hardly feels it",
    ),
    _common("optimiser", "Adam (§4)"),
    _common("learning_rate", "1e-7 (§4)"),
    _common("schedule", NOT_STATED),
    _common("weight_decay", NOT_STATED, "1e-4", "none where the paper states none"),
    _common("gradient_clip_norm", NOT_STATED, "a norm, scaled by the clip", "likewise"),
    _common("batch_size", "10 consecutive frames of one video (§4)"),
    _common("clip_frames", "10; back-propagation through no more (§4)"),
    Said("carry_state", NOT_STATED, "yes, with batch_size 1", "yes, detached between clips"),
    _common("short", "shots of a single frame are kept (§5)", reason="padding does not count"),
    Said(
        "epochs",
        "27 on SALICON, 7 on DHF1K (§4); not stated for Hollywood-2 and UCF-Sports (§5)",
        lambda spec: f"{spec.training.epochs}; {spec.training.of_pictures().epochs} on pictures",
    ),
    Said(
        "augment",
        "mirroring and rotation in the SALICON stage, angles not stated; whether on video too is "
        "open (§4)",
        lambda spec: f"on pictures: {_text(spec.training.of_pictures().augment)}; else nothing",
        reason="10 degrees is our choice of a small angle",
    ),
    Said("validation_split", "100 validation videos of DHF1K (§5)", "val where a store has it"),
    _NO_PATIENCE,
    Said(
        "backbone",
        "VGG-16 (§3); SalEMA and SalCLSTM from SalBCE (§4)",
        "random unless given",
        reason="`backbone=vgg16-imagenet`, or the run of SalBCE",
    ),
)

_LINARDOS_NETWORK = (Said("options.input_size", "192x256 (§4)", _input_size),)

_LSTS = (
    _common("loss", "mean squared error (§4.3)"),
    Said(
        "ground truth",
        "the true map (§4.3)",
        "each map scaled to 0 … 1",
        reason="the range of the network's sigmoid",
    ),
    _common("optimiser", "RMSProp, momentum 0 (§4.3)"),
    _common("learning_rate", "1e-4 (§4.3, said of LSTS-RGB)"),
    _common(
        "schedule",
        "halved after every 50 iterations (§4.3)",
        reason="as printed: a thousandth of the rate is left after 500 of some 1949 iterations of "
        "the first epoch, so that nothing is learnt after it; `schedule=constant` keeps the rate, "
        "and a run says when the rate will be gone",
    ),
    _common("weight_decay", "5e-5 (§4.3, said of LSTS-RGB)", reason="for all three"),
    _common("gradient_clip_norm", NOT_STATED),
    _common("batch_size", "128 windows (§4.3)"),
    Said("clip_frames", "one estimate a window, stride 1 (§3.1)", _COMMON["clip_frames"]),
    _common("short", NOT_STATED, reason="a video without a whole window has no features"),
    _common("epochs", "RGB 10, Flow 2, RGB&Flow 1 (§4.3)"),
    _common("augment", "none named", reason="cached features cannot be mirrored"),
    Said(
        "validation_ids",
        "part of 1-600, sizes not stated (§5.2); the count of windows says 501-600",
        "val where a store has it",
        reason="experiments/lsts.yaml holds 501-600 out of train",
    ),
    _NO_PATIENCE,
    Said(
        "options.feature_shape",
        "1024x7x7x7, pooled to 1024x5x5x5 (§4.1)",
        _option("feature_shape"),
        reason="79 frames give 10x7x7; `i3d.pooling: paper` brings them to 5x5x5",
    ),
    Said(
        "options.channels",
        NOT_STATED,
        _option("channels"),
        reason="halved at each deconvolution",
    ),
)

_GFSALNET = (
    _common("loss", "KL + 0.1 (-NSS) (§IV-B, Eq 4-6)"),
    _common("optimiser", "Adam (§IV-B)"),
    _common("learning_rate", '"10e-5", literally 1e-4 (§IV-B)'),
    _common("schedule", "one tenth at every 3000th iteration (§IV-B)"),
    _common("weight_decay", NOT_STATED),
    _common("gradient_clip_norm", NOT_STATED),
    _common("batch_size", "8 on UCF-Sports, 16 on others (§IV-B)"),
    _common("clip_frames", "1, with the flow picture to the next frame (§IV-B)"),
    _common("short", "every frame counts"),
    _common("epochs", "2-3 (§IV-B)", reason="the larger"),
    _common("augment", NOT_STATED),
    Said("validation_split", NOT_STATED, "val where a store has it"),
    _NO_PATIENCE,
    Said(
        "backbone",
        "both streams from the appearance stream trained on SALICON (§IV-B)",
        "random unless given",
        reason="`backbone=runs/gfsalnet_spatial/best.pt`, or `resnet50-imagenet_v1`",
    ),
    Said("options.input_size", "640x480, width x height (§IV-B)", _input_size),
    Said("flow", "PWC-Net, size not stated (§IV-B)", "PWC-Net at the input's size"),
)

_TP_CMRNET = (
    _common("loss", "KL + 0.2 CC + 0.1 NSS + 0.1 SIM, the last three negated (§2.1.4, Eq 3)"),
    _common("optimiser", "Adam (§3.2)"),
    _common("learning_rate", "1e-4 (§3.2)"),
    _common("schedule", "times 0.1 after every two epochs (§3.2)"),
    _common("weight_decay", NOT_STATED),
    _common("gradient_clip_norm", NOT_STATED),
    _common("batch_size", "1 video (§3.2)"),
    _common("clip_frames", "5 frames of it (§3.2)"),
    _common("short", NOT_STATED, reason="101 shots of Hollywood-2's train have one frame"),
    _common("epochs", NOT_STATED, reason="our own number; from the fifth the rate is 1e-6"),
    _common("augment", NOT_STATED),
    Said("validation_split", NOT_STATED, "val where a store has it"),
    _NO_PATIENCE,
    Said("weights", "from scratch (§3.2)", "random"),
    Said(
        "options.input_size",
        "not stated; 28x28 features (§2.1.3)",
        _input_size,
        reason="28 x 8, as STRA-Net",
    ),
    Said("options.flow_maps", "9 (§3.3)", _option("flow_maps")),
    Said(
        "options.combine",
        "a residual step by multiplication (§2.1.1)",
        _option("combine"),
        reason="the text's word; `x+x*r` and `x+r` are offered",
    ),
    Said("flow", "FlowNet 2.0, size not stated (§3.2)", "FlowNet2 at the input's size"),
)

_SALEMA = (
    Said("options.placement", "30, the bottleneck (§5)", _option("placement")),
    Said(
        "options.placement=54",
        "54 in T2, 56 in the text (§5)",
        "both offered",
        reason="they are one and the same: the upsampling and the convolution between them commute "
        "with an average over time",
    ),
    Said("options.alpha", "0.1 (§3.2); 0.3 at two layers (§5)", "0.1; 0.3 at two layers",
         "sigmoid(0.1) = 0.525: `alpha_mode=released`"),
    Said(
        "options.alpha_mode=learned",
        "starts at sigmoid(p) = 0.5, rate 0.1, 3 epochs (§5, Eq 8)",
        "p = 0, rate 0.1",
        "p = 0.25: `options.alpha=0.25`",
    ),
    Said(
        "options.dropout",
        "0.5 before the average, in the chosen network (§5)",
        _option("dropout"),
        "also at inference",
    ),
    Said(
        "options.released_inplace_relu",
        "average of the layer's output (Eq 6)",
        _option("released_inplace_relu"),
        "at 7 the average is rectified too, as VGG's next ReLU works in place",
        "for weights that were trained so; maps differ by up to 0.05",
    ),
)  # fmt: skip

_SALCLSTM = (
    Said(
        "options.peepholes",
        "all three gates see C_(t-1), the output gate included (§3.1, Eq 1-3)",
        _option("peepholes"),
        "none: `peepholes=none` for its files",
        "one weight per channel, from 0",
    ),
    Said("initialisation", "Xavier (§4)", "Xavier-normal, zero bias"),
    Said("decoder's input", "the cell state C_t (§3.1)", "the cell state"),
)

PROTOCOLS: dict[str, tuple[Said, ...]] = {
    "salbce": (*_LINARDOS_TRAINING, *_LINARDOS_NETWORK),
    "salema": (*_LINARDOS_TRAINING, *_LINARDOS_NETWORK, *_SALEMA),
    "salclstm": (*_LINARDOS_TRAINING, *_LINARDOS_NETWORK, *_SALCLSTM),
    **dict.fromkeys(("lsts_rgb", "lsts_flow", "lsts_rgb_flow"), _LSTS),
    **dict.fromkeys(("gfsalnet", "gfsalnet_spatial", "gfsalnet_temporal"), _GFSALNET),
    "tp_cmrnet": _TP_CMRNET,
}
