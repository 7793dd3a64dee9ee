"""The demo dataset: DHF1K's layout, and a truth that holds against the files themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.ndimage import gaussian_filter

from foveal.errors import FovealError
from foveal.pipeline.demo import (
    CLIPS,
    DemoClip,
    Layer,
    Motion,
    Scene,
    encode_video,
    load_true_flow,
    load_true_gaze,
    natural_scene,
    render_scene,
    write_demo,
)
from foveal.pipeline.demo.observers import observe

HEIGHT, WIDTH = 144, 256
OBSERVERS = ("P01", "P02", "P03", "P04", "P05")
SMALL_CLIPS = (DemoClip(1, 45, "meadow", 3, published=True), DemoClip(601, 30, "autumn", 2))

HEADER = (
    b"Time\tType\tTrial\tL Dia X [px]\tL Dia Y [px]\tL POR X [px]\tL POR Y [px]\tL Event Info\n"
)
ROW = re.compile(
    rb"\d{11,12}\tSMP\t1\t\d+\.\d\d\t\d+\.\d\d\t-?\d+\.\d\d\t-?\d+\.\d\d\t(Fixation|Saccade|Blink|-)\n"
)


def write_small(root: Path, seed: int = 7, clips: Sequence[DemoClip] = SMALL_CLIPS) -> None:
    write_demo(
        root,
        seed,
        clips=clips,
        size=(HEIGHT, WIDTH),
        observers=len(OBSERVERS),
        truth_stride=1,
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "raw"
    write_small(root)
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True)
class Rows:
    time_us: NDArray[np.int64]
    por: NDArray[np.float64]
    event: NDArray[np.str_]

    @property
    def lost(self) -> NDArray[np.bool_]:
        return (self.por == 0).all(axis=1)


def read_rows(root: Path, clip: int, observer: str) -> Rows:
    path = root / "exportdata_train" / observer / f"{observer}_Trail{clip:03d}.txt"
    cells = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return Rows(
        np.array([int(row[0]) for row in cells]),
        np.array([[float(row[5]), float(row[6])] for row in cells]),
        np.array([row[7] for row in cells]),
    )


def read_frames(path: Path) -> list[NDArray[np.uint8]]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        read, picture = capture.read()
        if not read:
            return frames
        frames.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8))


def matlab_round(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


# --- the layout -----------------------------------------------------------------------------


def test_the_default_clips_cover_both_splits_and_the_79_frame_window() -> None:
    assert [clip.number for clip in CLIPS] == [1, 2, 601]
    assert len({clip.frames for clip in CLIPS}) == 3
    assert sum(clip.frames < 79 for clip in CLIPS) == 1


def test_files_lie_as_dhf1k_publishes_them(small: Path) -> None:
    frames = range(1, 46)
    expected = {"README.txt", "truth/demo.json", "video/001.AVI", "video/601.AVI"}
    expected |= {f"truth/{kind}/{clip}.npz" for kind in ("flow", "gaze") for clip in ("001", "601")}
    expected |= {
        f"exportdata_train/{observer}/{observer}_Trail{clip}.txt"
        for observer in OBSERVERS
        for clip in ("001", "601")
    }
    expected |= {f"annotation/0001/maps/{k:04d}.png" for k in frames}
    expected |= {f"annotation/0001/fixation/{k:04d}.png" for k in frames}
    expected |= {f"annotation/0001/fixation/maps/{k:04d}.mat" for k in frames}
    expected |= {"annotation/0001/0045.png"}
    assert set(tree(small)) == expected


def test_gaze_files_have_the_exact_header_and_columns(small: Path) -> None:
    files = sorted(small.glob("exportdata_train/*/*.txt"))
    assert len(files) == 10
    for path in files:
        header, *rows = path.read_bytes().splitlines(keepends=True)
        assert header == HEADER
        assert all(ROW.fullmatch(row) for row in rows)


def test_videos_hold_the_rendered_frames(small: Path) -> None:
    frames = read_frames(small / "video" / "001.AVI")
    scene = natural_scene(
        np.random.default_rng([7, 1]), (HEIGHT, WIDTH), 30, 45, background="meadow", objects=3
    )
    rendered = [frame.image for frame in render_scene(scene)]
    assert len(frames) == len(rendered) == 45
    assert cv2.VideoCapture(str(small / "video" / "001.AVI")).get(cv2.CAP_PROP_FPS) == 30
    for decoded, drawn in zip(frames, rendered, strict=True):
        assert cv2.PSNR(decoded, drawn) > 33  # chroma is subsampled
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (decoded, drawn)]
        assert cv2.PSNR(*grey) > 40


def test_a_seed_gives_the_same_bytes_again_and_another_seed_others(
    small: Path, tmp_path: Path
) -> None:
    write_small(tmp_path / "again")
    assert tree(tmp_path / "again") == tree(small)
    write_small(tmp_path / "other", seed=8, clips=SMALL_CLIPS[:1])
    other = tree(tmp_path / "other")
    for name in ("video/001.AVI", "exportdata_train/P01/P01_Trail001.txt", "truth/flow/001.npz"):
        assert other[name] != tree(small)[name]


# --- gaze -----------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [1, 601])
def test_recorded_gaze_maps_back_onto_the_true_targets(small: Path, clip: int) -> None:
    truth, flow = load_true_gaze(small, clip), load_true_flow(small, clip)
    scale = WIDTH / 1440  # the published mapping, written out anew
    bar = (900 - HEIGHT / scale) / 2
    radii_px = WIDTH * np.linspace(0.055, 0.105, flow.centre_xy.shape[1])
    on_target = checked = 0
    for index, observer in enumerate(OBSERVERS):
        rows = read_rows(small, clip, observer)
        mine = truth.observer == index
        np.testing.assert_array_equal(truth.time_us[mine], rows.time_us - rows.time_us[0])
        np.testing.assert_array_equal(
            truth.frame[mine], [int(t) * 30 // 10**6 for t in rows.time_us - rows.time_us[0]]
        )
        mapped = np.stack(
            [scale * rows.por[:, 0] - 1, scale * (rows.por[:, 1] - bar) - 1], axis=1
        )  # 1-based to 0-based
        seen = ~rows.lost
        np.testing.assert_allclose(mapped[seen], truth.gaze_xy[mine][seen], atol=0.001)
        fixating = truth.target[mine] >= 1
        assert not rows.lost[fixating].any()
        off_target = np.hypot(*(mapped - truth.target_xy[mine])[fixating].T)
        assert off_target.max() < 0.6 * 41.7 * scale  # degrees of drift and tremor
        for frame, target, (x, y) in zip(
            truth.frame[mine][fixating],
            truth.target[mine][fixating],
            truth.target_xy[mine][fixating],
            strict=True,
        ):
            centre = flow.centre_xy[frame, target - 1]
            assert np.hypot(x - centre[0], y - centre[1]) < radii_px[target - 1]
            front = flow.layer[frame, round(y), round(x)]
            assert front >= target  # a nearer object may hide the one followed
            checked += 1
            on_target += front == target
    assert checked > 500
    assert on_target > 0.6 * checked


def test_recordings_show_the_quirks_of_real_ones(small: Path) -> None:
    clips = {clip.number: clip.frames / 30 for clip in SMALL_CLIPS}
    recordings = {(c, o): read_rows(small, c, o) for c in clips for o in OBSERVERS}
    for (clip, _), rows in recordings.items():
        steps_us = np.diff(rows.time_us)
        assert (steps_us > 0).all()
        assert np.median(steps_us) == pytest.approx(4000, abs=20)
        assert len(np.unique(steps_us)) > 50  # jitter
        assert 20_000 < steps_us.max() <= 137_000  # a gap
        overlong = (rows.time_us[-1] - rows.time_us[0]) / 1e6 - clips[clip]
        assert 0.8 < overlong < 1.2
        assert {"Fixation", "Saccade", "Blink", "-"} == set(rows.event)
        assert (rows.event == "Fixation").mean() > 0.5

    def anywhere(found: Callable[[Rows], NDArray[np.bool_]]) -> bool:
        return any(found(rows).any() for rows in recordings.values())

    assert anywhere(lambda r: (r.event == "Blink") & r.lost)
    assert anywhere(lambda r: (r.event == "Blink") & ~r.lost)
    assert anywhere(lambda r: (r.event == "Fixation") & r.lost)
    assert anywhere(lambda r: (r.event == "Fixation") & (r.por[:, 0] > 1440))
    assert anywhere(lambda r: (r.event == "Fixation") & (r.por[:, 1] < 45) & ~r.lost)


def test_saccades_keep_the_main_sequence() -> None:
    scene = natural_scene(np.random.default_rng(0), (360, 640), 30, 300)
    durations_ms, degrees = [], []
    for seed in range(4):
        recording = observe(scene, np.random.default_rng(seed))
        edges = np.flatnonzero(np.diff(np.r_[False, recording.event == "Saccade", False]))
        for start, stop in edges.reshape(-1, 2):
            around = slice(start - 2, stop + 2)
            if (
                np.diff(recording.time_us[around]).max() > 4500  # rows are missing
                or (recording.event[around] == "Blink").any()
                or (recording.por_px[around] == 0).any()
            ):
                continue
            leap = recording.gaze_xy[stop] - recording.gaze_xy[start - 1]
            durations_ms.append(4 * (stop - start))
            degrees.append(np.hypot(*leap) * 1440 / 640 / 41.7)
    assert len(degrees) > 50
    assert np.max(degrees) > 8
    error_ms = np.array(durations_ms) - (21 + 2.2 * np.array(degrees))
    # counted in whole samples; the object goes on moving, by 13 degrees a second at most
    assert np.abs(error_ms).max() < 4 + 2


# --- motion ---------------------------------------------------------------------------------


def test_a_square_that_moves_two_pixels_right_and_one_down() -> None:
    ground = np.zeros((100, 100, 3), np.float32)
    black = Layer(ground, np.ones((100, 100), np.float32), Motion(centre_px=(9.5, 7.5)))
    white = np.full((8, 8, 3), 255, np.float32)  # 4 by 4 pixels, at two texels a pixel
    square = Layer(
        white, np.ones((8, 8), np.float32), Motion((6.5, 5.5), drift_px_per_second=(20, 10)), 2
    )
    scene = Scene((black, square), 16, 20, 10, 3)
    first, second, _ = render_scene(scene)
    on_square = np.zeros((16, 20), bool)
    on_square[4:8, 5:9] = True
    np.testing.assert_array_equal(first.layer == 1, on_square)
    np.testing.assert_array_equal(second.layer == 1, np.roll(on_square, (1, 2), (0, 1)))
    assert first.image[on_square].min() > 100
    assert first.image[8:, :].max() < 100
    np.testing.assert_allclose(first.flow[on_square], [[2, 1]] * 16, atol=1e-5)
    assert not first.flow[~on_square].any()
    np.testing.assert_array_equal(first.occluded, np.roll(on_square, (1, 2), (0, 1)) & ~on_square)


def warp_errors(
    grey: NDArray[np.float32], later: NDArray[np.float32], flow: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Absolute differences to the next frame in place, and to the next frame brought back."""
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    warped = cv2.remap(later, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC)
    return np.abs(later - grey), np.abs(warped - grey)


def grey_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def test_true_flow_warps_a_rendered_frame_onto_the_one_before() -> None:
    scene = natural_scene(np.random.default_rng(3), (360, 640), 30, 6)
    frames = list(render_scene(scene))
    for frame, later in pairwise(frames):
        still, moved = warp_errors(grey_of(frame.image), grey_of(later.image), frame.flow)
        sure = ~(frame.occluded | frame.mixed)
        assert sure.mean() > 0.95
        assert moved[sure].mean() < 0.8  # of 255 grey levels; rounding to uint8 alone gives 0.4
        assert moved[sure].mean() < 0.15 * still[sure].mean()
        assert moved[frame.occluded].mean() > 5 * moved[sure].mean()


@pytest.mark.parametrize("clip", [1, 601])
def test_true_flow_fits_the_encoded_video(small: Path, clip: int) -> None:
    truth = load_true_flow(small, clip)
    frames = [grey_of(frame) for frame in read_frames(small / "video" / f"{clip:03d}.AVI")]
    assert len(truth.flow) == len(frames) - 1
    still, moved = [], []
    for k, flow in enumerate(truth.flow.astype(np.float32)):
        sure = ~(truth.occluded[k] | truth.mixed[k])
        in_place, brought_back = warp_errors(frames[k], frames[k + 1], flow)
        still.append(in_place[sure].mean())
        moved.append(brought_back[sure].mean())
    assert max(moved) < 2.5  # grey levels; compression alone leaves about one
    assert np.mean(moved) < 0.5 * np.mean(still)


def test_objects_move_as_the_flow_at_their_centres_says(small: Path) -> None:
    truth = load_true_flow(small, 1)
    compared = 0
    for k, here in enumerate(truth.centre_xy[:-1]):
        for index, (x, y) in enumerate(here):
            row, column = round(y), round(x)
            if truth.layer[k, row, column] != index + 1:
                continue  # hidden
            step = truth.centre_xy[k + 1, index] - here[index]
            # the pixel lies up to 0.7 px from the centre: turning and zooming add a little
            np.testing.assert_allclose(truth.flow[k, row, column], step, atol=0.04)
            compared += 1
    assert compared > 60
    assert truth.occluded.any()
    assert np.abs(truth.flow - np.round(truth.flow)).max() > 0.4  # sub-pixel motion


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), objects=st.integers(1, 5))
def test_ground_covers_the_picture_and_objects_stay_in_it(seed: int, objects: int) -> None:
    scene = natural_scene(np.random.default_rng(seed), (36, 64), 10, 60, objects=objects)
    for seconds in np.linspace(0, 6, 13):
        seen, place = scene.layers[0].render(seconds, 36, 64)
        assert place == (slice(0, 36), slice(0, 64))
        assert seen[..., 3].min() == pytest.approx(1)
        for layer in scene.layers[1:]:
            x, y = layer.motion.matrix(seconds)[:, 2]
            assert 0 < x < 63
            assert 0 < y < 35


# --- the published form ---------------------------------------------------------------------


def test_published_fixations_and_maps_follow_from_the_gaze_files(small: Path) -> None:
    scale = WIDTH / 1440
    bar = (900 - HEIGHT / scale) / 2
    expected = np.zeros((45, HEIGHT, WIDTH), bool)
    for observer in OBSERVERS:
        rows = read_rows(small, 1, observer)
        for time_us, (x_screen, y_screen), event in zip(
            rows.time_us - rows.time_us[0], rows.por, rows.event, strict=True
        ):
            shown = 30 * time_us / 1e6
            x, y = matlab_round(scale * x_screen), matlab_round(scale * (y_screen - bar))
            inside = 0 < x < WIDTH and 0 < y < HEIGHT
            if event.startswith("F") and inside and shown % 1 > 0 and shown < 45:
                expected[int(shown), y - 1, x - 1] = True
    folder = small / "annotation" / "0001"
    for k in range(45):
        fixation = cv2.imread(str(folder / f"fixation/{k + 1:04d}.png"), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(fixation)) <= {0, 255}
        np.testing.assert_array_equal(fixation > 0, expected[k])
        content = loadmat(folder / f"fixation/maps/{k + 1:04d}.mat")["I"]
        assert content.dtype == np.uint8
        np.testing.assert_array_equal(content, expected[k])
        density = cv2.imread(str(folder / f"maps/{k + 1:04d}.png"), cv2.IMREAD_UNCHANGED)
        assert density.shape == (HEIGHT, WIDTH)
        assert density.dtype == np.uint8
        peer = gaussian_filter(expected[k].astype(float), 12.7398, mode="constant", truncate=8)
        np.testing.assert_allclose(density, 255 * peer / peer.max(), atol=1)
    stray = cv2.imread(str(folder / "0045.png"), cv2.IMREAD_UNCHANGED)
    assert stray.shape == (HEIGHT, WIDTH, 3)


# --- writing --------------------------------------------------------------------------------


def test_a_folder_of_someone_else_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(FovealError, match="is no demo dataset"):
        write_small(tmp_path)
    assert tree(tmp_path) == {"thesis.txt": b"all of it"}


def test_the_same_demo_stays_and_another_is_replaced(small: Path) -> None:
    tiny = (DemoClip(3, 4, "shore", 1),)
    root = small.parent / "rewritten"
    root.mkdir()  # an empty folder is no obstacle
    write_demo(root, clips=tiny, size=(32, 48), observers=1)
    video = root / "video" / "003.AVI"
    before = video.stat().st_mtime_ns
    write_demo(root, clips=tiny, size=(32, 48), observers=1)
    assert video.stat().st_mtime_ns == before
    write_demo(root, clips=(DemoClip(4, 3, "shore", 1),), size=(32, 48), observers=1)
    assert [path.name for path in (root / "video").iterdir()] == ["004.AVI"]
    assert sorted(path.name for path in root.parent.iterdir()) == ["raw", "rewritten"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho no such encoder >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("FOVEAL_FFMPEG", str(broken))
    with pytest.raises(FovealError, match="no such encoder"):
        write_small(tmp_path / "raw", clips=(DemoClip(1, 12, "meadow", 3),))
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


# --- encoding -------------------------------------------------------------------------------


def test_ffv1_gives_back_the_same_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(5)]
    assert encode_video(iter(frames), tmp_path / "noise.mkv", 25, "ffv1") == 5
    np.testing.assert_array_equal(read_frames(tmp_path / "noise.mkv"), frames)


@pytest.mark.parametrize(
    ("frames", "codec", "message"),
    [
        ([], "mpeg4", "no frames"),
        ([np.zeros((31, 48, 3), np.uint8)], "mpeg4", "even height"),
        ([np.zeros((32, 48, 3), np.uint8)], "h266", "'h266' is unknown; allowed: mpeg4"),
        ([np.zeros((32, 48, 3), np.uint8), np.zeros((32, 50, 3), np.uint8)], "mpeg4", "frame 1 is"),
    ],
)
def test_frames_that_make_no_video_are_refused(
    tmp_path: Path, frames: list[NDArray[np.uint8]], codec: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        encode_video(frames, tmp_path / "no.avi", 25, codec)
