"""Building blocks of the recipe: strict, frozen sections and the types they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_SIDE_PX = 8192
"""No picture side may be larger: bounds every allocation before it is made."""


def _expand(path: Path) -> Path:
    return path.expanduser()


UserPath = Annotated[Path, AfterValidator(_expand)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Size = tuple[Side, Side]
"""[height, width] in pixels."""

Reconcile = Literal["strict", "intersect_by_name", "truncate_to_shorter"]


class Section(BaseModel):
    """A part of the recipe: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def resolved(self) -> dict[str, Any]:
        """Every setting with its default, as plain JSON types."""
        return self.model_dump(mode="json")


class FixationsSection(Section):
    """Which gaze becomes fixated points.

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
    root : path
        Folder the dataset lies in.
    reconcile : {'strict', 'intersect_by_name', 'truncate_to_shorter'}
        What to do where decoded frames and annotation differ in number: quarantine the video, keep
        the frames that both name, or cut to the shorter of both.
    """

    root: UserPath
    reconcile: Reconcile = "strict"
