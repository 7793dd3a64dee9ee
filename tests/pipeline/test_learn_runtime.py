"""What networks cost: every part is timed, shared parts once, and counted where they are read."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.pipeline.learn.runtime import Stopwatch, moving_scene

TINY = {"input_size": [32, 32], "width": 0.05}


def test_parts_add_up_and_flow_is_timed_once() -> None:
    told: list[str] = []
    watch = Stopwatch("cpu", rounds=1, flow="dis", tell=told.append)
    rows = [watch.measure(name, **TINY) for name in ("salema", "gfsalnet", "gfsalnet_temporal")]
    salema, both, temporal = rows
    assert (salema.flow, salema.flow_seconds, salema.features) == ("", None, "")
    assert salema.all_seconds == salema.network_seconds > 0
    assert both.flow == temporal.flow == "dis 32x32"
    assert both.all_seconds == pytest.approx(both.network_seconds + both.flow_seconds)
    assert both.flow_seconds == temporal.flow_seconds
    assert told == [
        "salema: network", "gfsalnet: network", "gfsalnet: dis 32x32", "gfsalnet_temporal: network",
    ]  # fmt: skip
    built = saliency.build("gfsalnet", weights="random", **TINY)
    assert both.parameters == sum(each.numel() for each in built.parameters())
    assert both.published is None  # of the paper's size alone


def test_features_count_with_the_network_that_reads_them() -> None:
    watch = Stopwatch("cpu", rounds=1, flow="dis")
    watch._known |= {("i3d", "rgb"): 2.0, ("i3d", "flow"): 3.0}  # as if timed for another network
    tiny = {"width": 0.05, "feature_channels": 4}
    one, two = (watch.measure(name, **tiny) for name in ("lsts_rgb", "lsts_rgb_flow"))
    assert (one.features, one.features_seconds, one.flow) == ("I3D rgb", 2.0, "")
    assert (two.features, two.features_seconds, two.flow) == (
        "I3D rgb and flow",
        5.0,
        "dis 224x224",
    )
    assert two.all_seconds == pytest.approx(5.0 + two.network_seconds + two.flow_seconds)


def test_the_scene_moves_and_has_texture() -> None:
    frames = moving_scene((48, 64), 3).astype(float)
    assert frames.shape == (3, 48, 64, 3)
    assert frames.std() > 10
    assert abs(frames[1] - frames[0]).mean() > 0.5


def test_the_command_prints_json_and_markdown() -> None:
    arguments = [
        "runtime",
        "salbce",
        "--rounds",
        "1",
        "--set",
        "width=0.05",
        "--set",
        "input_size=[32, 32]",
    ]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["network"] == "salbce"
    assert row["all_seconds"] == row["network_seconds"] > 0
    shown = CliRunner().invoke(app, [*arguments, "--markdown"]).stdout.strip().splitlines()
    assert len({line.count("|") for line in shown}) == 1
    assert shown[-1].startswith("| salbce | cpu |")
    with pytest.raises(RecipeError, match="nobody"):
        CliRunner().invoke(app, ["runtime", "nobody"], catch_exceptions=False)
