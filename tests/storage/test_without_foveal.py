"""A store is plain Zarr: xarray reads it where foveal cannot be imported, without a warning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter

SPECS = [
    ArraySpec(name, dims, shape, np.dtype(dtype), attributes, *layout, **said_by_name(name))
    for name, dims, shape, dtype, attributes, *layout in [
        ("time", ("time",), (), "float64", {"units": "seconds"}),
        ("frames", ("time", "y", "x", "rgb"), (6, 8, 3), "uint8", {}, 4, 8),
        ("flow_tvl1", ("pair", "flow_tvl1_y", "flow_tvl1_x", "uv"), (3, 4, 2), "float16", {}),
        ("flow_raft", ("pair", "flow_raft_y", "flow_raft_x", "uv"), (5, 6, 2), "float32", {}),
        ("density", ("time", "map_y", "map_x"), (6, 8), "uint8", {}),
        ("fixation_x", ("fixation",), (), "float32", {"units": "pixels"}),
        ("fixation_offset", ("time_plus_1",), (), "int64", {}),
    ]
]

PROGRAM = """
import json, sys, warnings
sys.modules["foveal"] = None
warnings.simplefilter("error")
# All that xarray may say: that it looked for consolidated metadata first, where not told otherwise.
warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated metadata")
import xarray as xr
import zarr
url, group, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
video = xr.open_zarr(url, group=group, **options)
plain = zarr.open_group(url, path=group, mode="r")
sums = {name: float(array.values.astype("f8").sum()) for name, array in video.variables.items()}
assert sums == {name: float(array[:].astype("f8").sum()) for name, array in plain.arrays()}
others = list(zarr.open_group(url, path="videos", mode="r").group_keys())
print(json.dumps([sums, {name: list(v.dims) for name, v in video.variables.items()},
                  video.time.attrs["units"], video.attrs, others]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"consolidated": False}], ids=["plain", "as documented"])
@pytest.mark.parametrize("video", ["002", "a clip/ä"])
def test_xarray_and_zarr_read_every_array_where_there_is_no_foveal(
    tmp_path: Path, video: str, options: dict[str, bool]
) -> None:
    location = Location(tmp_path / "store.zarr")
    create_store(location, "test", {})
    rng = np.random.default_rng(0)
    values = {
        spec.name: rng.integers(0, 100, (20, *spec.item_shape)).astype(spec.dtype) for spec in SPECS
    }
    values["fixation_offset"] = np.arange(21)
    writer = VideoWriter(location, video, {"fps": 30.0, "split": None})
    for spec in SPECS:
        stage = writer.stage(spec.name, {}, [spec])
        stage.append({spec.name: values[spec.name]})
        stage.complete({"parameters": {"size": None}})
    (group,) = (name for name in location.list_folder("videos") if name != "zarr.json")
    # -I keeps the repository off the path: no way leads to foveal.
    shown = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(tmp_path / "store.zarr"), f"videos/{group}",
         json.dumps(options)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    sums, dims, units, attributes, groups = json.loads(shown.stdout)
    assert sums == {name: float(array.astype("f8").sum()) for name, array in values.items()}
    assert dims == {spec.name: list(spec.dims) for spec in SPECS}
    assert (units, attributes, groups) == ("seconds", {"fps": 30.0, "split": None}, [group])
