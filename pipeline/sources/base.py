"""What every dataset adapter provides: one file per dataset, which ends in its `Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from numpy.typing import NDArray

from foveal.pipeline.recipe.section import DatasetSection, GazeSelection
from foveal.pipeline.sources.readers.files import dataset_root
from foveal.pipeline.sources.readers.points import only_pairwise
from foveal.pipeline.video.density_kernels import DensityConstants
from foveal.pipeline.video.types import Fixations, Video


class PublishedMaps(Protocol):
    """Density maps as a dataset publishes them, read frame by frame.

    Two attributes are optional: ``dtype``, for maps of more than 8 bits, and ``about``, a mapping
    of JSON values that is stored with the array. `VideoMaps` in ``readers/grey_videos.py`` has
    both.
    """

    def __len__(self) -> int:
        """Return the number of frames that have a map."""

    def density(self, frame: int) -> NDArray[Any]:
        """Read the map of a frame exactly as published.

        Parameters
        ----------
        frame : int
            Frame number, counted from 0.

        Returns
        -------
        ndarray, unsigned integers [height, width]
        """


class Source(Protocol):
    """A raw dataset on disk, which is only read.

    A fault in one video raises `GazeError` or `DecodeError` when that video is requested, so that
    the other videos can still be listed.

    Two members are optional. ``left_out`` is a sentence about files beside the videos that are not
    read; `videos` sets it. ``annotated_frames(video)`` counts the frames of an annotation that must
    be opened for this; see `foveal.pipeline.sources.annotated_frames`.
    """

    def videos(self) -> Sequence[Video]:
        """List all videos of the wanted splits, in a stable order, without opening them."""

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read the fixated points of all selected observers.

        The length of a video is known only after decoding. So points may lie after the last frame;
        the caller removes these with `Fixations.clipped`.

        Parameters
        ----------
        video : Video
        height_px, width_px : int
            Size of the upright picture.

        Raises
        ------
        GazeError
            The annotation is missing, damaged or withheld.
        """

    def published_maps(self, video: Video) -> PublishedMaps | None:
        """Open the published density maps of a video; None where this form has none.

        Parameters
        ----------
        video : Video

        Raises
        ------
        GazeError
            Maps should be there, and are missing or damaged.
        """

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; they enter the fingerprint."""


Config = TypeVar("Config", bound=DatasetSection)


class RawSource(Generic[Config]):
    """What the sources of raw gaze share: root, observers, no published maps; see `Source`.

    Parameters
    ----------
    config : DatasetSection
    fixations : GazeSelection or None
        The recipe's choice of observers; None selects all.

    Attributes
    ----------
    root : Path
        Folder of the dataset, resolved.
    subjects : tuple of str or 'all'
        Observers that the recipe selects.
    left_out : str
        As in `Source`.

    Raises
    ------
    RecipeError
        The root does not exist, or the mapping is for DHF1K only.
    """

    def __init__(self, config: Config, fixations: GazeSelection | None) -> None:
        self.config = config
        self.root = dataset_root(config.root)
        self.subjects = fixations.subjects if fixations else "all"
        self.left_out = ""
        only_pairwise(fixations)

    def published_maps(self, video: Video) -> PublishedMaps | None:
        """Return None: there are no published maps.

        Parameters
        ----------
        video : Video
        """
        return None


PICTURE_FILE, AVI_FILE, MP4_FILE = "*.[pjPJ][npNP][gG]", "*.[aA][vV][iI]", "*.[mM][pP]4"
"""Patterns for `Form.signs`."""


@dataclass(frozen=True)
class Form:
    """One published form of a dataset, and the signs by which ``foveal init`` recognises it.

    Where several forms match a folder, the one with the most signs is taken.

    Attributes
    ----------
    title : str
        Name of the form for people.
    signs : sequence of tuple of str
        Parts that must be there. Each part is a tuple of glob patterns, one of which must match.
    settings : mapping
        Keys of the recipe's dataset section that this form needs.
    options : mapping of str to mapping
        Further settings by glob pattern; those of the first pattern that matches are used.
    videos : mapping of str to int
        Videos of each split as published; ``foveal check`` compares what it finds with them.
    folder_key : str
        Key of the section that takes the folder in which the signs were found. Such a form is
        general: it is taken only where no other form is recognised, not even half of one.
    """

    title: str
    signs: Sequence[tuple[str, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    videos: Mapping[str, int] = field(default_factory=dict)
    folder_key: str = ""


@dataclass(frozen=True)
class Dataset:
    """Everything foveal knows about a dataset; registered in the group ``foveal.sources``.

    Attributes
    ----------
    kind : str
        The recipe's ``dataset.kind``.
    title : str
        Name for people.
    config : type of DatasetSection
        Its keys in the recipe.
    open : callable
        Makes the `Source` from a section and a selection of gaze. Raises RecipeError where the
        root does not exist or the settings do not fit its content.
    forms : sequence of Form
        Published forms that ``foveal init`` recognises.
    density : DensityConstants, optional
        The authors' own constants.
    citation, terms : str
        The paper to cite; where the data come from and under which terms they may be used.
    redistribution : {'allowed', 'unclear', 'forbidden'}
        Whether the terms permit to pass on what was made from the data; ``foveal push`` warns
        accordingly.
    recipe : str
        YAML with comments that ``foveal init`` fills in. Empty: ``recipes/<kind>.yaml`` of foveal,
        or a plain recipe of frames where there is none.
    folder_name : callable
        Gives the name of the folder in which the authors publish the pictures of a video, from the
        video's id; exports use it.
    film : callable
        Gives the film that a video is a shot of, from the video's id. Trainings never divide the
        shots of one film between training and validation. By default each video is a film.
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
    folder_name: Callable[[str], str] = str
    film: Callable[[str], str] = str
