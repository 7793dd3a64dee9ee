"""Mutants of every format a dataset comes in: a clear error for that video, never another one.

``FOVEAL_MUTANTS`` says how many of each miniature (default 12), ``FOVEAL_SEED`` which.
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from pathlib import Path

import pytest
from miniatures import WRITERS, Miniature
from miniatures.mutants import mutated

from foveal.errors import InputError, RecipeError
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import Source, list_videos, open_source
from foveal.pipeline.video.probe import probe

MUTANTS = int(os.environ.get("FOVEAL_MUTANTS", "12"))
SEED = int(os.environ.get("FOVEAL_SEED", "0"))
OF_THE_WHOLE_DATASET = ("namelist.mat", "VideoNameList.mat", "TrainTestSplit.json")
"""What lists the videos may stop the listing."""


def opened(root: Path, miniature: Miniature) -> tuple[Recipe, Source]:
    dataset = {**miniature.dataset, "root": str(root)}
    recipe = Recipe.parse({"dataset": dataset, "fixations": {}, "store": "unused"})
    return recipe, open_source(recipe.dataset, recipe.fixations)


def read(root: Path, miniature: Miniature, name: str) -> list[str]:
    """Ask a dataset for everything it has; what it complains of."""
    complaints = []
    try:
        recipe, source = opened(root, miniature)
        videos = list_videos(source, recipe.dataset)
    except RecipeError as error:
        if name not in OF_THE_WHOLE_DATASET:
            raise AssertionError("the listing ended") from error
        return [str(error)]
    for video in videos:
        size = miniature.videos[video.id].size if video.id in miniature.videos else (8, 8)
        for ask in (
            lambda video=video: probe(video),
            lambda video=video, size=size: source.fixations(video, *size).clipped(100),
            lambda video=video: [
                maps.density(frame)
                for maps in [source.published_maps(video)]
                if maps is not None
                for frame in range(len(maps))
            ],
        ):
            try:
                ask()
            except InputError as error:
                complaints.append(str(error))
    return complaints


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_mutant_costs_its_own_video_and_is_named(form: str, tmp_path: Path) -> None:
    rng = random.Random(f"{form} {SEED}")
    root = tmp_path / "dataset"
    miniature = WRITERS[form](root)
    _, source = opened(root, miniature)
    before = read(root, miniature, "")
    files = {path for video in source.videos() for path in video.annotation_paths}
    files |= {path for name in OF_THE_WHOLE_DATASET for path in root.rglob(name)}
    videos = [video for video in source.videos() if video.image_names is None]
    pictures = [video.path / name for video in source.videos() for name in video.image_names or ()]
    candidates = [*sorted(files), *(video.path for video in videos[:1]), *pictures[:1]]
    kept = tmp_path / "kept"
    for number in range(MUTANTS):
        path = rng.choice(candidates)
        shutil.copy(path, kept)
        data = mutated(path.read_bytes(), rng)
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                complaints = [one for one in read(root, miniature, path.name) if one not in before]
        except Exception as error:
            raise AssertionError(
                f"mutant {number} of {path} (seed {SEED}): {data[:2000]!r}"
            ) from error
        for complaint in complaints if path.name not in OF_THE_WHOLE_DATASET else ():
            assert path.name in complaint or path.parent.name in complaint, complaint
        shutil.copy(kept, path)
