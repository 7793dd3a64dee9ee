from itertools import combinations

import cv2
import numpy as np
import pytest
import zarr
from PIL import Image
from small_stores import FPS, HEIGHT, WIDTH, density, edit_root, frame, vouch, write_small_store

from foveal.errors import FovealError, StoreError
from foveal.models.flow.color import flow_to_color
from foveal.pipeline.preview.panels import heat, layers, observer_colours
from foveal.pipeline.preview.preview import write_preview
from foveal.pipeline.preview.view import Moment, VideoView
from foveal.storage.location import Location
from foveal.storage.reader import open_store

FRAMES = 20
SEEN = {
    "frames": "frames",
    "flow_tvl1": "flow tvl1",
    "density": "density",
    "fixations": "fixations",
}


def name_observers(folder, video):
    path = folder / "videos" / video / "fixation_subject"
    zarr.open_array(path).attrs["subjects"] = ["ann", "bo"]
    vouch(Location(folder), video)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("look") / "small.zarr"
    write_small_store(folder, {"a": {"frames": FRAMES}})
    name_observers(folder, "a")
    return folder


@pytest.fixture(scope="module")
def view(folder):
    return VideoView(open_store(folder), "a")


def layer(view, title, size):
    return next(one for one in layers(view, range(FRAMES), size) if one.title == title)


def moment(view, k):
    return next(view.moments(["frames", "flow_tvl1", "density"], [k]))


@pytest.mark.parametrize("k", [0, 7, FRAMES - 1])
def test_a_panel_of_the_stored_size_is_the_stored_frame(view, k):
    drawn = layer(view, "frames", (HEIGHT, WIDTH)).draw(moment(view, k))
    np.testing.assert_array_equal(drawn, frame(0, k))


def test_flow_has_the_middlebury_colours_of_its_motion_on_one_scale(view):
    flows = layer(view, "flow tvl1", (3, 4))
    pixels = np.repeat([np.hypot(k + 0.5, k) for k in range(FRAMES - 1)], 3 * 4)
    max_px = np.percentile(pixels, 99)
    flow = np.empty((3, 4, 2), np.float32)
    for k in (0, 11, 18):
        flow[:] = k + 0.5, -k
        expected = flow_to_color(flow, float(max_px)).astype(int)
        assert np.abs(flows.draw(moment(view, k)) - expected).max() <= 1


def test_the_last_frame_has_no_flow(view):
    assert layer(view, "flow tvl1", (3, 4)).draw(moment(view, FRAMES - 1)) is None


@pytest.mark.parametrize("k", [0, 4, 9])
def test_density_glows_where_it_peaks(view, k):
    drawn = layer(view, "density", (HEIGHT, WIDTH)).draw(moment(view, k)).astype(int)
    ground = cv2.cvtColor(frame(0, k), cv2.COLOR_RGB2GRAY)
    added = drawn.sum(axis=-1) - 3 * ground.astype(int)
    assert np.unravel_index(added.argmax(), added.shape) == (k % HEIGHT, 2)
    assert density(k).argmax() == added.argmax()


def test_heat_leaves_the_picture_alone_where_nobody_looked_and_brightens_with_density():
    ground = np.full((1, 256, 3), 40, np.uint8)
    level = np.linspace(0, 1, 256, dtype=np.float32)[None]
    drawn = heat(ground, level)
    assert (drawn[0, 0] == 40).all()
    lightness = cv2.cvtColor(drawn, cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(lightness) >= -1).all()
    assert lightness[-1] > 4 * lightness[0]


def test_fixations_stand_where_they_were_in_their_observers_colour(view):
    k, scale = 5, 40
    size = (HEIGHT * scale, WIDTH * scale)
    drawn = layer(view, "fixations", size).draw(moment(view, k))
    colours = observer_colours(2)
    for observer in range(k % 3):
        x, y = (k % WIDTH + 0.5) * scale, (observer + 0.5) * scale
        np.testing.assert_array_equal(drawn[round(y), round(x)], colours[observer])
    dimmed = cv2.cvtColor(drawn, cv2.COLOR_RGB2HSV)[..., 1] < 40
    assert dimmed.mean() > 0.95


@pytest.mark.parametrize("count", [1, 2, 17, 39])
def test_observers_can_be_told_apart(count):
    colours = cv2.cvtColor(observer_colours(count)[None], cv2.COLOR_RGB2LAB)[0].astype(float)
    assert all(np.linalg.norm(a - b) > 4 for a, b in combinations(colours, 2))
    assert (colours[:, 0] > 120).all()


def test_moments_give_the_items_of_the_frames_asked_for_in_their_order(view):
    wanted = [3, 4, 15, 2, 2, 19]
    found = list(view.moments(["frames", "flow_tvl1"], wanted))
    assert [one.frame for one in found] == wanted
    for one in found:
        np.testing.assert_array_equal(one.items["frames"], frame(0, one.frame))
    assert [("flow_tvl1" in one.items) for one in found] == [True] * 5 + [False]


@pytest.mark.parametrize(
    "stages", [part for n in (1, 2, 4) for part in combinations(SEEN, n)], ids="+".join
)
def test_whatever_is_stored_is_shown_and_the_rest_is_named(tmp_path, stages):
    folder = tmp_path / "s.zarr"
    write_small_store(folder, {"a": {"frames": 5, "stages": ("time", *stages)}})
    if "fixations" in stages:
        name_observers(folder, "a")
    preview = write_preview(folder, "a", tmp_path / "sheet.png", columns=2)
    assert preview.shown == tuple(title for name, title in SEEN.items() if name in stages)
    sections = {"frames", "flow", "density", "fixations"}
    assert set(preview.missing) == sections - {name.split("_")[0] for name in stages}
    with Image.open(preview.path) as image:
        assert image.width > 2 * 320
        assert image.height > len(stages) * 240


def test_missing_things_are_told_from_unwanted_ones(tmp_path):
    folder = tmp_path / "s.zarr"
    location = write_small_store(folder, {"a": {"frames": 3, "stages": ("time", "density")}})
    edit_root(location, lambda about: about["recipe"].update(frames={"size": None}))
    missing = write_preview(folder, "a", tmp_path / "p.png").missing
    assert "not complete" in missing["frames"]
    assert missing["flow"] == "not in the recipe"


def test_default_moments_are_spread_over_the_video(folder, tmp_path):
    assert write_preview(folder, "a", tmp_path / "p.jpg", columns=4).frames == (2, 7, 12, 17)
    assert write_preview(folder, "a", tmp_path / "p.png", frames=[19, 0]).frames == (19, 0)


def test_a_film_shows_every_frame_at_the_videos_pace(folder, tmp_path):
    preview = write_preview(folder, "a", tmp_path / "p.mp4", panel_width_px=160)
    assert preview.frames == tuple(range(FRAMES))
    film = cv2.VideoCapture(str(preview.path))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS, rel=1e-3)
    pictures = [film.read()[1] for _ in range(FRAMES)]
    assert np.abs(pictures[0].astype(int) - pictures[-1]).max() > 50


def test_a_gif_moves_too(folder, tmp_path):
    preview = write_preview(folder, "a", tmp_path / "p.gif", frames=range(4, 9), panel_width_px=96)
    with Image.open(preview.path) as gif:
        assert gif.n_frames == 5
        assert gif.info["duration"] == pytest.approx(1000 / FPS)


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
        write_preview(folder, options.get("video", "a"), path, **given)
    assert not path.exists()


def test_a_sheet_has_a_limit_and_points_to_the_film(folder, tmp_path):
    with pytest.raises(FovealError, match=r"up to 24 frames, not 40.*\.mp4"):
        write_preview(folder, "a", tmp_path / "p.png", frames=[0] * 40)


def test_a_bare_timeline_cannot_be_seen(tmp_path):
    write_small_store(tmp_path / "s.zarr", {"a": {"frames": 3, "stages": ("time",)}})
    with pytest.raises(FovealError, match="only its timeline"):
        write_preview(tmp_path / "s.zarr", "a", tmp_path / "p.png")


def test_no_store_is_said_so(tmp_path):
    with pytest.raises(StoreError, match="no store"):
        write_preview(tmp_path / "none.zarr", "a", tmp_path / "p.png")


def test_without_frames_the_ground_is_flat(view):
    grey = layer(view, "density", (60, 80)).draw(
        Moment(0, {"density": np.zeros((HEIGHT, WIDTH), np.uint8)})
    )
    assert len(np.unique(grey)) == 1
