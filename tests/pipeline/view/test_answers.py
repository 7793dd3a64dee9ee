"""What the server says of a store is what the store holds."""

from __future__ import annotations

import io
import json
import shutil
import struct
import threading
import wave
from pathlib import Path

import httpx
import numpy as np
import pytest
import small_stores
from builds import write_array, write_prediction
from PIL import Image
from small_stores import HEIGHT, WIDTH, write_small_store, write_video
from viewed_store import EVIL, FRAMES, RATE_HZ, client_of, samples

from foveal.models.flow.color import flow_to_color
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.preview.panels import heat
from foveal.pipeline.view.pictures import motion_colours
from foveal.storage.evaluation import write_evaluation
from foveal.storage.index import distrust_index
from foveal.storage.location import Location
from foveal.storage.reader import open_store


def unpacked(content: bytes) -> list[bytes]:
    (count,) = struct.unpack_from("<I", content)
    lengths = struct.unpack_from(f"<{count}I", content, 4)
    parts, at = [], 4 * (count + 1)
    for length in lengths:
        parts.append(content[at : at + length])
        at += length
    assert at == len(content)
    return parts


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def ask(client, version):
    """Asks for something of video 001."""

    def of(path: str, **query: object) -> httpx.Response:
        answer = client.get(f"/api/{path}", params={"video": "001", "v": version, **query})
        assert answer.status_code == 200, answer.text
        return answer

    return of


def items(ask, array, form, start, stop, **query):
    told = ask("items", array=array, form=form, start=start, stop=stop, **query)
    return unpacked(told.content)


def test_the_list_has_every_video_with_what_is_to_know(client):
    told = client.get("/api/videos").json()
    rows = {row["video"]: row for row in told["videos"]}
    assert rows.keys() == {"001", "002", "009", EVIL}
    assert (rows["001"]["split"], rows["001"]["frames"], rows["001"]["seconds"]) == ("train", 20, 2)
    assert rows["002"]["split"] == "val"
    assert rows["009"]["status"] == "quarantined"
    assert rows["001"]["flags"] == ["7 of 20 frames without a point"]
    again = client.get("/api/videos", params={"known": told["version"]}).json()
    assert again == {"unchanged": True}


def test_layers_follow_from_kinds_and_unknown_ones_are_drawn_too(client):
    told = client.get("/api/video", params={"video": "001"}).json()
    forms = {layer["id"]: layer["form"] for layer in told["layers"]}
    assert forms == {
        "frames": "picture",
        "flow_tvl1": "flow",
        "arrows:flow_tvl1": "arrows",
        "density": "heat",
        "saliency_a": "heat",
        "saliency_b": "heat",
        "odd": "heat",
        "fixations": "points",
        "mask_meta": "mask",
    }
    assert next(iter(forms)) == "frames"  # below everything else
    assert [layer["id"] for layer in told["layers"] if layer.get("shown")] == [
        "frames",
        "density",
        "fixations",
    ]
    assert told["sounds"] == ["audio"]
    assert {track["id"] for track in told["tracks"]} == {
        "points:fixations",
        "speed:flow_tvl1",
        "scalar:mask_meta",
        "sound:audio",
        "windows:feat_start",
    }
    bare = client.get("/api/video", params={"video": "002"}).json()
    assert (bare["layers"], bare["tracks"], bare["sounds"]) == ([], [], [])
    assert set(bare["missing"]) == {"frames", "flow", "fixations", "density"}


def test_pictures_are_lossless(ask, client):
    for k, content in enumerate(items(ask, "frames", "picture", 0, FRAMES)):
        np.testing.assert_array_equal(picture(content), small_stores.frame(0, k))
    (quick,) = items(ask, "frames", "picture", 5, 6, exact=0)
    assert Image.open(io.BytesIO(quick)).format == "JPEG"
    assert len(items(ask, "frames", "picture", 18, 26)) == 2  # what lies beyond the end is not


def test_maps_have_the_previews_colours_and_transparency(ask):
    ground = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for k, content in enumerate(items(ask, "density", "heat", 0, 4)):
        image = Image.open(io.BytesIO(content))
        assert image.mode == "P"
        shown = np.asarray(image.convert("RGBA")).astype(float)
        alpha = shown[..., 3:] / 255
        laid = ground * (1 - alpha) + shown[..., :3] * alpha
        peak = ask("scale", array="density").json()
        assert peak == {"low": 0.0, "high": 255.0}
        expected = heat(ground, small_stores.density(k).astype(np.float32) / 255)
        assert np.abs(laid - expected).max() <= 2


def test_flow_upon_white_is_the_middlebury_picture():
    axis = np.linspace(-3, 3, 61, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    flow[0, 0] = np.nan
    shown = motion_colours(flow, 2.0).astype(float)
    alpha = shown[..., 3:] / 255
    expected = flow_to_color(flow, 2.0).astype(int)
    assert np.abs(255 * (1 - alpha) + shown[..., :3] * alpha - expected).max() <= 3


def test_arrows_are_the_motion_in_pixels_of_its_grid(ask):
    parts = items(ask, "flow_tvl1", "arrows", 0, FRAMES)
    assert len(parts) == FRAMES - 1
    for k, content in enumerate(parts):
        assert struct.unpack_from("<2H", content) == (3, 4)
        arrows = np.frombuffer(content, "<f4", offset=4).reshape(3, 4, 2)
        np.testing.assert_allclose(arrows, np.broadcast_to([k + 0.5, -k], (3, 4, 2)), rtol=1e-3)


def test_points_are_those_of_the_frames_asked_for(ask):
    content = ask("points", stage="fixations", start=4, stop=9).content
    offset = np.frombuffer(content, "<i4", 6)
    np.testing.assert_array_equal(offset, [0, 1, 3, 3, 4, 6])
    x, y = np.frombuffer(content, "<f4", 12, 24).reshape(2, 6)
    np.testing.assert_array_equal(x, [4, 5, 5, 7, 0, 0])
    np.testing.assert_array_equal(y, [0, 0, 1, 0, 0, 1])
    assert len(np.frombuffer(content, "<i2", -1, 72)) == 6


def line(ask, track, start=0, stop=FRAMES, array=None):
    return np.frombuffer(
        ask("line", track=track, start=start, stop=stop, array=array or "").content, "<f4"
    )


def test_timelines_in_closed_form(ask):
    k = np.arange(FRAMES)
    np.testing.assert_array_equal(line(ask, "points:fixations"), k % 3)
    speed = line(ask, "speed:flow_tvl1", 7)
    np.testing.assert_allclose(speed[:-1], np.hypot(k[7:-1] + 0.5, k[7:-1]), rtol=1e-3)
    assert np.isnan(speed[-1])  # no motion leaves the last frame
    np.testing.assert_array_equal(line(ask, "scalar:mask_meta"), k != 3)
    loud = np.abs(samples().reshape(FRAMES, -1) / 32767).max(axis=1)
    np.testing.assert_allclose(line(ask, "sound:audio"), loud, atol=1e-4)
    assert ask("windows", starts="feat_start").json() == {"starts": [0, 4, 8, 12], "length": 5}


def test_metrics_per_frame_are_those_that_evaluate_averages(ask, store):
    told = ask("scores").json()
    metrics = {track["metric"]: track["arrays"] for track in told}
    assert {"nss", "cc", "sim", "kldiv", "auc_judd"} <= metrics.keys()
    assert "auc_shuffled" not in metrics  # needs the other videos
    assert metrics["nss"] == ["saliency_a", "saliency_b"]
    wanted, _ = contestants(store, ["a", "b"], ())
    scored = evaluate(store, wanted, videos=["001"], metrics=["nss", "cc"])
    for array in metrics["nss"]:
        for metric in ("nss", "cc"):
            values = line(ask, f"score:{metric}", array=array)
            mean = scored.tables[array]["videos"]["001"]["metrics"][metric]["mean"]
            assert np.nanmean(values) == pytest.approx(mean, rel=1e-5)


def test_values_under_the_pointer_are_the_stored_ones(ask):
    told = ask("values", array="frames", item=7, x=0.99, y=0.5).json()
    assert (told["row"], told["column"]) == (3, 7)
    assert told["values"] == small_stores.frame(0, 7)[3, 7].tolist()
    assert ask("values", array="flow_tvl1", item=2, x=0, y=0).json()["values"] == [2.5, -2]
    assert ask("values", array="odd", item=1, x=1, y=1).json()["values"] == [23]


def test_sound_is_a_wav_of_the_samples_in_any_range(ask):
    content = ask("sound", array="audio").content
    with wave.open(io.BytesIO(content)) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (RATE_HZ, 1)
        played = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    assert np.abs(played.astype(int) - samples()).max() <= 1
    assert ask("sound/about", array="audio").json() == {"rate_hz": RATE_HZ, "start_seconds": 0.0}


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-", 0, None),
        ("bytes=40-99", 40, 100),
        ("bytes=101-101", 101, 102),
        ("bytes=-7", -7, None),
    ],
)
def test_ranges_of_sound(client, version, asked, start, stop):
    query = {"video": "001", "v": version, "array": "audio"}
    whole = client.get("/api/sound", params=query).content
    part = client.get("/api/sound", params=query, headers={"Range": asked})
    assert part.status_code == 206
    assert part.content == whole[start:stop]
    beyond = client.get("/api/sound", params=query, headers={"Range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416


def test_thumbnails_are_of_the_middle(client):
    told = client.get("/api/thumbnail", params={"video": "001"})
    assert told.headers["content-type"] == "image/jpeg"
    shown = picture(told.content).astype(int)
    assert shown.shape == (90, 120, 3)
    assert np.abs(shown[::15, ::15] - small_stores.frame(0, 10)).mean() < 6
    assert client.get("/api/thumbnail", params={"video": "002"}).status_code == 204


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("items", {"array": "density", "form": "flow", "start": 0, "stop": 1}),
        ("items", {"array": "frames", "form": "picture", "start": 3, "stop": 3}),
        ("items", {"array": "frames", "form": "picture", "start": 0, "stop": 10**9}),
        ("items", {"array": "frames", "form": "picture", "start": -1, "stop": 1}),
        ("items", {"array": "frames", "form": "picture"}),
        ("line", {"track": "points:fixations", "start": 0, "stop": 21}),
        ("line", {"track": "windows:feat_start", "start": 0, "stop": 2}),
        ("line", {"track": "score:auc_shuffled", "array": "saliency_a", "start": 0, "stop": 2}),
        ("values", {"array": "frames", "item": 0, "x": "nan", "y": 2}),
        ("points", {"stage": "frames", "start": 0, "stop": 2}),
        ("sound", {"array": "frames"}),
        ("windows", {"starts": "feat"}),
    ],
)
def test_wrong_questions_are_answered_by_a_sentence(client, version, path, query):
    told = client.get(f"/api/{path}", params={"video": "001", "v": version, **query})
    assert told.status_code == 404
    assert len(told.json()["error"]) > 10


def test_scores_of_the_list_are_the_evaluations(own_store, serve):
    wanted, _ = contestants(own_store, ["a"], ())
    scored = evaluate(own_store, wanted, videos=["001"], metrics=["nss", "cc"])
    write_evaluation(Location(own_store.location.url), {**scored.to_dict(), "mask": None})
    with client_of(serve(own_store)) as client:
        told = client.get("/api/videos").json()
        assert told["scores"] == [
            {"contestant": "saliency_a", "metric": "nss"},
            {"contestant": "saliency_a", "metric": "cc"},
        ]
        by_video = {row["video"]: row["scores"] for row in told["videos"]}
        entry = scored.tables["saliency_a"]["videos"]["001"]["metrics"]
        assert by_video["001"] == [entry["nss"]["mean"], entry["cc"]["mean"]]
        assert by_video["002"] == [None, None]
        assert client.get("/api/evaluation").json()["up_to_date"] == {"saliency_a": True}
        write_prediction(own_store, "001", "a", np.ones((FRAMES, HEIGHT, WIDTH), np.float16))
        assert client.get("/api/evaluation").json()["up_to_date"] == {"saliency_a": False}


def test_a_store_that_is_being_built_is_followed(own_store, serve, monkeypatch):
    monkeypatch.setattr("foveal.pipeline.view.catalogue._FRESH_SECONDS", 0.0)
    monkeypatch.setattr("foveal.pipeline.view.catalogue._SHARE", 0)
    location = Location(own_store.location.url)
    with client_of(serve(own_store)) as client:
        before = client.get("/api/video", params={"video": "001"}).json()
        assert "extra" not in {layer["id"] for layer in before["layers"]}
        maps = np.ones((FRAMES, 3, 4), np.float32)
        write_array(
            own_store, "001", "extra", maps, ("time", "e_y", "e_x"), axis="frame", kind="map"
        )
        after = client.get("/api/video", params={"video": "001"}).json()
        assert "extra" in {layer["id"] for layer in after["layers"]}
        query = {"array": "frames", "form": "picture", "start": 0, "stop": 1}
        old = client.get("/api/items", params={"video": "001", "v": before["version"], **query})
        assert (old.status_code, old.json()["changed"]) == (409, True)
        unchanged = {"video": "001", "known": after["version"]}
        assert client.get("/api/video", params=unchanged).json() == {"unchanged": True}
        distrust_index(location)
        write_video(location, "new", 3, frames=4, stages=("time",))
        for _ in range(50):
            names = {row["video"] for row in client.get("/api/videos").json()["videos"]}
            if "new" in names:
                break
            threading.Event().wait(0.05)
        assert "new" in names
        assert client.get("/api/video", params={"video": "new"}).status_code == 200


def test_damage_is_said_where_it_is_and_the_rest_goes_on(own_store, serve):
    chunk = Path(own_store.location.url) / "videos/001/density/c/0/0/0"
    content = bytearray(chunk.read_bytes())
    content[5] ^= 255
    chunk.write_bytes(bytes(content))
    with client_of(serve(own_store)) as client:
        version = client.get("/api/video", params={"video": "001"}).json()["version"]
        query = {"video": "001", "v": version, "start": 0, "stop": 8}
        density = client.get("/api/items", params={**query, "array": "density", "form": "heat"})
        assert density.status_code == 404
        assert "foveal verify" in density.json()["error"]
        frames = client.get("/api/items", params={**query, "array": "frames", "form": "picture"})
        assert frames.status_code == 200


def test_stores_in_a_bucket_and_in_memory_are_served(bucket, serve):
    url = f"{bucket}/viewed.zarr"
    write_small_store(url, {"001": {"stages": ("time", "frames"), "frames": 9}})
    with client_of(serve(open_store(url))) as client:
        assert [row["video"] for row in client.get("/api/videos").json()["videos"]] == ["001"]
        version = client.get("/api/video", params={"video": "001"}).json()["version"]
        query = {"video": "001", "v": version, "array": "frames", "form": "picture"}
        told = client.get("/api/items", params={**query, "start": 8, "stop": 9})
        np.testing.assert_array_equal(picture(unpacked(told.content)[0]), small_stores.frame(0, 8))


def test_a_store_that_does_not_answer_is_a_sentence(own_store, serve):
    with client_of(serve(own_store)) as client:
        shutil.rmtree(own_store.location.url)
        told = client.get("/api/video", params={"video": "001"})
        assert told.status_code in (404, 503)
        assert json.loads(told.text)["error"]
        assert client.get("/").status_code == 200
