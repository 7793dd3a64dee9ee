"""Building blocks of the recipe: strict, frozen sections and the types they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from foveal.pipeline.recipe.recipe import Recipe
    from foveal.pipeline.stages.base import Stage, StageRequest

MAX_SIDE_PX = 8192
"""No picture side may be larger: bounds every allocation before it is made."""


def _expand(path: Path) -> Path:
    return path.expanduser()


UserPath = Annotated[Path, AfterValidator(_expand)]
"""A path in which ``~`` stands for the user's home folder."""

Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
"""A side of a picture in pixels, 1 to `MAX_SIDE_PX`."""

Size = tuple[Side, Side]
"""[height, width] in pixels."""

Reconcile = Literal["strict", "intersect_by_name", "truncate_to_shorter"]
"""What to do where decoded frames and annotation differ in number, see `DatasetSection`."""


class Section(BaseModel):
    """A part of the recipe: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def resolved(self) -> dict[str, Any]:
        """Every setting with its default, as plain JSON types."""
        return self.model_dump(mode="json")


class GazeSelection(Section):
    """Which gaze becomes fixated points; the recipe's ``fixations`` section.

    Attributes
    ----------
    mapping : {'pairwise', 'authors'}
        How the samples of one observer in one frame become pixels: each (x, y) is one pixel, or
        the outer product of all x and all y that DHF1K's ``record_mapping.m`` sets by mistake.
    subjects : 'all' or list of str
        Observers to keep, by the dataset's own ids.
    """

    mapping: Literal["pairwise", "authors"] = "pairwise"
    subjects: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all"


class DatasetSection(Section):
    """What every dataset section has; each source adds its own keys.

    Attributes
    ----------
    kind : str
        Name of the dataset in the registry.
    root : path
        Folder the dataset lies in.
    reconcile : {'strict', 'intersect_by_name', 'truncate_to_shorter'}
        What to do where decoded frames and annotation differ in number: quarantine the video, keep
        the frames that both name, or cut to the shorter of both.
    """

    kind: str
    root: UserPath
    reconcile: Reconcile = "strict"


class DecodeSection(Section):
    """How strict the decoder is.

    Attributes
    ----------
    errors : {'quarantine', 'accept'}
        What a complaint of the decoder (corrupt packets, fewer frames than an AVI declares) means:
        the video is given up with its reason, or taken as the decoder concealed it.
    """

    errors: Literal["quarantine", "accept"] = "quarantine"


class StageSection(Section):
    """A section that asks for stages; registered in the group ``foveal.stages``.

    The name under which it is registered is its key in the recipe.

    Attributes
    ----------
    many : bool
        Whether the recipe holds a list of such sections, as of ``flow``.
    fills_cores : bool
        Whether its stages keep every core busy with one video, so that a build takes few videos
        at a time.
    """

    many: ClassVar[bool] = False
    fills_cores: ClassVar[bool] = False

    @classmethod
    def check(cls, sections: Sequence[Self], recipe: Recipe) -> None:
        """Check that all `sections` of this kind fit together and fit the rest of the `recipe`.

        Raises
        ------
        ValueError
            They do not; the message names the keys and what to change.
        """

    def make(self, request: StageRequest) -> Sequence[Stage]:
        """Make new stages for the video of a `request`; none where it lacks their inputs.

        Raises
        ------
        RecipeError
            The settings cannot be met on this machine.
        """
        raise NotImplementedError

    def without_device(self) -> Self | None:
        """The section to use instead where the GPU is lost; None where the video fails then."""
        return None

    def takes_device(self) -> bool:
        """Whether its stages compute on the recipe's ``device``; a cluster places videos by it."""
        return False
