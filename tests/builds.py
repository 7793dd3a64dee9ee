"""A small raw dataset and builds of it without Prefect, shared by the tests of whole builds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from foveal.pipeline.build.build import Build
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.demo import DemoClip, write_demo
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.marks import read_marks
from foveal.storage.reader import Store
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter

SIZE = (72, 128)
CLIPS = (
    DemoClip(1, 20, "meadow", 2, published=True),
    DemoClip(2, 9, "shore", 2),
    DemoClip(601, 14, "autumn", 2),
)
FRAMES = {"001": 20, "002": 9, "601": 14}


def write_raw(root: Path) -> Path:
    """Three tiny clips with three observers in DHF1K's layout."""
    write_demo(root, clips=CLIPS, size=SIZE, observers=3)
    return root


def recipe_values(root: Path, store: Path | str, **sections: Any) -> dict[str, Any]:
    """A recipe with every stage, as YAML would hold it; a section given replaces the default."""
    values: dict[str, Any] = {
        "dataset": {"kind": "dhf1k", "root": str(root)},
        "store": str(store),
        "frames": {"size": [36, 64]},
        "flow": [{"method": "tvl1", "size": [24, 32]}],
        "fixations": {},
        "density": {"sigma_px": 4.0, "size": [36, 64]},
    }
    return values | sections


def build(recipe: Recipe, **options: Any) -> tuple[dict[str, VideoResult], pd.DataFrame]:
    """Build everything in this process; results by video, and the index."""
    work = Build.open(recipe)
    work.prepare()
    plan = work.plan(**options)
    work.remember(plan)
    recompute = options.get("recompute", ())
    results = [*plan.settled, *(work.run(item.video.id, recompute) for item in plan.to_do)]
    index = work.finalise(results).set_index("video")
    return {result.video: result for result in results}, index


def write_prediction(store: Store, video: str, name: str, maps: NDArray[Any]) -> None:
    """Write maps [frames, height, width] as ``saliency_<name>``, in place of former ones."""
    array = f"saliency_{name}"
    location = Location(store.location.url)
    attributes = location.read_json(f"videos/{video}/zarr.json")["attributes"]
    writer = VideoWriter(location, video, attributes)
    writer.invalidate([array] if array in read_marks(location, video) else [], [array])
    dims = ("time", f"{array}_y", f"{array}_x")
    identity = {"stage": array, "maps_sha256": hashlib.sha256(maps.tobytes()).hexdigest()}
    stage = writer.stage(
        array,
        identity,
        [
            ArraySpec(
                array, dims, maps.shape[1:], maps.dtype, axis="frame", kind="map", role="prediction"
            )
        ],
    )
    stage.append({array: maps})
    stage.complete({})


def objects(store: Path) -> dict[str, str]:
    """SHA-256 of every object of the Zarr hierarchy (marks hold times of day, so not those)."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((store / "videos").rglob("*"))
        if path.is_file()
    }
