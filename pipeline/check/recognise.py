"""Which dataset, in which form, lies in a folder; and a commented recipe for it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from foveal.errors import RecipeError
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources.readers.files import VIDEO_SUFFIXES, folder_names

_SUBFOLDERS = 30
"""So many folders below the given one are tried where nothing lies directly in it."""

_IMAGE = "*.[pjPJ][npNP][gG]"
_MP4 = "*.[mM][pP]4"
_AVI = "*.[aA][vV][iI]"


@dataclass(frozen=True)
class Form:
    """One published form of a dataset.

    Attributes
    ----------
    title : str
    settings : mapping
        Keys of the recipe's dataset section; ``kind`` names the ready recipe.
    signs : sequence of tuple of str
        Each a part that must be there, as patterns of which one has to match.
    options : mapping of str to dict
        Settings by the pattern that calls for them; the first that matches counts.
    """

    title: str
    settings: Mapping[str, Any]
    signs: Sequence[tuple[str, ...]]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_UCF = "[A-Z]*-[0-9][0-9][0-9]"
_IMPORT = {"ground_truth": "import"}

FORMS: Sequence[Form] = (
    Form(
        "DHF1K, as published",
        {"kind": "dhf1k", "form": "raw"},
        (
            (f"video/[0-9]*{_AVI[1:]}",),
            ("exportdata_train/P*/P*_Trail*.txt", f"annotation/*/maps/{_IMAGE}"),
        ),
        {"exportdata_train/P*/P*_Trail*.txt": {}, "annotation": _IMPORT},
    ),
    Form(
        "DHF1K with extracted frames",
        {"kind": "dhf1k", "form": "frames", **_IMPORT},
        (
            (f"annotation/[0-9]*/images/{_IMAGE}", f"frames/[0-9]*/{_IMAGE}"),
            (f"annotation/[0-9]*/maps/{_IMAGE}",),
            ("annotation/[0-9]*/fixation/*.*", "annotation/[0-9]*/fixation/maps/*.mat"),
        ),
    ),
    *(
        Form(
            f"{title}, repackaged by the DHF1K authors",
            {"kind": kind, "form": "frames"},
            tuple(
                tuple(f"{split}/{clip}/{part}/*.*" for split in ("training", "testing"))
                for part in ("images", "maps", "fixation")
            ),
        )
        for title, kind, clip in (
            ("Hollywood-2", "hollywood2", "actionclip*"),
            ("UCF-Sports", "ucf_sports", _UCF),
        )
    ),
    *(
        Form(
            f"{title}, raw gaze of Mathe and Sminchisescu",
            {"kind": kind, "form": "raw"},
            (
                (f"{videos}/{_AVI}",),
                (f"{gaze}/samples/[0-9][0-9][0-9]_*.txt",),
                (f"{gaze}/geometry.txt",),
            ),
        )
        for title, kind, videos, gaze in (
            ("Hollywood-2", "hollywood2", "AVIClips", "gaze_hollywood2"),
            ("UCF-Sports", "ucf_sports", "videos", "gaze_ucf_sports"),
        )
    ),
    Form(
        "DIEM, as published",
        {"kind": "diem", "form": "raw"},
        ((f"*_*x*/video/{_MP4}", "*_*x*/video/*.*"), ("*_*x*/event_data/diem*.txt",)),
    ),
    Form(
        "DIEM, repackaged by STAViS",
        {"kind": "diem", "form": "frames", **_IMPORT},
        (
            ("video_frames/DIEM/*/*.*",),
            ("annotations/DIEM/*/maps/*.*",),
            ("annotations/DIEM/*/fixMap_*.mat",),
        ),
    ),
    Form(
        "LEDOV, as published",
        {"kind": "ledov"},
        (
            (f"LEDOV/*/{_MP4}", f"*/{_MP4}"),
            ("LEDOV/*/Data.mat", "*/Data.mat"),
            ("namelist.mat", "LEDOV/namelist.mat"),
        ),
    ),
    Form(
        "SALICON",
        {"kind": "salicon"},
        (
            ("images/COCO_*", "images/*/COCO_*"),
            ("fixations/*/COCO_*.mat", "fixations_*2014.json"),
        ),
        {"fixations/*/COCO_*.mat": {"gaze": "mat"}, "fixations_*.json": {"gaze": "json"}},
    ),
)


@dataclass(frozen=True)
class Guess:
    """How far a folder looks like a form.

    Attributes
    ----------
    form : Form
    root : Path
        Where it lies: the given folder or one below.
    found, missing : tuple of str
        Patterns of the parts that are there, and of those that are not.
    """

    form: Form
    root: Path
    found: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Recognition:
    """What lies in a folder.

    Attributes
    ----------
    guess : Guess or None
        The form recognised; None where there is none.
    recipe : str
        Commented YAML for it; empty where nothing was recognised.
    message : str
        For a person: what was recognised, or what was found and what is missing.
    """

    guess: Guess | None
    recipe: str
    message: str


def recognise(root: Path, store: str | None = None) -> Recognition:
    """Find out which dataset and form lies in a folder, and write a recipe for it.

    Parameters
    ----------
    root : Path
    store : str, optional
        Where the store is to be; ``<dataset>.zarr`` in the current folder where left out.

    Raises
    ------
    RecipeError
        Where the folder is not there.
    """
    if not root.is_dir():
        raise RecipeError(f"{root} is no folder; give the one the dataset was unpacked into")
    below = (root / name for name in folder_names(root)[:_SUBFOLDERS])
    partial: list[Guess] = []
    for folder in itertools.chain([root], below):
        guesses = [_compare(form, folder) for form in FORMS]
        for guess in guesses:
            if not guess.missing:
                return _recognised(guess, store)
        partial.extend(guess for guess in guesses if guess.found)
    best = max(partial, key=lambda one: len(one.found) / len(one.form.signs), default=None)
    if best is None and (videos := _folder_of_videos(root)) is not None:
        return _recognised(videos, store)
    return Recognition(None, "", _explain(root, best))


def _compare(form: Form, root: Path) -> Guess:
    found, missing = [], []
    for patterns in form.signs:
        match = next((pattern for pattern in patterns if _exists(root, pattern)), None)
        if match is None:
            missing.append(" or ".join(patterns))
        else:
            found.append(match)
    return Guess(form, root, tuple(found), tuple(missing))


def _exists(root: Path, pattern: str) -> bool:
    return next(root.glob(pattern), None) is not None


def _folder_of_videos(root: Path) -> Guess | None:
    for folder in (".", *folder_names(root)[:_SUBFOLDERS]):
        if any(path.suffix.lower() in VIDEO_SUFFIXES for path in (root / folder).iterdir()):
            form = Form("a folder of videos", {"kind": "videos", "videos": folder}, ())
            return Guess(form, root, (f"{folder}/*",), ())
    return None


def _recognised(guess: Guess, store: str | None) -> Recognition:
    form = guess.form
    settings = dict(form.settings)
    for pattern, option in form.options.items():
        if _exists(guess.root, pattern):
            settings |= option
            break
    kind = settings.pop("kind")
    text = (resources.files("foveal") / "recipes" / f"{kind}.yaml").read_text(encoding="utf-8")
    text = _set(text, "store", store or f"{kind}.zarr", indent="")
    text = _set(text, "root", str(guess.root), indent="  ")
    for key, value in settings.items():
        text = _set(text, key, value, indent="  ")
    if settings.get("form") == "raw" and kind in ("hollywood2", "ucf_sports"):
        text = _set(text, "free_viewing_subjects", None, indent="  ")
    Recipe.parse(yaml.safe_load(text))
    return Recognition(guess, text, f"{guess.root}: {form.title} ({', '.join(guess.found)})")


def _set(text: str, key: str, value: Any, indent: str) -> str:
    """Give a key of a ready recipe another value, keeping its comment; new keys follow ``root``."""
    written = json.dumps(value, ensure_ascii=False)
    line = re.compile(rf"^{indent}{key}:[^\n#]*?(\s+#[^\n]*)?$", re.MULTILINE)
    if line.search(text):
        return line.sub(lambda old: f"{indent}{key}: {written}{old[1] or ''}", text, count=1)
    return re.sub(
        r"^  root:.*$",
        lambda root: f"{root[0]}\n{indent}{key}: {written}",
        text,
        count=1,
        flags=re.MULTILINE,
    )


def _explain(root: Path, best: Guess | None) -> str:
    if best is None:
        known = ", ".join(dict.fromkeys(form.title for form in FORMS))
        return f"{root} holds none of the known datasets ({known}) and no videos"
    return (
        f"{best.root} looks like {best.form.title}: found {', '.join(best.found)}; "
        f"missing {'; '.join(best.missing)}"
    )
