"""What every dataset adapter offers: one file per dataset, which ends in its `Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from foveal.pipeline.recipe.section import DatasetSection, GazeSelection
from foveal.pipeline.video.density_kernels import DensityConstants
from foveal.pipeline.video.types import Fixations, Video


class PublishedMaps(Protocol):
    """Ground truth pictures as a dataset publishes them, read a frame at a time.

    Maps of more than 8 bits say so by an attribute ``dtype``; an attribute ``about`` (a mapping
    that JSON takes) is kept with the array. `foveal.pipeline.sources.readers.grey_videos` has both.
    """

    def __len__(self) -> int:
        """Return the number of frames that have a map."""

    def density(self, frame: int) -> NDArray[Any]:
        """Density picture of a frame, unsigned integers [height, width], exactly as published."""


class Source(Protocol):
    """A raw dataset on disk.

    Files that lie beside the videos and are not read may be told in an attribute ``left_out``, a
    sentence for people, which `videos` sets. A source that must open the annotation to know its
    length has a method ``annotated_frames(video)``, see `foveal.pipeline.sources.annotated_frames`.

    Sources only read; whatever is wrong with one video raises `GazeError` or `DecodeError` when
    that video is asked for, so that listing the others still works.
    """

    def videos(self) -> Sequence[Video]:
        """All videos of the wanted splits, in a stable order, without opening them."""

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Fixated points of all selected observers.

        Frames are not yet clipped to the video's length (it is known only once decoded); the
        caller does that with `Fixations.clipped`.
        """

    def published_maps(self, video: Video) -> PublishedMaps | None:
        """Published density pictures, or None where this form of the dataset has none."""

    def parameters(self) -> dict[str, Any]:
        """Every setting that changes the fixations; enters the fingerprint."""


PICTURE_FILE, AVI_FILE, MP4_FILE = "*.[pjPJ][npNP][gG]", "*.[aA][vV][iI]", "*.[mM][pP]4"
"""Patterns for `Form.signs`."""


@dataclass(frozen=True)
class Form:
    """One published form of a dataset, and the signs by which ``foveal init`` knows it.

    Where several forms match a folder, the one with the most signs is taken.

    Attributes
    ----------
    title : str
    signs : sequence of tuple of str
        Each a part that must be there, as glob patterns of which one has to match.
    settings : mapping
        Keys of the recipe's dataset section that this form calls for.
    options : mapping of str to mapping
        Further settings by the pattern that calls for them; the first that matches counts.
    videos : mapping of str to int
        Videos of each split as published; ``foveal check`` compares what it finds with them.
    folder_key : str
        Key of the section that takes the folder in which the signs were found. Such a form is
        general: it is taken only where no other is recognised, not even half of one.
    """

    title: str
    signs: Sequence[tuple[str, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    videos: Mapping[str, int] = field(default_factory=dict)
    folder_key: str = ""


@dataclass(frozen=True)
class Dataset:
    """Everything foveal knows of a dataset; registered in the group ``foveal.sources``.

    Attributes
    ----------
    kind : str
        The recipe's ``dataset.kind``.
    title : str
        For people.
    config : type of DatasetSection
        Its keys in the recipe.
    open : callable
        Gives the `Source` for a section and a selection of gaze; raises RecipeError where the
        root is not there or the settings do not fit what lies in it.
    forms : sequence of Form
        Published forms that ``foveal init`` recognises.
    density : DensityConstants, optional
        The authors' own constants.
    citation, terms : str
        The paper to cite; where the data come from and under which terms they may be used.
    redistribution : {'allowed', 'unclear', 'forbidden'}
        What the terms say of handing on what was made from the data; ``foveal push`` warns by it.
    recipe : str
        YAML with comments that ``foveal init`` fills in. Empty: ``recipes/<kind>.yaml`` of foveal,
        or a plain recipe of frames where there is none.
    """

    kind: str
    title: str
    config: type[DatasetSection]
    open: Callable[[Any, GazeSelection | None], Source]
    forms: Sequence[Form] = ()
    density: DensityConstants | None = None
    citation: str = ""
    terms: str = ""
    redistribution: Literal["allowed", "unclear", "forbidden"] = "unclear"
    recipe: str = ""
