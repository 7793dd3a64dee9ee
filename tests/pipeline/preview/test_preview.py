"""Panels show what is stored, where it is; strips follow numbers; what is missing is named."""

import re
from itertools import combinations

import cv2
import numpy as np
import pytest
from builds import (
    I3D,
    SIZE,
    bare_store,
    build,
    built_store,
    recipe_values,
    write_array,
    write_prediction,
    write_raw,
)
from PIL import Image

from foveal.errors import FovealError, StoreError
from foveal.models.flow.color import flow_to_color
from foveal.pipeline.preview.panels import heat, layers, observer_colours
from foveal.pipeline.preview.preview import write_preview
from foveal.pipeline.preview.strips import strips
from foveal.pipeline.preview.view import Moment, VideoView
from foveal.pipeline.recipe.recipe import Recipe

FRAMES = 20
GRID = (36, 64)
SEEN = {
    "frames": "frames",
    "flow": "flow tvl1",
    "density": "density",
    "fixations": "fixations",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Video 001 with all that a recipe can ask for, and 002 with a timeline only."""
    return bare_store(tmp_path_factory.mktemp("look"))


@pytest.fixture(scope="module")
def folder(store):
    return store.location.url


@pytest.fixture(scope="module")
def view(store):
    return VideoView(store, "001")


@pytest.fixture(scope="module")
def data(store):
    return store["001"].load()


def layer(view, title, size):
    return next(one for one in layers(view, size) if one.title == title)


def moment(view, k):
    return next(view.moments(["frames", "flow_tvl1", "density"], [k]))


@pytest.mark.parametrize("k", [0, 7, FRAMES - 1])
def test_a_panel_of_the_stored_size_is_the_stored_frame(view, data, k):
    drawn = layer(view, "frames", GRID).draw(moment(view, k))
    np.testing.assert_array_equal(drawn, data.frames[k])


def test_flow_has_the_middlebury_colours_of_its_motion_on_one_scale(view, data):
    flows = layer(view, "flow tvl1", (24, 32))
    flow = data.flow_tvl1.values.astype(np.float32)
    max_px = max(0.25, float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99)))
    for k in (0, 11, 18):
        expected = flow_to_color(flow[k], max_px).astype(int)
        assert np.abs(flows.draw(moment(view, k)) - expected).max() <= 1


def test_the_last_frame_has_no_flow(view):
    assert layer(view, "flow tvl1", (3, 4)).draw(moment(view, FRAMES - 1)) is None


def test_density_glows_where_it_peaks_and_leaves_the_picture_alone_elsewhere(view, data):
    glowing = layer(view, "density", GRID)
    looked_at = data.density.max(("map_y", "map_x")).values > 0
    assert 0 < looked_at.sum() < FRAMES
    for k in range(FRAMES):
        drawn = glowing.draw(moment(view, k)).astype(int)
        ground = (cv2.cvtColor(data.frames[k].values, cv2.COLOR_RGB2GRAY) * 0.55).astype(int)
        added = drawn.sum(axis=-1) - 3 * ground
        density = data.density[k].values
        assert (added[density == 0] == 0).all()
        if looked_at[k]:
            assert density.flat[added.argmax()] > 0.8 * density.max()


def test_heat_leaves_the_picture_alone_where_nobody_looked_and_brightens_with_density():
    ground = np.full((1, 256, 3), 40, np.uint8)
    level = np.linspace(0, 1, 256, dtype=np.float32)[None]
    drawn = heat(ground, level)
    assert (drawn[0, 0] == 40).all()
    lightness = cv2.cvtColor(drawn, cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(lightness) >= -1).all()
    assert lightness[-1] > 4 * lightness[0]


def test_fixations_stand_where_they_were_in_their_observers_colour(view, data):
    scale = 8
    size = (SIZE[0] * scale, SIZE[1] * scale)
    k = next(k for k in range(FRAMES) if (data.fixation_frame == k).any())
    drawn = layer(view, "fixations", size).draw(moment(view, k))
    # Of points that lie on each other the last one is seen.
    row = np.flatnonzero(data.fixation_frame == k)[-1]
    x, y = ((float(data[name][row]) + 0.5) * scale - 0.5 for name in ("fixation_x", "fixation_y"))
    colour = observer_colours(3)[int(data.fixation_subject[row])]
    np.testing.assert_array_equal(drawn[round(y), round(x)], colour)
    dimmed = cv2.cvtColor(drawn, cv2.COLOR_RGB2HSV)[..., 1] < 40
    assert dimmed.mean() > 0.95


@pytest.mark.parametrize("count", [1, 2, 17, 39])
def test_observers_can_be_told_apart(count):
    colours = cv2.cvtColor(observer_colours(count)[None], cv2.COLOR_RGB2LAB)[0].astype(float)
    assert all(np.linalg.norm(a - b) > 4 for a, b in combinations(colours, 2))
    assert (colours[:, 0] > 120).all()


def test_moments_give_the_items_of_the_frames_asked_for_in_their_order(view, data):
    wanted = [3, 4, 15, 2, 2, 19]
    found = list(view.moments(["frames", "flow_tvl1"], wanted))
    assert [one.frame for one in found] == wanted
    for one in found:
        np.testing.assert_array_equal(one.items["frames"], data.frames[one.frame])
    assert [("flow_tvl1" in one.items) for one in found] == [True] * 5 + [False]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("raw"))


def built_with(raw, folder, sections):
    """Video 002 with these sections of the recipe only."""
    values = recipe_values(raw, folder / "s.zarr")
    absent = {name: [] if name == "flow" else None for name in SEEN if name not in sections}
    build(Recipe.parse(values | absent), only=["002"])
    return folder / "s.zarr"


@pytest.mark.parametrize(
    "sections", [part for n in (1, 2, 4) for part in combinations(SEEN, n)], ids="+".join
)
def test_whatever_is_stored_is_shown_and_the_rest_is_named(raw, tmp_path, sections):
    folder = built_with(raw, tmp_path, sections)
    preview = write_preview(folder, "002", tmp_path / "sheet.png", columns=2)
    assert preview.shown == tuple(title for name, title in SEEN.items() if name in sections)
    assert set(preview.missing) == set(SEEN) - set(sections)
    with Image.open(preview.path) as image:
        assert image.width > 2 * 320
        assert image.height > len(sections) * 180


def test_missing_things_are_told_from_unwanted_ones(raw, tmp_path):
    folder = built_with(raw, tmp_path, ["density"])
    build(Recipe.parse(recipe_values(raw, folder, flow=[])), only=["001"])
    missing = write_preview(folder, "002", tmp_path / "p.png").missing
    assert "not complete" in missing["frames"]
    assert missing["flow"] == "not in the recipe"


def test_every_prediction_has_a_panel_over_the_dimmed_frame(tmp_path):
    store = built_store(tmp_path, flow=[])
    maps = np.zeros((FRAMES, 6, 8), np.float16)
    maps[:, 1, 2] = 5
    for name in ("one", "two", "three"):
        write_prediction(store, "001", name, maps - 3)
    titles = ("saliency one", "saliency three", "saliency two")
    preview = write_preview(store.location.url, "001", tmp_path / "p.png")
    assert preview.shown == ("frames", "density", "fixations", *titles)
    view = VideoView(store, "001")
    item = next(view.moments(["saliency_two", "frames"], [4]))
    drawn = layer(view, "saliency two", (6, 8)).draw(item).astype(int)
    assert np.unravel_index(drawn.sum(axis=-1).argmax(), (6, 8)) == (1, 2)


def test_kinds_nobody_has_seen_are_drawn_as_far_as_their_shape_allows(tmp_path):
    store = built_store(tmp_path, flow=[], density=None, fixations=None)
    values = np.zeros((FRAMES, 2, 4, 6), np.float32)
    values[:, :, 3, 5] = 1
    said = {"axis": "frame", "kind": "aura"}
    write_array(store, "001", "aura", values, ("time", "c", "y", "x"), **said)
    write_array(store, "001", "mood", np.arange(FRAMES) % 7, ("time",), **said)
    write_array(store, "001", "words", values[:3, 0], ("word", "y", "x"), axis="word", kind="text")
    view = VideoView(store, "001")
    drawn = layer(view, "aura", (4, 6)).draw(next(view.moments(["aura"], [0]))).astype(int)
    assert np.unravel_index(drawn.sum(axis=-1).argmax(), (4, 6)) == (3, 5)
    (mood,) = strips(view)
    assert mood.title == "mood"
    np.testing.assert_array_equal(mood.mean, np.arange(FRAMES) % 7)
    np.testing.assert_array_equal(mood.edges[:-1], view.seconds)
    assert write_preview(store.location.url, "001", tmp_path / "p.gif").shown[-1] == "mood"


def test_strips_follow_windows_by_their_starts_and_sound_by_its_envelope(store, data):
    view = VideoView(store, "001")
    found = {strip.title: strip for strip in strips(view)}
    assert set(found) == {
        f"i3d {tower}{suffix}" for tower in ("rgb", "flow") for suffix in ("", " valid frames")
    }
    for tower in ("rgb", "flow"):
        strip, features = found[f"i3d {tower}"], data[f"i3d_{tower}"].values
        starts = data[f"i3d_{tower}_window_start"].values
        np.testing.assert_allclose(strip.mean, features.mean(axis=1), rtol=1e-5)
        np.testing.assert_array_equal(strip.edges[:-1], view.seconds[starts])
        assert (np.diff(starts) == I3D["stride"]).all()


def test_sound_is_an_envelope_over_the_whole_video(tmp_path):
    store = built_store(tmp_path, flow=[], density=None, fixations=None)
    sound = np.sin(np.arange(8000)) * np.linspace(0, 1, 8000)
    write_array(store, "001", "sound", sound, ("sample",), axis="sample", kind="waveform")
    view = VideoView(store, "001")
    (strip,) = strips(view)
    assert len(strip.mean) == 512
    assert strip.high.max() == sound.max()
    assert strip.low.min() == sound.min()
    assert strip.edges[[0, -1]] == pytest.approx([0, FRAMES / view.about["fps"]], rel=1e-2)
    assert (np.diff(strip.high[::64]) > 0).all()


def test_default_moments_are_spread_over_the_video(folder, tmp_path):
    assert write_preview(folder, "001", tmp_path / "p.jpg", columns=4).frames == (2, 7, 12, 17)
    assert write_preview(folder, "001", tmp_path / "p.png", frames=[19, 0]).frames == (19, 0)


def test_a_film_shows_every_frame_at_the_videos_pace(folder, tmp_path):
    preview = write_preview(folder, "001", tmp_path / "p.mp4", panel_width_px=160)
    assert preview.frames == tuple(range(FRAMES))
    film = cv2.VideoCapture(str(preview.path))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(30, rel=1e-3)
    pictures = [film.read()[1] for _ in range(FRAMES)]
    assert np.abs(pictures[0].astype(int) - pictures[-1]).max() > 50


def test_a_gif_moves_too(folder, tmp_path):
    preview = write_preview(
        folder, "001", tmp_path / "p.gif", frames=range(4, 9), panel_width_px=96
    )
    with Image.open(preview.path) as gif:
        assert gif.n_frames == 5
        assert gif.info["duration"] == pytest.approx(30, abs=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "p.webm"}, r"\.mp4.*not '\.webm'"),
        ({"path": "nowhere/p.png"}, "no folder"),
        ({"frames": [0, 20]}, "frames 0 to 19, not 20"),
        ({"frames": [-1]}, "not -1"),
        ({"frames": range(20), "panel_width_px": 20}, "64 to 4096"),
        ({"columns": 0}, "not none"),
        ({"columns": 20, "panel_width_px": 4096}, "too large; ask for fewer frames"),
        ({"video": "b"}, "'b'"),
    ],
)
def test_what_cannot_be_drawn_is_said_clearly(folder, tmp_path, options, message):
    path = tmp_path / options.get("path", "p.png")
    given = {name: value for name, value in options.items() if name not in ("path", "video")}
    with pytest.raises(FovealError, match=message):
        write_preview(folder, options.get("video", "001"), path, **given)
    assert not path.exists()


def test_a_sheet_has_a_limit_and_points_to_the_film(folder, tmp_path):
    with pytest.raises(FovealError, match=r"up to 24 frames, not 40.*\.mp4"):
        write_preview(folder, "001", tmp_path / "p.png", frames=[0] * 40)


def test_a_bare_timeline_cannot_be_seen(folder, tmp_path):
    with pytest.raises(FovealError, match="only its timeline"):
        write_preview(folder, "002", tmp_path / "p.png")


def test_no_store_is_said_so(tmp_path):
    with pytest.raises(StoreError, match="no store"):
        write_preview(tmp_path / "none.zarr", "a", tmp_path / "p.png")


def test_without_frames_the_ground_is_flat(view):
    grey = layer(view, "density", (60, 80)).draw(Moment(0, {"density": np.zeros(GRID, np.uint8)}))
    assert len(np.unique(grey)) == 1


def test_a_gif_that_ends_early_says_so_and_tells_its_pictures(store, tmp_path, monkeypatch):
    from foveal.pipeline.preview import preview

    told = []
    whole = write_preview(store.location.url, "001", tmp_path / "a.gif", frames=[0, 1])
    assert whole.cut == ""
    monkeypatch.setattr(preview, "_GIF_FRAMES", 2)
    cut = write_preview(
        store.location.url, "001", tmp_path / "b.gif", advance=lambda *way: told.append(way)
    )
    assert told == [(1, 2), (2, 2)]
    assert re.fullmatch(
        r"Only the first \d+ s of \d+ s are shown; an \.mp4 shows all of it\.", cut.cut
    )
