"""How a network is trained: settings, the paper's where none is given.

A YAML file holds the same keys::

    model: salema
    options: {placement: 30, alpha_mode: learned}
    stores: [/data/dhf1k.zarr]
    learning_rate: 1.0e-5
    run: runs/salema
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.models.losses import saliency_loss
from foveal.models.saliency import Schedule, Spec
from foveal.pipeline.recipe.section import Section
from foveal.pipeline.recipe.yaml_files import Place, explain, override, read_mapping

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Count = Annotated[int, Field(ge=1)]

EPOCHS = 10
"""Where neither the settings nor the paper say."""


AUTO = "auto"

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentSection(Section):
    """Random changes of the training clips, the same for all frames of a clip.

    Attributes
    ----------
    mirror : float
        Probability of a clip to be mirrored.
    rotate_degrees : float
        Largest angle by which a clip is turned, to either side.
    """

    mirror: Probability = 0.0
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0


class ScheduleSection(Section):
    """Multiply the learning rate by `factor` after each `every` iterations or epochs."""

    factor: Annotated[float, Field(gt=0, le=1)]
    every: Count
    unit: Literal["iteration", "epoch"]


class TrainSettings(Section):
    """Everything a training run depends on; None means the paper's.

    Attributes
    ----------
    model : str
        Name in `foveal.models.saliency`.
    options : mapping
        Options the network is built with (``width``, ``input_size``, …).
    weights : str
        ``random``, or a file or registered name of weights of the whole network to start from.
    backbone : str or None
        With random weights: weights of the part the paper starts from, such as ``best.pt`` of a
        run that was pretrained on pictures.
    stores : tuple of str
        Stores to train on together; each step draws from all of them.
    train_split, validation_split : str or None
        None takes all videos, or does without validation. ``auto`` validates on the split ``val``
        of those stores that have one.
    validation_share : float or None
        In place of a split: this share of the training videos of each store is held out, whole
        videos chosen by `seed` (of Hollywood-2 whole films), at least one of each store.
    validation_ids : tuple of str or None
        In place of a split: training videos with these ids are held out; ``5?`` and ``[0-4]*`` are
        patterns as in a shell.
    validation_stores : tuple of str or None
        None validates on `stores`.
    validation_videos : int or None
        Only the first so many videos of each store.
    flow : str or None
        Flow array; None takes the only one.
    run : str
        Folder of checkpoints, best weights and logs.
    seed : int
    clip_frames, clip_stride, batch_size : int or None
        Frames of a clip (1 where all videos are still pictures), frames from one clip's start to
        the next (None: they tile), clips a step on each device.
    batch_size_of : mapping of str to int, or None
        By kind of dataset (``ucf_sports``), where it differs from `batch_size`. None takes the
        paper's where `batch_size` is left open too. A batch then holds clips of one store alone.
    short : {'skip', 'pad'} or None
        Videos shorter than a clip: left out, or padded by their last frame, which does not count in
        the loss. None pads where the paper trains on them.
    augment : AugmentSection or None
        None does what the paper does; ``{}`` nothing.
    strict_inputs : bool
        Refuse to train on inputs that are not made as the paper's are (see
        `foveal.pipeline.learn.fit`) instead of warning.
    carry_state : bool or None
        Hand a recurrent network's state on from clip to clip of a video, detached, and start anew
        with each video (Linardos et al. 2019). None does so where one clip a step allows it.
    loss, loss_over_time, optimiser, learning_rate, weight_decay
        See `foveal.models.saliency.Training`.
    schedule : ScheduleSection, 'constant' or None
    gradient_clip_norm : float or None
        0 clips nothing.
    epochs, iterations : int or None
        `iterations`, where given, is the limit instead of `epochs`.
    validate_every : int or None
        Iterations between validations; None validates after each epoch.
    patience : int or None
        Stop after so many validations without a better NSS; None never, as no paper says it does.
    checkpoint_every : int
        Iterations between checkpoints; epochs and validations end with one too.
    device : str
    precision : {'auto', 'float32', 'bfloat16', 'float16'}
        ``auto`` is bfloat16 on a GPU that has it, else float32.
    workers : int
        Processes that read ahead; 0 reads in a thread of this one.
    """

    model: str
    options: dict[str, JsonValue] = Field(default_factory=dict)
    weights: str = "random"
    backbone: str | None = None
    stores: Annotated[tuple[str, ...], Field(min_length=1)]
    train_split: str | None = "train"
    validation_split: str | None = AUTO
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    validation_ids: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    validation_stores: tuple[str, ...] | None = None
    validation_videos: Count | None = None
    flow: str | None = None
    run: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    clip_frames: Count | None = None
    clip_stride: Count | None = None
    batch_size: Count | None = None
    batch_size_of: dict[str, Count] | None = None
    short: Literal["skip", "pad"] | None = None
    augment: AugmentSection | None = None
    strict_inputs: bool = False
    carry_state: bool | None = None
    loss: str | None = None
    loss_over_time: Literal["mean", "sum"] | None = None
    optimiser: Literal["adam", "rmsprop"] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    schedule: ScheduleSection | Literal["constant"] | None = None
    gradient_clip_norm: Annotated[float, Field(ge=0)] | None = None
    epochs: Count | None = None
    iterations: Count | None = None
    validate_every: Count | None = None
    patience: Count | None = None
    checkpoint_every: Count = 500
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Precision = "auto"
    workers: Annotated[int, Field(ge=0, le=64)] = 0

    @model_validator(mode="after")
    def _agree(self) -> TrainSettings:
        if self.loss is not None:
            saliency_loss(self.loss)
        if self.model == "tp_cmrnet":
            if self.precision == "float16":
                raise ValueError("tp_cmrnet overflows in float16; use bfloat16 or float32")
            if self.learning_rate is not None and self.learning_rate > 3e-4:
                raise ValueError("tp_cmrnet diverges above a learning rate of 3e-4")
        ways = {
            "validation_split": self.validation_split not in (AUTO, None),
            "validation_share": self.validation_share is not None,
            "validation_ids": self.validation_ids is not None,
        }
        chosen = [key for key, given in ways.items() if given]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} exclude each other; keep one")
        if self.validation_stores is not None and not ways["validation_split"] and chosen:
            raise ValueError(f"validation_stores goes with validation_split, not with {chosen[0]}")
        if self.carry_state and (self.batch_size or 1) > 1:
            raise ValueError("carry_state goes with batch_size 1: one video at a time")
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Check plain values (as read from YAML).

        Raises
        ------
        RecipeError
            Naming every wrong key, its value and what is allowed.
        """
        try:
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            lines = explain(error, "settings", _allowed_keys)
            raise RecipeError(f"training:\n{lines}") from None
        except TypeError as error:
            raise RecipeError(f"a setting holds what YAML reads specially: {error}") from None

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        overrides: Sequence[str] = (),
        **values: Any,
    ) -> TrainSettings:
        """Read a YAML file, then `values` that are not None, then ``dotted.key=YAML`` overrides.

        Raises
        ------
        RecipeError
            Where the file or an override cannot be read, or holds wrong values.
        """
        merged = {} if path is None else read_mapping(Path(path))
        merged |= {key: value for key, value in values.items() if value is not None}
        for change in overrides:
            override(merged, change)
        merged.setdefault("run", f"runs/{merged.get('model')}")
        return cls.parse(merged)

    def with_paper(
        self, spec: Spec, world_size: int = 1, *, pictures: bool = False
    ) -> TrainSettings:
        """These settings, what was left open filled in with the paper's.

        Parameters
        ----------
        spec : Spec
        world_size : int
            Processes that train together.
        pictures : bool
            All training videos are still pictures of one frame.

        Raises
        ------
        RecipeError
            The state is to be carried by several processes at once.
        """
        paper = spec.training.of_pictures() if pictures else spec.training
        values = self.resolved()
        if self.batch_size_of is None:
            sizes = paper.batch_size_of if self.batch_size is None else {}
            values["batch_size_of"] = dict(sizes)
        if self.augment is None:
            values["augment"] = AugmentSection(**paper.augment).resolved()
        for key in (
            "clip_frames",
            "batch_size",
            "short",
            "loss",
            "loss_over_time",
            "optimiser",
            "learning_rate",
            "weight_decay",
        ):
            values[key] = getattr(paper, key) if values[key] is None else values[key]
        values["clip_stride"] = values["clip_stride"] or values["clip_frames"]
        if self.gradient_clip_norm is None:
            values["gradient_clip_norm"] = paper.gradient_clip_norm or 0.0
        if self.schedule is None:
            values["schedule"] = "constant" if paper.schedule is None else vars(paper.schedule)
        if self.epochs is None:
            values["epochs"] = paper.epochs or EPOCHS
        alone = {values["batch_size"], *values["batch_size_of"].values()} == {1}
        alone = alone and world_size == 1
        if self.carry_state is None:
            values["carry_state"] = spec.recurrent and alone
        elif self.carry_state and not (spec.recurrent and alone):
            raise RecipeError(
                "carry_state needs a recurrent network, batch_size 1 and one process; here: "
                f"{self.model}, recurrent={spec.recurrent}, batch_size {values['batch_size']}, "
                f"{world_size} processes"
            )
        return TrainSettings.parse(values)

    def spec(self) -> Spec:
        """What the network reads and how its paper trains it."""
        return saliency.spec(self.model, **self.options)

    def learning_schedule(self) -> Schedule | None:
        """The schedule that applies; of settings that `with_paper` filled in."""
        if isinstance(self.schedule, ScheduleSection):
            return Schedule(self.schedule.factor, self.schedule.every, self.schedule.unit)
        return None

    def check_same(self, folder: Path, before: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the steps so far were made with.

        Raises
        ------
        RecipeError
            Settings that no resumed run may change differ; each is named.
        """
        now = self.resolved()
        before = {**LATER, **before}
        differing = [key for key in now if key not in MAY_CHANGE and now[key] != before.get(key)]
        if differing:
            changes = "; ".join(
                f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in differing
            )
            raise RecipeError(
                f"{folder} holds a run with other settings ({changes}); go on with those, or name "
                "another folder: run=…"
            )


def _allowed_keys(place: Place) -> list[str]:
    inside = len(place) > 1 and place[0] == "augment"
    return list((AugmentSection if inside else TrainSettings).model_fields)


LATER: Mapping[str, Any] = {
    "validation_share": None,
    "validation_ids": None,
    "batch_size_of": {},
    "augment": AugmentSection().resolved(),
}
"""What runs of former versions did, whose checkpoints do not say it."""

MAY_CHANGE = frozenset(
    {
        "run",
        "epochs",
        "iterations",
        "patience",
        "validate_every",
        "validation_videos",
        "checkpoint_every",
        "strict_inputs",
        "workers",
        "device",
    }
)
"""Settings that a resumed run may have changed: they do not alter the steps taken so far."""
