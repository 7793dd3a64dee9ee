"""Sound on the clock of the frames: a flash and a beep that coincide are found together."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
from builds import build
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.errors import RecipeError
from foveal.models.sound import log_mel, mel_filters
from foveal.pipeline.preview.preview import write_preview
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.video.audio import Waveform, decode_audio
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from foveal.pipeline.video.types import AudioBatch, Video
from foveal.storage.arrays import read_array
from foveal.storage.reader import Store, open_store
from foveal.torch import ClipLoader, Clips, Sound

RATE_HZ, NATIVE_HZ, FPS = 16_000, 48_000, 25
FRAMES, FLASHES = 75, (20, 55)
SIZE = (32, 48)
BEEP = np.sin(2 * np.pi * 1500 * np.arange(int(0.02 * NATIVE_HZ)) / NATIVE_HZ)


def sound(seconds: float, at_seconds: tuple[float, ...]) -> NDArray[np.int16]:
    """Silence with beeps that begin at these moments."""
    samples = np.zeros(round(seconds * NATIVE_HZ))
    for at in at_seconds:
        first = round(at * NATIVE_HZ)
        samples[first : first + len(BEEP)] = 0.6 * BEEP
    return np.rint(samples * 32767).astype(np.int16)


def write_clip(
    path: Path,
    samples: NDArray[np.int16] | None,
    *codec: str,
    offset_seconds: float = 0.0,
    video_offset_seconds: float = 0.0,
    select: str | None = None,
    rate_hz: int = NATIVE_HZ,
) -> None:
    """A clip whose frames `FLASHES` are white, and sound that the container starts later."""
    frames = np.zeros((FRAMES, *SIZE), np.uint8)
    frames[list(FLASHES)] = 255
    command = [ffmpeg_executable(), "-nostdin", "-loglevel", "error", "-y"]
    command += ["-itsoffset", str(video_offset_seconds), "-f", "rawvideo", "-pix_fmt", "gray"]
    command += ["-s", f"{SIZE[1]}x{SIZE[0]}", "-framerate", str(FPS), "-i", "frames.raw"]
    (path.parent / "frames.raw").write_bytes(frames.tobytes())
    if samples is not None:
        with wave.open(str(path.parent / "sound.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(NATIVE_HZ)
            file.writeframes(samples.tobytes())
        command += ["-itsoffset", str(offset_seconds), "-i", "sound.wav", "-map", "1:a"]
    if select is not None:
        command += ["-vf", f"select='{select}'", "-fps_mode", "vfr"]
    elif video_offset_seconds:
        command += ["-fps_mode", "passthrough"]
    command += ["-map", "0:v", "-pix_fmt", "yuv420p", "-bf", "2", "-ar", str(rate_hz), *codec]
    subprocess.run([*command, path.name], cwd=path.parent, check=True)


def built(folder: Path, **sections: Any) -> Store:
    values = {
        "dataset": {"kind": "videos", "root": str(folder / "raw")},
        "store": str(folder / "store.zarr"),
        "frames": {},
        "audio": {"rate_hz": RATE_HZ},
    }
    results, _ = build(Recipe.parse(values | sections))
    assert all(result.ok for result in results.values()), results
    return open_store(folder / "store.zarr")


def beeps(samples: NDArray[Any], count: int) -> NDArray[np.float64]:
    """When the loudest beeps begin, in seconds, by the best fit of their known shape."""
    template = np.interp(
        np.arange(int(0.02 * RATE_HZ)) / RATE_HZ, np.arange(len(BEEP)) / NATIVE_HZ, BEEP
    )
    fit = np.abs(np.correlate(samples.astype(np.float64), template, "valid"))
    found = []
    for _ in range(count):
        found.append(int(fit.argmax()))
        fit[max(0, found[-1] - RATE_HZ // 10) : found[-1] + RATE_HZ // 10] = 0
    return np.sort(found) / RATE_HZ


CLIPS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "mp4, AAC with its priming": ("a.mp4", ("-c:v", "libx264", "-c:a", "aac"), {}),
    "mkv, AAC in milliseconds": ("b.mkv", ("-c:v", "libx264", "-c:a", "aac"), {}),
    "webm, Opus": ("c.webm", ("-c:v", "libvpx", "-c:a", "libopus"), {}),
    "mov, PCM at 44.1 kHz": (
        "d.mov",
        ("-c:v", "mpeg4", "-c:a", "pcm_s16le"),
        {"rate_hz": 44_100},
    ),
    # AVI has no word for priming, nor for frames in another order than they are shown.
    "avi, PCM": ("e.avi", ("-c:v", "mpeg4", "-bf", "0", "-c:a", "pcm_s16le"), {}),
    "transport stream, MPEG layer II": ("f.ts", ("-c:v", "mpeg2video", "-c:a", "mp2"), {}),
    "mp4, sound begins 0.4 s late": (
        "g.mp4",
        ("-c:v", "libx264", "-c:a", "aac"),
        {"offset_seconds": 0.4},
    ),
    "mkv, picture begins 0.32 s late": (
        "h.mkv",
        ("-c:v", "libx264", "-c:a", "flac"),
        {"video_offset_seconds": 0.32},
    ),
    "mp4, frames at changing distances": (
        "i.mp4",
        ("-c:v", "libx264", "-c:a", "aac"),
        {"select": "not(mod(n,5))+lt(mod(n,7),2)+eq(n,20)+eq(n,55)"},
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("sound")
    (folder / "raw").mkdir()
    for name, codec, options in CLIPS.values():
        ahead = options.get("video_offset_seconds", 0.0) - options.get("offset_seconds", 0.0)
        heard = sound(FRAMES / FPS, tuple(frame / FPS + ahead for frame in FLASHES))
        write_clip(folder / "raw" / name, heard, *codec, **options)
    write_clip(folder / "raw" / "silent.mp4", None, "-c:v", "libx264")
    for rest in ("frames.raw", "sound.wav"):
        (folder / "raw" / rest).unlink()
    return built(folder, log_mel={"bands": 32})


@pytest.mark.parametrize("what", CLIPS)
def test_flash_and_beep_coincide_within_a_millisecond(store: Store, what: str) -> None:
    video = store[Path(CLIPS[what][0]).stem]
    white = np.flatnonzero(video.frames.values.mean(axis=(1, 2, 3)) > 128)
    assert len(white) == len(FLASHES)
    heard = beeps(video.audio.values, len(FLASHES))
    np.testing.assert_allclose(heard, video.time.values[white], atol=1e-3)
    # The first samples of a flash's own slice are the beep's.
    offset = video.audio_offset.values
    assert (np.abs(offset[white] / RATE_HZ - heard) < 1e-3).all()
    assert offset[-1] == video.audio.sizes["audio_sample"]


def test_a_video_without_sound_has_none_and_says_so(store: Store) -> None:
    video = store["silent"]
    assert video.audio.sizes["audio_sample"] == video.log_mel.sizes["log_mel_hop"] == 0
    assert not video.audio_offset.values.any()
    assert video.audio.attrs["foveal"]["has_sound"] is False
    assert store["a"].audio.attrs["foveal"]["has_sound"] is True


def test_silence_is_made_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write_clip(tmp_path / "raw" / "silent.mp4", None, "-c:v", "libx264")
    (tmp_path / "raw" / "frames.raw").unlink()
    video = built(tmp_path, audio={"rate_hz": 8000, "without_sound": "silence"})["silent"]
    assert video.audio.shape == (8000 * FRAMES // FPS,)
    assert not video.audio.values.any()
    np.testing.assert_array_equal(np.diff(video.audio_offset.values), 8000 // FPS)
    assert video.audio.attrs["foveal"]["has_sound"] is False


def test_the_provenance_tells_of_a_late_beginning(store: Store) -> None:
    about = store["g"].audio.attrs["foveal"]
    assert about["sound_begins_seconds"] == pytest.approx(0.4, abs=0.03)
    assert about["native_rate_hz"] == NATIVE_HZ
    assert not store["g"].audio.values[: int(0.35 * RATE_HZ)].any()


def pushed(pieces: list[tuple[float, NDArray[np.float32]]], seconds: float) -> Any:
    waveform = Waveform(RATE_HZ, round(seconds * RATE_HZ))
    start, given = 0, []
    for at_seconds, samples in pieces:
        given.append(waveform.push(AudioBatch(start, samples, RATE_HZ, at_seconds)))
        start += len(samples)
    return waveform, np.concatenate([*given, *waveform.finish()])


def ones(count: int, value: float = 1.0) -> NDArray[np.float32]:
    return np.full(count, value, np.float32)


def test_gaps_are_zeros_and_of_an_overlap_the_earlier_sound_stays() -> None:
    pieces = [(-0.1, ones(3200)), (0.2, ones(1600, 0.5)), (0.25, ones(1600, 0.25))]
    waveform, samples = pushed(pieces, 0.5)
    assert waveform.stretches == 3
    expected = np.zeros(8000)
    expected[:1600], expected[3200:4800], expected[4800:5600] = 1, 0.5, 0.25
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    assert waveform.heard == 1600 + 1600 + 800


def test_timestamps_rounded_to_milliseconds_tear_no_gap() -> None:
    whole = np.sin(np.arange(9600) / 7).astype(np.float32)
    pieces = [
        (np.floor(start / RATE_HZ * 1000) / 1000, whole[start : start + 341])
        for start in range(0, 9600, 341)
    ]
    waveform, samples = pushed(pieces, 0.6)
    assert waveform.stretches == 1
    np.testing.assert_allclose(samples, whole, atol=1e-6)


def test_sound_beyond_the_last_frame_is_left_out_and_a_bogus_time_costs_nothing() -> None:
    waveform, samples = pushed([(0.0, ones(1600)), (1e9, ones(1600))], 0.15)
    np.testing.assert_allclose(samples, [*ones(1600), *np.zeros(800)], atol=1e-6)
    assert waveform.heard == 1600


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=8), st.integers(8000, 48_000))
def test_the_waveform_does_not_depend_on_how_the_sound_comes_in_pieces(
    sizes: list[int], native_hz: int
) -> None:
    whole = np.random.default_rng(sum(sizes)).uniform(-1, 1, sum(sizes)).astype(np.float32)

    def resampled(cuts: list[int]) -> NDArray[np.float32]:
        waveform, start, parts = Waveform(RATE_HZ, 8000), 0, []
        for size in cuts:
            piece = whole[start : start + size]
            parts.append(waveform.push(AudioBatch(start, piece, native_hz, start / native_hz)))
            start += size
        return np.concatenate([*parts, *waveform.finish()])

    np.testing.assert_allclose(resampled(sizes), resampled([len(whole)]), atol=1e-6)


def test_log_mel_is_the_power_spectrum_in_its_bands() -> None:
    seconds = np.arange(RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 1000 * seconds).astype(np.float32)
    values = log_mel(tone, RATE_HZ, 400, 160, 40, (60, 8000), 1e-6)
    _, _, spectrum = scipy.signal.stft(tone, RATE_HZ, "hann", 400, 240, boundary=None, padded=False)
    filters = mel_filters(RATE_HZ, 400, 40, 60, 8000)
    expected = np.log(filters @ np.square(2 * np.abs(spectrum)) + 1e-6).T
    np.testing.assert_allclose(values, expected, atol=1e-3)
    middle_hz = (filters @ np.fft.rfftfreq(400, 1 / RATE_HZ)) / filters.sum(axis=1)
    assert abs(middle_hz[values.mean(axis=0).argmax()] - 1000) < 60


def test_log_mel_in_pieces_is_log_mel_of_the_whole(store: Store) -> None:
    video = store["a"]
    samples = video.audio.values.astype(np.float32)
    padded = np.pad(samples, (200, 400))
    whole = log_mel(padded, RATE_HZ, 400, 160, 32, (60, 8000), 1e-6)
    stored = video.log_mel.values.astype(np.float32)
    np.testing.assert_allclose(stored, whole[: len(stored)], atol=2e-2)
    assert len(stored) == 3 * 100
    loud = stored.max(axis=1).argmax() * 0.01
    assert min(abs(loud - frame / FPS - 0.01) for frame in FLASHES) < 0.011


def test_the_spectrum_alone_is_made_from_the_stored_waveform(store: Store) -> None:
    recipe = Recipe.parse({**store.recipe, "log_mel": {"bands": 32, "floor": 1e-5}})
    results, _ = build(recipe, only=["a"])
    assert results["a"].stages == ("log_mel",)


def test_clips_have_the_samples_that_belong_to_them(store: Store) -> None:
    clips = Clips(store, videos=["a"], frames=10, stride=5, variables=["audio"])
    video = store["a"]
    offset = video.audio_offset.values
    for number in (0, 3, len(clips) - 1):
        sample, first = clips[number], clips.where(number)[1]
        stored = read_array(store.location, "a", "audio")[offset[first] : offset[first + 10]]
        expected = np.asarray(stored, np.float32) / 32767
        np.testing.assert_allclose(sample["audio"].numpy(), expected, rtol=1e-6)
        assert sample["audio_count"] == len(expected) == 10 * RATE_HZ // FPS


def test_each_frame_has_the_sound_around_it(store: Store) -> None:
    variables = [Sound("log_mel", per_frame=8)]
    sample = Clips(store, videos=["a"], frames=10, variables=variables)[0]
    assert sample["log_mel"].shape == (10, 8, 32)
    stored = store["a"].log_mel.values
    np.testing.assert_array_equal(sample["log_mel"][5].numpy(), stored[20 - 4 : 20 + 4])
    assert sample["log_mel_valid"][0].tolist() == [False] * 4 + [True] * 4
    assert not sample["log_mel"][0, :4].any()


def test_a_batch_of_unlike_runs_ends_in_zeros(store: Store) -> None:
    clips = Clips(store, videos=["a", "silent"], frames=25, variables=["audio"])
    batch = next(iter(ClipLoader(clips, batch_size=len(clips), shuffle="none")))
    assert batch["audio_count"].tolist() == [RATE_HZ] * 3 + [0] * 3
    assert batch["audio"].shape == (6, RATE_HZ)
    assert not batch["audio"][3:].any()


def test_a_film_sounds_as_the_video_does(store: Store, tmp_path: Path) -> None:
    write_preview(store.location.url, "a", tmp_path / "a.mp4", panel_width_px=64)
    track = list(decode_audio(Video("a", None, tmp_path / "a.mp4")))
    assert track[0].rate_hz == RATE_HZ
    heard = np.concatenate([part.samples for part in track])
    np.testing.assert_allclose(beeps(heard, 2), np.array(FLASHES) / FPS, atol=1e-3)
    write_preview(store.location.url, "silent", tmp_path / "s.mp4", panel_width_px=64)
    assert not list(decode_audio(Video("s", None, tmp_path / "s.mp4")))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"audio": None, "log_mel": {}}, "add an audio section"),
        ({"audio": {"rate_hz": 8000}, "log_mel": {"high_hz": 8000.0}}, "audio.rate_hz is 8000"),
        ({"audio": {"rate_hz": 500}}, "greater than or equal to 1000"),
        ({"audio": {}, "log_mel": {"hop_seconds": 0.5}}, "skips sound"),
        ({"audio": {}, "log_mel": {"low_hz": 900.0, "high_hz": 800.0}}, "not above low_hz"),
    ],
)
def test_wrong_sections_are_refused(sections: dict[str, Any], message: str) -> None:
    values = {"dataset": {"kind": "videos", "root": "/data"}, "store": "s.zarr"}
    with pytest.raises(RecipeError, match=message):
        Recipe.parse(values | sections)
