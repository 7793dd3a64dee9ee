"""This module defines the settings of a training; what is left open is taken from the paper.

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
from foveal.pipeline.learn.loggers import LoggerName
from foveal.pipeline.recipe.section import Section
from foveal.pipeline.recipe.yaml_files import (
    Place,
    check_no_credentials,
    explain,
    override,
    read_mapping,
)

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Count = Annotated[int, Field(ge=1)]

EPOCHS = 10
"""Number of epochs where neither the settings nor the paper give it."""

AUTO = "auto"
"""The value of ``validation_split`` that takes the split ``val`` of stores that have it."""

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentSection(Section):
    """Random changes of the training clips, the same for all frames of a clip.

    Attributes
    ----------
    mirror : float
        Probability that a clip is mirrored, 0 to 1.
    rotate_degrees : float
        Largest angle by which a clip is rotated to either side, 0 to 180 degrees.
    """

    mirror: Probability = 0.0
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0


class ScheduleSection(Section):
    """Multiply the learning rate by `factor` after every `every` iterations or epochs.

    Attributes
    ----------
    factor : float
        Above 0, up to 1.
    every : int
        Number of iterations or epochs, at least 1.
    unit : {'iteration', 'epoch'}
        What `every` counts.
    """

    factor: Annotated[float, Field(gt=0, le=1)]
    every: Count
    unit: Literal["iteration", "epoch"]


class TrainSettings(Section):
    """Everything that a training depends on; None means the paper's value.

    Attributes
    ----------
    model : str
        Name in `foveal.models.saliency`.
    options : mapping
        Options that the network is built with (``width``, ``input_size``, …).
    weights : str
        ``random``, or a file or registered name of weights of the whole network to start from.
    backbone : str or None
        With random weights: weights of the part that the paper starts from, such as ``best.pt`` of
        a run that was pretrained on pictures.
    stores : tuple of str
        Stores to train on together; each step draws from all of them.
    train_split, validation_split : str or None
        None takes all videos, or does without validation. ``auto`` validates on the split ``val``
        of the stores that have one.
    validation_share : float or None
        Instead of a split: this share of the training videos of each store is held out, as whole
        videos chosen by `seed` (of Hollywood-2 whole films), at least one of each store.
    validation_ids : tuple of str or None
        Instead of a split: training videos with these ids are held out; ``5?`` and ``[0-4]*`` are
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
        Seed of everything random.
    clip_frames, clip_stride, batch_size : int or None
        Frames per clip (1 where all videos are still pictures), frames from the start of one clip
        to the next (None: `clip_frames`), clips per step on each device.
    batch_size_of : mapping of str to int, or None
        By kind of dataset (``ucf_sports``), where it differs from `batch_size`. None takes the
        paper's if `batch_size` is None too. A batch then holds clips of one store only.
    short : {'skip', 'pad'} or None
        Videos shorter than a clip are left out, or padded by their last frame, which does not count
        in the loss. None pads where the paper trains on them.
    augment : AugmentSection or None
        None does what the paper does; ``{}`` changes nothing.
    strict_inputs : bool
        Refuse to train on inputs that are not made as the paper's are (see
        `foveal.pipeline.learn.fit`), instead of warning.
    carry_state : bool or None
        Pass a recurrent network's state on from clip to clip of a video, detached, and start anew
        with each video (Linardos et al. 2019). None does so if each step has one clip.
    loss, loss_over_time, optimiser, learning_rate, weight_decay
        See `foveal.models.saliency.Training`.
    schedule : ScheduleSection, 'constant' or None
        Schedule of the learning rate.
    gradient_clip_norm : float or None
        0 clips nothing.
    epochs, iterations : int or None
        If `iterations` is given, it is the limit instead of `epochs`.
    validate_every : int or None
        Iterations between validations; None validates after each epoch.
    patience : int or None
        Stop after so many validations without a better NSS; None never stops, since no paper does.
    checkpoint_every : int
        Iterations between checkpoints; epochs and validations end with a checkpoint too.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : {'auto', 'float32', 'bfloat16', 'float16'}
        ``auto`` is bfloat16 on a GPU that has it, else float32.
    workers : int
        Processes that read ahead; 0 reads in a thread of this process.
    logger : {'tensorboard', 'wandb', 'mlflow'} or None
        Where loss and NSS are shown too, see `foveal.pipeline.learn.loggers`.
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
    logger: LoggerName | None = None

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

        Parameters
        ----------
        values : mapping
            Settings by key.

        Raises
        ------
        RecipeError
            A value is wrong, or one holds credentials. The message names every wrong key, its value
            and what is allowed.
        """
        check_no_credentials(values)
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
        """Read settings from a YAML file, then from values, then from overrides; the last wins.

        Parameters
        ----------
        path : str or Path, optional
            The YAML file.
        overrides : sequence of str
            ``dotted.key=YAML``.
        **values
            Settings by key; None is skipped.

        Raises
        ------
        RecipeError
            The file or an override cannot be read, or holds wrong values.
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
        """Return these settings with everything that is None taken from the paper.

        Parameters
        ----------
        spec : Spec
        world_size : int
            Number of processes that train together.
        pictures : bool
            Whether all training videos are still pictures of one frame.

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
        """Return what the network reads and how its paper trains it."""
        return saliency.spec(self.model, **self.options)

    def learning_schedule(self) -> Schedule | None:
        """Return the schedule of settings that `with_paper` filled in; None for a constant rate."""
        if isinstance(self.schedule, ScheduleSection):
            return Schedule(self.schedule.factor, self.schedule.every, self.schedule.unit)
        return None


def _allowed_keys(place: Place) -> list[str]:
    inside = len(place) > 1 and place[0] == "augment"
    return list((AugmentSection if inside else TrainSettings).model_fields)
