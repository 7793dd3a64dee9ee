"""Decoding is exact: each frame carries its number, so a lost, doubled or moved one shows."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import av
import ffmpeg
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from foveal.errors import DecodeError
from foveal.pipeline.video.decode import BATCH_BYTES, MAX_BATCH_FRAMES, batch_frames, decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import FrameBatch, Video, VideoInfo

H264 = {"vcodec": "libx264", "pix_fmt": "yuv420p", "bf": 3, "g": 12}
MPEG4_B = {"vcodec": "mpeg4", "bf": 2, "qscale": 3}


def video(path: Path, **about: Any) -> Video:
    return Video("clip", None, path, **about)


def decoded(path: Path, **about: Any) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """All frames and times; batches are checked to be consecutive."""
    clip = video(path, **about)
    batches = list(decode(clip, probe(clip)))
    assert [batch.start for batch in batches] == np.cumsum(
        [0, *(len(batch) for batch in batches[:-1])]
    ).tolist()
    return (
        np.concatenate([batch.frames for batch in batches]),
        np.concatenate([batch.pts_seconds for batch in batches]),
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b-frames.avi", MPEG4_B),
        ("b-frames.AVI", {"vcodec": "libx264", "pix_fmt": "yuv420p", "bf": 3}),
        ("b-frames.mp4", H264),
        ("b-frames.mkv", H264),
        ("b-frames.ts", H264),
        ("every-frame-a-key.mov", {"vcodec": "mjpeg", "qscale": 3}),
        ("lossless.avi", {"vcodec": "ffv1"}),
    ],
)
def test_every_frame_once_in_order_with_its_time(
    clips: Any, name: str, options: dict[str, Any]
) -> None:
    frames, seconds = decoded(clips.encode(name, 75, **options))
    assert [clips.number(frame) for frame in frames] == list(range(75))
    # Matroska counts in milliseconds, the others finer.
    np.testing.assert_allclose(seconds, np.arange(75) / 30, atol=5.1e-4 if "mkv" in name else 1e-5)
    assert seconds[0] == 0


@pytest.mark.parametrize("name", ["variable.mkv", "variable.mp4"])
def test_variable_frame_rate_keeps_frames_and_their_own_times(clips: Any, name: str) -> None:
    # 40 ms a frame, and a pause of 250 ms after every third.
    milliseconds = np.array([40 * k + 250 * (k // 3) for k in range(60)])
    timing = (("settb", "1/1000"), ("setpts", "40*N+250*floor(N/3)"))
    path = clips.encode(
        name, 60, filters=timing, fps_mode="passthrough", enc_time_base="1/1000", **H264
    )
    frames, seconds = decoded(path)
    assert [clips.number(frame) for frame in frames] == list(range(60))
    np.testing.assert_allclose(seconds, milliseconds / 1000, atol=1e-6)


@pytest.mark.parametrize("name", ["late.mkv", "late.ts", "late.mp4"])
def test_a_clip_that_starts_late_counts_time_from_its_first_frame(clips: Any, name: str) -> None:
    path = clips.encode(name, 20, output_ts_offset=5, **H264)
    frames, seconds = decoded(path)
    assert [clips.number(frame) for frame in frames] == list(range(20))
    np.testing.assert_allclose(seconds, np.arange(20) / 30, atol=5.1e-4)


def test_sound_that_is_longer_than_the_picture_adds_no_frame(clips: Any) -> None:
    silent = clips.encode("silent.mp4", 15, **H264)
    path = clips.folder / "sound.mp4"
    sound = ffmpeg.input("sine=frequency=440:duration=4", f="lavfi")
    picture = ffmpeg.input(f"file:{silent}").video
    clips.run(ffmpeg.output(picture, sound, f"file:{path}", vcodec="copy", acodec="aac"))
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / av.time_base > 3.9
    frames, seconds = decoded(path)
    assert [clips.number(frame) for frame in frames] == list(range(15))
    assert seconds[-1] == pytest.approx(14 / 30)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_turn_the_picture_upright(clips: Any, degrees: int) -> None:
    lying = clips.encode("lying.mp4", 6, **H264)
    turned = clips.remux(lying, "turned.mp4", {"display_rotation": degrees})
    info = probe(video(turned))
    assert (info.height_px, info.width_px) == ((96, 72) if degrees % 180 else (72, 96))
    plain, turned_frames = decoded(lying)[0], decoded(turned)[0]
    # The option turns counter-clockwise, as np.rot90 does.
    expected = np.rot90(plain, degrees // 90, axes=(1, 2))
    assert turned_frames.shape == expected.shape
    # Chroma is turned before it is enlarged; the bits are grey, so only rounding is left.
    assert np.abs(turned_frames.astype(int) - expected).max() <= 3


@pytest.mark.parametrize(("aspect", "width"), [("4/3", 128), ("1/2", 48), ("16/15", 102)])
def test_pixels_that_are_not_square_stretch_the_width(clips: Any, aspect: str, width: int) -> None:
    path = clips.encode("anamorphic.mp4", 4, filters=(("setsar", aspect),), **H264)
    frames, _ = decoded(path)
    assert frames.shape == (4, 72, width, 3)
    assert [clips.number(frame) for frame in frames] == [0, 1, 2, 3]


def test_rotation_and_aspect_together(clips: Any) -> None:
    lying = clips.encode("lying.mp4", 3, filters=(("setsar", "4/3"),), **H264)
    turned = clips.remux(lying, "turned.mp4", {"display_rotation": 90})
    frames, _ = decoded(turned)
    assert frames.shape == (3, 128, 72, 3)
    upright = np.rot90(frames, -1, axes=(1, 2))
    assert [clips.number(frame) for frame in upright] == [0, 1, 2]


@pytest.mark.parametrize("size", [(61, 91), (33, 128), (64, 37)])
def test_odd_sizes_keep_every_row_and_column(clips: Any, size: tuple[int, int]) -> None:
    frames, _ = decoded(clips.encode("odd.avi", 9, size, vcodec="mpeg4", qscale=2))
    assert frames.shape == (9, *size, 3)
    assert [clips.number(frame) for frame in frames] == list(range(9))


@pytest.mark.parametrize("name", ["one.avi", "one.mp4", "one.mkv"])
def test_a_video_of_one_frame(clips: Any, name: str) -> None:
    frames, seconds = decoded(clips.encode(name, 1, first=5, vcodec="mpeg4"))
    assert clips.number(frames[0]) == 5
    assert (frames.shape, seconds.tolist()) == ((1, 72, 96, 3), [0.0])


def test_the_first_frames_only(clips: Any) -> None:
    path = clips.encode("limited.avi", 90, **MPEG4_B)
    for wanted in (1, 31, 32, 33, 90, 200):
        frames, seconds = decoded(path, max_frames=wanted)
        assert [clips.number(frame) for frame in frames] == list(range(min(wanted, 90)))
        assert len(seconds) == len(frames)


@pytest.mark.parametrize(
    "name",
    [
        "with space.avi",
        "-leading-dash.avi",
        "ünï-眼.avi",
        "100%03d.avi",
        "a:b.avi",
        "'quoted\".avi",
        "corrupt [error] n:0 pts:0 .avi",
    ],
)
def test_names_mean_nothing_to_ffmpeg(
    shared_clips: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = shared_clips.folder / "plain.avi"
    if not plain.exists():
        shared_clips.encode("plain.avi", 8, **MPEG4_B)
    (tmp_path / name).write_bytes(plain.read_bytes())
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        frames, _ = decoded(path)
        assert [shared_clips.number(frame) for frame in frames] == list(range(8))


@pytest.mark.parametrize("name", ["peer.avi", "peer.mp4", "peer.mkv"])
def test_pyav_sees_the_same_pictures_at_the_same_times(clips: Any, name: str) -> None:
    noise = ffmpeg.input("testsrc2=size=160x120:rate=25:duration=2", f="lavfi")
    path = clips.folder / name
    codec = MPEG4_B if name.endswith("avi") else H264
    clips.run(noise.output(f"file:{path}", **codec))
    frames, seconds = decoded(path)
    with av.open(str(path)) as container:
        theirs = list(container.decode(video=0))
    assert len(frames) == len(theirs) == 50
    times = [frame.pts * frame.time_base for frame in theirs]
    assert seconds.tolist() == [float(time - times[0]) for time in times]
    # Another build of libswscale and another default filter for chroma: off by rounding, and by a
    # little more at coloured edges.
    difference = np.abs(
        frames.astype(int) - np.stack([frame.to_ndarray(format="rgb24") for frame in theirs])
    )
    assert difference.mean() < 1
    assert np.percentile(difference, 95) <= 3


# Folders of images


def write_images(folder: Path, pictures: dict[str, NDArray[np.uint8]]) -> Path:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name, quality=95)
    return folder


def test_a_folder_of_images_is_a_video_at_its_own_rate(clips: Any) -> None:
    names = tuple(f"{k:03d}.png" for k in range(70))
    pictures = {name: clips.picture(k) for k, name in enumerate(names)}
    folder = write_images(clips.folder / "frames", pictures)
    frames, seconds = decoded(folder, image_names=names, fps=25.0)
    np.testing.assert_array_equal(frames, np.stack(list(pictures.values())))
    np.testing.assert_allclose(seconds, np.arange(70) / 25)
    assert len(decoded(folder, image_names=names, fps=25.0, max_frames=40)[0]) == 40


def test_jpegs_and_grey_images_come_as_rgb(clips: Any) -> None:
    picture = clips.picture(5)
    grey = picture[..., 0]
    folder = write_images(clips.folder / "frames", {"0.jpg": picture, "1.png": grey})
    frames, _ = decoded(folder, image_names=("0.jpg", "1.png"))
    assert [clips.number(frame) for frame in frames] == [5, 5]
    np.testing.assert_array_equal(frames[1], picture)


def test_colours_come_in_the_order_red_green_blue(clips: Any) -> None:
    colour = np.empty((48, 64, 3), np.uint8)
    colour[:] = (220, 120, 30)
    folder = write_images(clips.folder / "frames", {"0.png": colour})
    np.testing.assert_array_equal(decoded(folder, image_names=("0.png",))[0][0], colour)
    encoder = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", s="64x48", r=30)
    path = clips.folder / "colour.mp4"
    clips.run(encoder.output(str(path), vcodec="libx264", pix_fmt="yuv444p", crf=1), bytes(colour))
    np.testing.assert_allclose(decoded(path)[0][0], colour, atol=4)


def test_images_of_another_size_are_refused_by_name(clips: Any) -> None:
    pictures = {"0.png": clips.picture(0), "1.png": clips.picture(1, 36, 48)}
    folder = write_images(clips.folder / "frames", pictures)
    with pytest.raises(DecodeError, match=r"1\.png: 48x36, but the first frame of clip is 96x72"):
        decoded(folder, image_names=("0.png", "1.png"))


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n broken"])
def test_a_broken_image_is_refused_by_name(clips: Any, content: bytes) -> None:
    folder = write_images(clips.folder / "frames", {"0.png": clips.picture(0)})
    (folder / "1.png").write_bytes(content)
    with pytest.raises(DecodeError, match=r"1\.png: no readable image"):
        decoded(folder, image_names=("0.png", "1.png"))


def test_an_image_cut_short_is_refused(clips: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8)
    folder = write_images(clips.folder / "frames", {"0.png": noise})
    whole = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodeError, match=r"0\.png"):
        decoded(folder, image_names=("0.png",))


def test_a_missing_image_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"7\.png: cannot be read \(No such file"):
        decoded(tmp_path, image_names=("7.png",))
    with pytest.raises(DecodeError, match="a folder without frame images"):
        decoded(tmp_path, image_names=())


# What a reader leaves behind, and what it costs


def running() -> set[psutil.Process | threading.Thread]:
    """Child processes, and the threads that read what ffmpeg writes."""
    threads = [each for each in threading.enumerate() if each.name.startswith("ffmpeg")]
    return {*psutil.Process().children(), *threads}


def open_pipes() -> int:
    return sum(
        str(path.readlink()).startswith("pipe:")
        for path in Path("/proc/self/fd").iterdir()
        if path.is_symlink()
    )


def test_a_reader_that_stops_early_leaves_nothing_running_or_open(clips: Any) -> None:
    clip = video(clips.encode("long.avi", 400, **MPEG4_B))
    before, pipes = running(), open_pipes()
    batches = decode(clip, probe(clip))
    assert len(next(batches)) == MAX_BATCH_FRAMES
    assert running() > before
    batches.close()
    assert running() <= before
    assert open_pipes() == pipes


def test_a_failing_decode_leaves_nothing_running_or_open(clips: Any) -> None:
    path = clips.encode("cut.mkv", 200, **H264)
    path.write_bytes(path.read_bytes()[:-500])
    before, pipes = running(), open_pipes()
    with pytest.raises(DecodeError):
        decoded(path)
    assert running() <= before
    assert open_pipes() == pipes


def test_batches_stay_within_their_budget() -> None:
    assert batch_frames(VideoInfo(90, 160, 30)) == MAX_BATCH_FRAMES
    for height, width in ((720, 1280), (1080, 1920), (2160, 3840)):
        frames = batch_frames(VideoInfo(height, width, 30))
        assert frames == max(1, min(MAX_BATCH_FRAMES, BATCH_BYTES // (height * width * 3)))
    assert batch_frames(VideoInfo(8192, 8192, 30)) == 1


MEMORY = """
import resource, sys
from pathlib import Path
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
clip = Video("long", None, Path(sys.argv[1]))
info = probe(clip)
before, frames = peak(), 0
for batch in decode(clip, info):
    frames += len(batch)
print(frames, peak() - before)
"""


def test_memory_does_not_grow_with_the_video(clips: Any) -> None:
    path = clips.folder / "long.avi"
    source = ffmpeg.input("color=c=gray:size=160x120:rate=30", f="lavfi")
    clips.run(source.output(f"file:{path}", vcodec="mpeg4", **{"frames:v": 8_000}))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    frames, grown_mib = (int(word) for word in done.stdout.split())
    assert frames == 8_000  # 440 MiB of pixels
    assert grown_mib < 64


def test_a_batch_refuses_pixels_without_times() -> None:
    with pytest.raises(ValueError, match="presentation times"):
        FrameBatch(0, np.zeros((2, 4, 4, 3), np.uint8), np.zeros(1))
