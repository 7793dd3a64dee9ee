"""The whole build of a clip against its slowest stage built alone, and what Prefect adds.

Both are built by the same code in the same run: once with every section of the recipe, once with
one section at a time (decoding included). Then many tiny clips are built through the flow and by a
plain loop; the difference is what orchestration costs a video.

    python benchmarks/build.py [--repeats 3] [--videos 100] [--json]
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _figures import Row, faster, print_json, row

from foveal.pipeline.build.build import Build
from foveal.pipeline.demo import DemoClip, encode_video, write_demo
from foveal.pipeline.recipe.recipe import Recipe

SECTIONS: dict[str, Any] = {
    "frames": {"size": [192, 256]},
    "flow": [{"method": "tvl1", "size": [112, 112]}],
    "fixations": {},
    "density": {"preset": "dhf1k", "size": [360, 640]},
}


def build_seconds(recipe: Recipe) -> float:
    started = time.perf_counter()
    with Build.open(recipe).at_work() as work:
        plan = work.plan()
        results = [work.run(item.video.id) for item in plan.to_do]
        assert results
        assert all(result.ok for result in results), results
        work.finalise(results)
    return time.perf_counter() - started


def whole_against_slowest(folder: Path, repeats: int) -> dict[str, Any]:
    """Median seconds of the whole build and of each stage alone, on one clip of 90 frames."""
    raw = folder / "raw"
    write_demo(raw, clips=(DemoClip(1, 90, "meadow", 4),))
    seconds: dict[str, list[float]] = {}
    for turn in range(repeats):
        for name in ("whole", *SECTIONS):
            sections = SECTIONS if name == "whole" else {name: SECTIONS[name]}
            recipe = Recipe.parse(
                {
                    "dataset": {"kind": "dhf1k", "root": str(raw)},
                    "store": str(folder / f"{name}-{turn}.zarr"),
                    **sections,
                }
            )
            seconds.setdefault(name, []).append(build_seconds(recipe))
    medians = {name: median(values) for name, values in seconds.items()}
    slowest = max(SECTIONS, key=medians.__getitem__)
    ratio = medians["whole"] / medians[slowest]
    return {"seconds": medians, "slowest": slowest, "whole_over_slowest": ratio}


def orchestration(folder: Path, videos: int) -> dict[str, float]:
    """Milliseconds a video that the flow adds to a plain loop over the same tiny clips."""
    from foveal.flows.build import build_store
    from foveal.flows.server import prefect_server

    raw = folder / "tiny"
    raw.mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    encode_video(iter(picture), raw / "0.avi", 30.0)
    for k in range(1, videos):
        os.link(raw / "0.avi", raw / f"{k}.avi")

    def recipe(name: str) -> Recipe:
        dataset = {"kind": "videos", "root": str(raw)}
        return Recipe.parse({"dataset": dataset, "store": str(folder / name), "frames": {}})

    build_seconds(recipe("warm.zarr"))
    plain = build_seconds(recipe("plain.zarr"))
    with prefect_server():
        build_store(recipe("first.zarr").resolved(), limit=1, workers=1, return_state=True)
        started = time.perf_counter()
        build_store(recipe("flow.zarr").resolved(), workers=1, return_state=True)
        flow = time.perf_counter() - started
    return {
        "plain_ms_a_video": plain / videos * 1e3,
        "flow_ms_a_video": flow / videos * 1e3,
        "added_ms_a_video": (flow - plain) / videos * 1e3,
    }


def rows(found: dict[str, Any]) -> list[Row]:
    """The same for machines: the whole against its slowest stage, and what Prefect adds."""
    seconds, slowest = found["seconds"], found["slowest"]
    return [
        faster(
            "whole build of a clip of 90 frames",
            seconds["whole"],
            f"its slowest stage alone, {slowest}",
            seconds[slowest],
        ),
        row(
            "what Prefect adds to a video",
            found["added_ms_a_video"],
            "ms per video",
            peer="a plain loop, in all",
            peer_value=found["plain_ms_a_video"],
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    logging.getLogger("foveal").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        found = whole_against_slowest(Path(name), arguments.repeats)
        found |= orchestration(Path(name), arguments.videos)
    if arguments.json:
        print_json(__file__, rows(found), found)
        return
    for stage, seconds in found["seconds"].items():
        print(f"{stage:10s} {seconds:7.2f} s")
    print(f"whole / slowest stage alone ({found['slowest']}): {found['whole_over_slowest']:.2f}")
    print(
        f"a video of 2 frames: {found['plain_ms_a_video']:.1f} ms in a plain loop, "
        f"{found['flow_ms_a_video']:.1f} ms in the flow: "
        f"Prefect adds {found['added_ms_a_video']:.1f} ms"
    )


if __name__ == "__main__":
    main()
