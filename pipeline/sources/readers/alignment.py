"""Match the images of a clip with its annotation pictures by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from foveal.pipeline.recipe.section import Reconcile

_SHOWN_NUMBERS = 5


@dataclass(frozen=True)
class Aligned:
    """Pictures of a clip; item k of each kind belongs to frame k.

    Attributes
    ----------
    images : tuple of str
        Names in the clip's folder of images.
    maps, points : tuple of Path
        Paths of the maps; empty where the clip has none.
    notes : tuple of str
        What a person should know, such as frames left out.
    problem : str
        Why the kinds do not belong together; empty where they do.
    """

    images: tuple[str, ...]
    maps: tuple[Path, ...]
    points: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    problem: str = ""


def align(
    images: Mapping[int, str],
    kinds: Mapping[str, Mapping[int, str]],
    maps_folder: Path,
    points_folder: Path,
    rule: Reconcile,
) -> Aligned:
    """Match images and annotation pictures by a `rule`.

    ``strict`` requires the same numbers in all kinds. ``intersect_by_name`` keeps the numbers that
    all kinds have. ``truncate_to_shorter`` takes each kind in order and cuts it to the shortest.
    Kinds without files are ignored. `images` and each of `kinds` (``maps``, ``points``) are names
    by number; `maps_folder` and `points_folder` are the folders of the latter.
    """
    present = {"images": images, **{kind: files for kind, files in kinds.items() if files}}
    counts = ", ".join(f"{len(files)} {kind}" for kind, files in present.items())
    differing = _differences(present)
    notes, problem = [], ""
    if differing and rule == "strict":
        problem = (
            f"{counts} do not belong together ({differing}); dataset.reconcile: intersect_by_name "
            "keeps the frames that all have"
        )
    elif differing:
        if rule == "intersect_by_name":
            common = set.intersection(*(set(files) for files in present.values()))
            present = {
                kind: {number: name for number, name in files.items() if number in common}
                for kind, files in present.items()
            }
        else:
            shortest = min(len(files) for files in present.values())
            present = {kind: dict([*files.items()][:shortest]) for kind, files in present.items()}
        kept = len(present["images"])
        notes.append(f"{rule}: {kept} frames kept of {counts} ({differing})")
        if not kept:
            problem = f"{counts} have no frame in common"
    notes.extend(_gaps(present["images"]))
    maps, points = (
        tuple(folder / name for name in present.get(kind, {}).values())
        for kind, folder in (("maps", maps_folder), ("points", points_folder))
    )
    names = tuple(present["images"].values())
    return Aligned(names, maps, points, notes=tuple(notes), problem=problem)


def _differences(present: Mapping[str, Mapping[int, str]]) -> str:
    """Numbers that some kinds have and others lack, in words; empty where all have the same."""
    everything = set().union(*present.values())
    found = []
    for kind, files in present.items():
        if lacking := sorted(everything - files.keys()):
            shown = ", ".join(map(str, lacking[:_SHOWN_NUMBERS]))
            more = ", …" if len(lacking) > _SHOWN_NUMBERS else ""
            found.append(f"{kind} lack {shown}{more}")
    return "; ".join(found)


def _gaps(images: Mapping[int, str]) -> list[str]:
    jumps = [f"{a} to {b}" for a, b in pairwise(images) if b != a + 1]
    if not jumps:
        return []
    return [f"frame numbers jump {', '.join(jumps[:_SHOWN_NUMBERS])}"]
