"""Damaged and false videos are refused with a reason, never silently shortened."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import av
import ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import DecodeError
from foveal.pipeline.video.decode import _command, decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.truncation import missing_bytes
from foveal.pipeline.video.types import Video

H264 = {"vcodec": "libx264", "pix_fmt": "yuv420p", "bf": 2, "g": 12}
AVI = {"vcodec": "mpeg4", "bf": 2, "qscale": 3, "g": 12}
FRAMES = 60


def count(path: Path, errors: Any = "quarantine") -> int:
    video = Video("clip", None, path)
    return sum(len(batch) for batch in decode(video, probe(video), errors))


@pytest.fixture(scope="module")
def avi(shared_clips: Any) -> bytes:
    path: Path = shared_clips.encode("whole.avi", FRAMES, **AVI)
    assert count(path) == FRAMES
    return path.read_bytes()


@pytest.fixture(scope="module")
def mp4(shared_clips: Any) -> bytes:
    path: Path = shared_clips.encode("whole.mp4", FRAMES, movflags="faststart", **H264)
    assert count(path) == FRAMES
    return path.read_bytes()


def packets(path: Path) -> list[tuple[int, int]]:
    """Position and size of each video packet in a file."""
    with av.open(str(path)) as container:
        found = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    assert all(position is not None for position, _ in found)
    return sorted((position or 0, size) for position, size in found)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_a_file_cut_between_or_inside_packets_is_refused(
    request: pytest.FixtureRequest, tmp_path: Path, suffix: str, inside: bool
) -> None:
    whole = request.getfixturevalue(suffix)
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole)
    position, size = packets(path)[30]
    end = position + (size // 2 if inside else 0)
    path.write_bytes(whole[:end])
    reason = re.escape(f"truncated: the last {len(whole) - end} bytes are missing; fetch it again")
    with pytest.raises(DecodeError, match=rf"cut\.{suffix}: {reason}"):
        count(path)


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_the_whole_part_of_a_cut_file_can_be_accepted(
    request: pytest.FixtureRequest, tmp_path: Path, suffix: str
) -> None:
    whole = request.getfixturevalue(suffix)
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole)
    path.write_bytes(whole[: packets(path)[30][0]])
    assert 25 <= count(path, "accept") <= 32


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_cut_goes_unnoticed(
    data: st.DataObject, avi: bytes, mp4: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, suffix = data.draw(st.sampled_from([(avi, "avi"), (mp4, "mp4")]))
    path = tmp_path_factory.getbasetemp() / f"any-cut.{suffix}"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DecodeError, match=r"any-cut\.\w+: "):
        count(path)


def test_matroska_tells_its_own_cut(clips: Any) -> None:
    path = clips.encode("cut.mkv", FRAMES, **H264)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DecodeError, match=r"errors \(File ended prematurely\)"):
        count(path)


def test_whole_clips_leave_the_log_empty(mp4: bytes, tmp_path: Path) -> None:
    # ffmpeg's threads write into each other's lines: beside other lines a complaint may be lost.
    path = tmp_path / "whole.mp4"
    path.write_bytes(mp4)
    video = Video("clip", None, path)
    with Path(os.devnull).open("wb") as times:
        command = _command(video, probe(video), times.fileno())
        done = subprocess.run(command, capture_output=True, pass_fds=[times.fileno()])
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) == FRAMES * 72 * 96 * 3


def test_an_avi_whose_end_was_never_fetched_is_refused(tmp_path: Path, avi: bytes) -> None:
    # As an interrupted download leaves it that reserved the space first: full size, then zeros.
    path = tmp_path / "hole.avi"
    path.write_bytes(avi[: len(avi) // 2] + bytes(len(avi) - len(avi) // 2))
    assert missing_bytes(path) == 0
    with pytest.raises(DecodeError, match=r"hole\.avi"):
        count(path)


@pytest.mark.parametrize(("more", "refused"), [(2, False), (3, True), (40, True)])
def test_an_avi_may_declare_no_more_frames_than_packed_streams_lose(
    tmp_path: Path, avi: bytes, more: int, refused: bool
) -> None:
    content = bytearray(avi)
    length_at = content.index(b"strh") + 8 + 32
    assert struct.unpack_from("<I", content, length_at) == (FRAMES,)
    struct.pack_into("<I", content, length_at, FRAMES + more)
    path = tmp_path / "short.avi"
    path.write_bytes(content)
    assert count(path, "accept") == FRAMES
    if refused:
        wanted = FRAMES + more
        with pytest.raises(DecodeError, match=f"{FRAMES} of the {wanted} frames its header"):
            count(path)
    else:
        assert count(path) == FRAMES


def test_repeated_pictures_of_an_avi_are_gaps_in_time_and_no_damage(tmp_path: Path) -> None:
    # An empty chunk says "the former picture again"; captured AVIs are full of them.
    path = tmp_path / "repeats.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuvj420p"
        for k in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((72, 96, 3), 6 * k, np.uint8))
            frame.pts = 2 * k
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    video = Video("clip", None, path)
    assert (probe(video).frames or 0) >= 79
    seconds = np.concatenate([batch.pts_seconds for batch in decode(video, probe(video))])
    np.testing.assert_allclose(seconds, np.arange(40) / 15, atol=1e-5)


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_overwritten_packets_are_refused_unless_accepted(
    request: pytest.FixtureRequest, tmp_path: Path, suffix: str
) -> None:
    content = bytearray(request.getfixturevalue(suffix))
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(content)
    noise = np.random.default_rng(0)
    for position, size in packets(path)[20:26]:
        start = position + 8 if suffix == "avi" else position + 5
        content[start : start + size - 5] = noise.bytes(size - 5)
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=rf"met \d+ errors \(.+\)|of the {FRAMES} frames"):
        count(path)
    assert 0 < count(path, "accept") <= FRAMES


def test_damaged_sound_does_not_matter(clips: Any, avi: bytes) -> None:
    silent = clips.folder / "silent.avi"
    silent.write_bytes(avi)
    path = clips.folder / "sound.avi"
    sound = ffmpeg.input("sine=duration=2", f="lavfi")
    picture = ffmpeg.input(f"file:{silent}").video
    clips.run(ffmpeg.output(picture, sound, str(path), vcodec="copy", acodec="libmp3lame"))
    content = bytearray(path.read_bytes())
    damaged = 0
    for chunk in re.finditer(rb"01wb(....)", bytes(content), re.DOTALL):
        (size,) = struct.unpack("<I", chunk[1])
        if 40 < size < 5000:  # past its header, so that it is still taken for MP3
            content[chunk.end() + 4 : chunk.end() + size] = b"\x55" * (size - 4)
            damaged += 1
    assert damaged > 10
    path.write_bytes(content)
    assert count(path) == FRAMES


def test_a_picture_that_changes_its_size_midway_is_refused(clips: Any) -> None:
    small = clips.encode("small.ts", 30, **H264)
    large = clips.encode("large.ts", 30, size=(96, 128), **H264)
    path = clips.folder / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    for errors in ("quarantine", "accept"):
        with pytest.raises(DecodeError, match="changes its size or format midway"):
            count(path, errors)


def test_times_that_go_back_are_refused(clips: Any) -> None:
    path = clips.encode("back.mkv", 20, vcodec="mjpeg", qscale=3)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    time_at = content.index(payloads[10]) - 3
    assert struct.unpack_from(">h", content, time_at) == (333,)
    struct.pack_into(">h", content, time_at, 200)
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"presentation time of frame 10 .* does not increase"):
        count(path, "accept")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.avi", b"", r"the file is empty \(0 bytes\)"),
        ("text.avi", b"This is a text, renamed.\n" * 200, "no readable video"),
        ("short.avi", b"x", "no readable video"),
        ("page.mp4", b"<!DOCTYPE html><html><body>404 not found</body></html>", "no readable"),
        ("list.avi", b"ffconcat version 1.0\nfile whole.avi\n", "a playlist of other files"),
    ],
)
def test_files_that_are_no_video_are_refused(
    tmp_path: Path, avi: bytes, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / "whole.avi").write_bytes(avi)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=f"^{re.escape(name)}: {reason}"):
        count(tmp_path / name)


def test_a_playlist_of_streams_is_refused(tmp_path: Path, shared_clips: Any) -> None:
    segment = shared_clips.encode("segment.ts", 10, **H264)
    (tmp_path / "segment.ts").write_bytes(segment.read_bytes())
    for name in ("list.m3u8", "list.avi"):
        (tmp_path / name).write_text(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.33,\nsegment.ts\n"
            "#EXT-X-ENDLIST\n"
        )
        with pytest.raises(DecodeError, match=r"a playlist|no readable video"):
            count(tmp_path / name)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.avi", tmp_path):
        with pytest.raises(DecodeError, match="there is no such file; restore it"):
            count(path)


@pytest.mark.parametrize(("name", "codec"), [("sound.avi", "libmp3lame"), ("sound.mp4", "aac")])
def test_sound_alone_is_refused(clips: Any, name: str, codec: str) -> None:
    path = clips.folder / name
    clips.run(ffmpeg.input("sine=duration=1", f="lavfi").output(str(path), acodec=codec))
    with pytest.raises(DecodeError, match="no video stream in it, only audio"):
        count(path)


def test_a_cover_picture_is_no_video(clips: Any) -> None:
    path = clips.folder / "song.mp4"
    sound = ffmpeg.input("sine=duration=1", f="lavfi")
    cover = ffmpeg.input("color=size=64x64:rate=1:duration=1", f="lavfi")
    options = {"acodec": "aac", "vcodec": "mjpeg", "frames:v": 1, "disposition:v:0": "attached_pic"}
    clips.run(ffmpeg.output(sound, cover, str(path), **options))
    with pytest.raises(DecodeError, match="no video stream in it, only audio, video"):
        count(path)


def test_a_stream_without_frames_is_refused(tmp_path: Path, avi: bytes) -> None:
    path = tmp_path / "none.avi"
    path.write_bytes(avi)
    path.write_bytes(avi[: packets(path)[0][0]])
    with pytest.raises(DecodeError, match=r"none\.avi: .*bytes are missing, fetch it again"):
        count(path)


def test_an_mp4_that_lost_its_index_is_refused_as_cut(clips: Any) -> None:
    path = clips.encode("index-last.mp4", FRAMES, **H264)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DecodeError, match=r"index-last\.mp4: .* bytes are missing, fetch it again"):
        count(path)


# Sizes that containers declare


def riff(length: int, declared: int | None = None) -> bytes:
    return b"RIFF" + struct.pack("<I", length if declared is None else declared) + bytes(length)


def box(kind: bytes, length: int, declared: int | None = None) -> bytes:
    return struct.pack(">I", 8 + length if declared is None else declared) + kind + bytes(length)


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (b"", 0),
        (b"RIFF", 0),
        (riff(10), 0),
        (riff(11), 0),  # an odd chunk at the end may lack its padding byte
        (riff(11) + b"\0" + riff(6), 0),  # OpenDML: several RIFF chunks
        (riff(11) + b"\0" + riff(6, declared=9), 3),
        (riff(10, declared=4_000_000_000), 3_999_999_990),
        (riff(10, declared=0), 0),  # a writer that was killed
        (riff(10, declared=2**32 - 1), 0),  # a writer that streams
        (riff(10) + b"some rubbish behind it", 0),
        (box(b"ftyp", 8) + box(b"free", 0) + box(b"mdat", 20), 0),
        (box(b"ftyp", 8) + box(b"mdat", 20, declared=1000), 972),
        (box(b"ftyp", 8) + box(b"mdat", 20, declared=0), 0),  # to the end of the file
        (box(b"ftyp", 8) + box(b"mdat", 20, declared=3), 0),  # nonsense
        (
            box(b"ftyp", 8) + struct.pack(">I4sQ", 1, b"mdat", 16 + 2**33) + bytes(100),
            2**33 - 100,
        ),
        (box(b"ftyp", 8) + box(b"oops", 20, declared=1000), 0),
    ],
)
def test_bytes_that_a_container_lacks(tmp_path: Path, content: bytes, missing: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert missing_bytes(path) == missing
