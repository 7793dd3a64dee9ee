"""TV-L1 by foveal's kernel: OpenCV's DualTVL1 is the oracle, on any size, setting and machine."""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flow_scenes import panning_frames
from numpy.typing import NDArray

from foveal.errors import MissingDependency
from foveal.models.flow import (
    make_estimator,
    tvl1_kernel,
    tvl1_median,
    tvl1_planes,
    tvl1_pyramid,
)
from foveal.models.flow.tvl1 import TVL1
from foveal.models.flow.tvl1_opencv import OpenCVTVL1
from foveal.pipeline.demo import natural_scene, render_scene
from foveal.pipeline.video.resize import resize_frames

SAMPLES = Path(os.environ.get("FOVEAL_SAMPLES", Path(__file__).parents[3] / "shared" / "data"))
CLIPS = ("dhf1k/video/002.AVI", "videos/ggs.mp4", "videos/znv.mp4")
MEAN_PX, PERCENTILE_99_PX = 0.005, 0.05


def distance_px(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.linalg.norm(a - b, axis=-1)


def assert_agrees(frames: NDArray[np.uint8], **settings: Any) -> None:
    """To the bit where OpenCV resizes as the kernel does, else within the stated bound."""
    ours, theirs = TVL1(**settings)(frames), OpenCVTVL1(**settings)(frames)
    if "scale_step" not in settings and platform.machine() == "x86_64" and resizes_alike():
        np.testing.assert_array_equal(ours, theirs)
    error_px = distance_px(ours, theirs)
    assert error_px.mean() <= MEAN_PX
    assert np.percentile(error_px, 99) <= PERCENTILE_99_PX


def resizes_alike() -> bool:
    """Whether OpenCV's float32 resize rounds as the kernel's (it takes code by CPU)."""
    picture = np.random.default_rng(0).uniform(0, 255, (112, 112)).astype(np.float32)
    theirs = cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    ours = np.empty((90, 90), np.float32)
    ratio = (1.25, 1.25)
    tvl1_pyramid.resize(picture, 112, 112, ours, ratio, np.float32(1), 1)
    return np.array_equal(ours, theirs)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(112, 112), (45, 61), (130, 47), (97, 224)], ids=str)
@pytest.mark.parametrize("u_px", [0.4, -3.0])
def test_pans_are_opencvs(size: tuple[int, int], u_px: float) -> None:
    assert_agrees(panning_frames(3, *size, u_px, 1.1))


@pytest.mark.parametrize(
    "size",
    [(2, 2), (2, 40), (40, 2), (3, 5), (4, 4), (15, 15), (16, 16), (19, 20), (20, 21)],
    ids=str,
)
def test_small_pictures_are_opencvs(size: tuple[int, int]) -> None:
    assert_agrees(noise(3, *size))


@pytest.mark.parametrize(
    "settings",
    [
        {"median_filtering": 3},
        {"median_filtering": 1},
        {"scale_step": 0.5},
        {"scale_step": 0.7, "scales": 4},
        {"scales": 1, "warps": 2},
        {"tau": 0.2, "lambda_": 0.1, "theta": 0.25},
        {"epsilon": 0.002},
        {"epsilon": 0.0, "inner_iterations": 20, "outer_iterations": 2},
    ],
    ids=str,
)
def test_every_setting_acts_as_opencvs(settings: dict[str, Any]) -> None:
    frames = panning_frames(2, 60, 75, 1.5, 0.5)
    assert_agrees(frames, **settings)
    assert not np.array_equal(TVL1(**settings)(frames), TVL1()(frames))


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_constant_pictures_do_not_move(grey: int) -> None:
    frames = np.full((3, 40, 50, 3), grey, np.uint8)
    assert not TVL1()(frames).any()
    assert_agrees(frames)


@pytest.mark.parametrize("size", [(1, 30), (30, 1), (1, 1)], ids=str)
def test_one_row_or_column_moves_as_three_equal_ones(size: tuple[int, int]) -> None:
    """OpenCV itself reads beyond such a picture's memory; three equal rows are the same problem."""
    frames = noise(2, *size)
    wide = np.broadcast_to(frames, (2, *(3 if side == 1 else side for side in size), 3))
    flow = TVL1()(frames)
    assert np.isfinite(flow).all()
    if size == (1, 1):
        assert not flow.any()
        return
    expected = OpenCVTVL1()(np.ascontiguousarray(wide))
    middle = expected[:, 1:2] if size[0] == 1 else expected[:, :, 1:2]
    np.testing.assert_allclose(flow, middle, atol=1e-5)


def test_read_only_frames_and_views_are_read_as_their_values() -> None:
    frames = panning_frames(3, 40, 60, 1.0, 0.0)
    expected = TVL1()(frames)
    frames.setflags(write=False)
    assert np.array_equal(TVL1()(frames), expected)
    assert np.array_equal(TVL1()(np.asfortranarray(frames)), expected)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        TVL1()(np.full((2, 20, 20, 3), np.nan, np.float32))


def test_threads_and_neighbours_change_nothing() -> None:
    frames = noise(24, 20, 33)
    alone = np.concatenate([TVL1(threads=1)(frames[k : k + 2]) for k in range(23)])
    for threads in (1, 2, 5):
        assert np.array_equal(TVL1(threads=threads)(frames), alone)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 17), (23, 40)], ids=str)
def test_medians_are_opencvs(side: int, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(2).normal(size=size).astype(np.float32)
    assert np.array_equal(blurred(picture, side), cv2.medianBlur(picture, side))


def blurred(picture: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    height, width = picture.shape
    left = tvl1_planes.LEFT
    stride = -(-width // tvl1_planes.LANES) * tvl1_planes.LANES + 2 * left
    plane, around = np.zeros((height + 2, stride), np.float32), np.zeros((height + 4, stride))
    plane[1:-1, left : left + width] = picture
    ranks = np.zeros((5, stride), np.float32)
    tvl1_median.blur(plane, height, width, side, around.astype(np.float32), ranks)
    return plane[1:-1, left : left + width]


def test_the_median_network_is_right_on_every_sorted_binary_input() -> None:
    """Columns are sorted first; by the 0-1 principle the 6^5 binary cases of the rest suffice."""
    cases = np.array(list(itertools.product(range(6), repeat=5)))
    blocks = (np.arange(5)[None, :, None] >= 5 - cases[:, None, :]).astype(np.float32)
    strip = blocks.transpose(1, 0, 2).reshape(5, -1)
    centres = blurred(strip, 5)[2].reshape(-1, 5)[:, 2]
    assert np.array_equal(centres, np.median(blocks.reshape(len(cases), 25), axis=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "clip"),
    [((112, 112), CLIPS[0]), ((224, 224), CLIPS[1]), ((360, 640), CLIPS[2])],
    ids=str,
)
def test_real_footage_is_opencvs(size: tuple[int, int], clip: str) -> None:
    if not (SAMPLES / clip).exists():
        pytest.skip(f"{clip} is not there; set FOVEAL_SAMPLES to the folder that has it")
    film = cv2.VideoCapture(str(SAMPLES / clip))
    film.set(cv2.CAP_PROP_POS_FRAMES, 100)
    frames = np.stack([film.read()[1][..., ::-1] for _ in range(2 if size[1] == 640 else 4)])
    assert_agrees(resize_frames(frames, size))


@pytest.mark.parametrize("size", [(112, 112), (224, 224)], ids=str)
def test_the_demos_truth_is_as_near_as_opencv_comes(size: tuple[int, int]) -> None:
    scene = natural_scene(np.random.default_rng(7), size, 25.0, 2)
    first, second = render_scene(scene)
    frames = np.stack([first.image, second.image])
    seen = ~(first.occluded | first.mixed)
    ours, theirs = (
        distance_px(method(frames)[0], first.flow)[seen].mean() for method in (TVL1(), OpenCVTVL1())
    )
    assert ours <= 1.01 * theirs
    assert_agrees(frames)


def test_gamma_is_left_to_opencv() -> None:
    assert TVL1(gamma=0).name == "tvl1"
    with pytest.raises(ValueError, match="tvl1_opencv"):
        TVL1(gamma=0.1)


@pytest.mark.parametrize(
    "wrong",
    [{"median_filtering": 2}, {"scale_step": 1.0}, {"scales": 0}, {"threads": 0}, {"warps": -1}],
    ids=str,
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TVL1(**wrong)


def test_without_numba_tvl1_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tvl1_kernel", "numba_tools"):
        monkeypatch.delitem(sys.modules, f"foveal.models.flow.{module}")
    monkeypatch.delattr("foveal.models.flow.tvl1_kernel")
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingDependency, match=r"needs numba.*tvl1_opencv"):
        make_estimator("tvl1")
    assert make_estimator("tvl1_opencv").name == "tvl1_opencv"


def test_arrays_of_opencv_stay_valid_under_the_name() -> None:
    """What `parameters` was for ``tvl1`` while OpenCV computed it, word for word."""
    estimator = TVL1(warps=3)
    assert estimator.former_parameters() == [
        {
            "method": "tvl1",
            "grey": "rec601",
            "tau": 0.25,
            "lambda_": 0.15,
            "theta": 0.3,
            "epsilon": 0.01,
            "scale_step": 0.8,
            "median_filtering": 5,
            "gamma": 0.0,
            "scales": 5,
            "warps": 3,
            "inner_iterations": 30,
            "outer_iterations": 10,
        }
    ]
    assert estimator.parameters()["implementation"] == "foveal"
    assert estimator.parameters()["version"] == tvl1_kernel.VERSION


ELSEWHERE = """
import hashlib, sys, time
import numpy as np
from foveal.models.flow import make_estimator
frames = np.random.default_rng(3).integers(0, 256, (3, 75, 93, 3), dtype=np.uint8)
start = time.process_time()
flow = make_estimator("tvl1", threads=3)(frames)
print(hashlib.sha256(flow.tobytes()).hexdigest(), time.process_time() - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names CPUs of x86-64")
def test_other_vector_units_give_the_same_bits_and_code_is_kept(tmp_path: Path) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (3, 75, 93, 3), dtype=np.uint8)
    expected = hashed(TVL1(threads=1)(frames))
    cpu = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}  # no AVX-512
    environment = {**os.environ, **cpu, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    )
    sha256, seconds = first.stdout.split()
    assert sha256 == expected
    assert "compiling TV-L1 for this CPU, once" in first.stderr
    assert float(seconds) < 20
    assert second.stdout.split()[0] == expected
    assert "compiling" not in second.stderr


def hashed(flow: NDArray[np.float32]) -> str:
    return hashlib.sha256(flow.tobytes()).hexdigest()
