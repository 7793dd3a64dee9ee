"""A small raw dataset and builds of it without Prefect, shared by the tests of whole builds."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from foveal.pipeline.build.build import Build
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.demo import DemoClip, write_demo
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.copies import write_group
from foveal.storage.index import index_row, write_index
from foveal.storage.location import Location
from foveal.storage.marks import group_name, read_journal, read_marks, write_mark
from foveal.storage.reader import Store, open_store
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter

SIZE = (72, 128)
CLIPS = (
    DemoClip(1, 20, "meadow", 2, published=True),
    DemoClip(2, 9, "shore", 2),
    DemoClip(601, 14, "autumn", 2),
)
FRAMES = {"001": 20, "002": 9, "601": 14}
I3D = {
    "window": 9,
    "stride": 2,
    "pooling": "none",
    "endpoint": "global",
    "size": [32, 32],
    "weights_rgb": "random:1",
    "weights_flow": "random:2",
    "dtype": "float32",
}
"""The cheapest windows whose rows are no frames."""


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
    recompute = options.get("recompute", ())
    with Build.open(recipe).at_work(alone=bool(recompute or options.get("repair"))) as work:
        plan = work.plan(**options)
        work.remember(plan)
        results = [*plan.settled, *(work.run(item.video.id, recompute) for item in plan.to_do)]
        index = work.finalise(results).set_index("video")
    return {result.video: result for result in results}, index


def built_store(folder: Path, **sections: Any) -> Store:
    """The three clips and a store of them, see `recipe_values`."""
    values = recipe_values(write_raw(folder / "raw"), folder / "store.zarr", **sections)
    results, _ = build(Recipe.parse(values))
    assert all(result.ok for result in results.values()), results
    return open_store(folder / "store.zarr")


def bare_store(folder: Path) -> Store:
    """Like `built_store` with I3D windows, but only the timeline of video 002 is complete."""
    raw, url = write_raw(folder / "raw"), folder / "store.zarr"
    only_time: dict[str, Any] = {"frames": None, "flow": [], "fixations": None, "density": None}
    build(Recipe.parse(recipe_values(raw, url, **only_time)), only=["002"])
    build(Recipe.parse(recipe_values(raw, url, i3d=I3D)), only=["001", "601"])
    return open_store(url)


def multiply(store: Store, video: str, names: Iterable[str]) -> None:
    """Copy a video of a local store under other names, and index them all."""
    folder = Path(store.location.url)
    for name in names:
        shutil.copytree(folder / "videos" / video, folder / "videos" / group_name(name))
        attributes = store.location.read_json(f"videos/{video}/zarr.json")["attributes"]
        write_group(Location(folder), f"videos/{group_name(name)}", attributes)
        for mark in read_marks(store.location, video).values():
            write_mark(Location(folder), replace(mark, video=name))
    reindex(store.location.url)


def reindex(url: str) -> None:
    """Write the index of what the journal holds."""
    location = Location(url)
    marks, quarantined = read_journal(location)
    rows = [
        index_row(video, None, marks.get(video, {}), quarantined.get(video))
        for video in sorted(marks.keys() | quarantined.keys())
    ]
    write_index(location, rows)


def write_prediction(store: Store, video: str, name: str, maps: NDArray[Any]) -> None:
    """Write maps [frames, height, width] as ``saliency_<name>``, in place of former ones."""
    array = f"saliency_{name}"
    dims = ("time", f"{array}_y", f"{array}_x")
    write_array(store, video, array, maps, dims, axis="frame", kind="map", role="prediction")


def write_array(
    store: Store, video: str, name: str, values: NDArray[Any], dims: tuple[str, ...], **said: Any
) -> None:
    """Write an array as a stage of its own, in place of a former one; `said` as in `ArraySpec`."""
    location = Location(store.location.url)
    attributes = location.read_json(f"videos/{video}/zarr.json")["attributes"]
    writer = VideoWriter(location, video, attributes)
    writer.invalidate([name] if name in read_marks(location, video) else [], [name])
    identity = {"stage": name, "values_sha256": hashlib.sha256(values.tobytes()).hexdigest()}
    spec = ArraySpec(name, dims, values.shape[1:], values.dtype, **said)
    stage = writer.stage(name, identity, [spec])
    stage.append({name: values})
    stage.complete({})


def objects(store: Path) -> dict[str, str]:
    """SHA-256 of every object of the Zarr hierarchy (marks hold times of day, so not those)."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((store / "videos").rglob("*"))
        if path.is_file()
    }
