"""What a network gets to read of a store, against stores whose every value is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_stores import HEIGHT, WIDTH, write_small_store

from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.models.flow.color import flow_to_color
from foveal.models.normalise import bgr_mean
from foveal.pipeline.learn.inputs import Prepare, choose_flow, flow_array, resized_maps, to_network
from foveal.pipeline.learn.several_stores import open_clips
from foveal.storage.reader import Store, open_store
from foveal.torch.batch import collate

VIDEOS = {"001": {}, "002": {"frames": 13}, "v": {"split": "val", "frames": 9}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("learn") / "small.zarr"
    write_small_store(folder, VIDEOS)
    return open_store(folder)


def sample(store: Store, spec: saliency.Spec, frames: int, number: int = 0) -> dict:
    clips = open_clips([store], "train", spec, None, frames=frames)
    return clips.__getitems__([(number, 0, 0)])[0]


def test_frames_come_in_the_networks_size_and_normalisation(store: Store) -> None:
    spec = saliency.spec("salbce", input_size=(16, 16))
    read = sample(store, spec, 4)
    assert read["frame"].dtype == torch.uint8
    assert read["frame"].shape == (4, 3, 16, 16)
    assert read["frame_number"].tolist() == [0, 1, 2, 3]
    # Blue is the video's number everywhere, so no resizing changes it.
    assert (read["frame"][:, 2] == 0).all()
    inputs, truth = to_network(collate([read]), spec, "cpu")
    assert torch.equal(inputs["frame"], bgr_mean(read["frame"])[None])
    assert set(truth) == {"valid", "density", "fixation_map"}


def test_frames_of_the_right_size_are_untouched() -> None:
    spec = saliency.spec("salbce", input_size=(16, 16))
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    about = {"video": "v", "frame": torch.arange(2), "valid": torch.ones(2, dtype=torch.bool)}
    assert torch.equal(Prepare(spec, None)({**about, "frames": pixels})["frame"], pixels)


def test_ground_truth_lies_on_the_outputs_grid(store: Store) -> None:
    spec = saliency.spec("salbce", input_size=(16, 16))
    read = sample(store, spec, 4)
    assert read["density"].shape == read["fixation_map"].shape == (4, 16, 16)
    # Frame k has k mod 3 points at x = k mod width; y counts them; pixels are doubled and more.
    for k in range(4):
        rows = sorted({int((point + 0.5) * 16 / HEIGHT) for point in range(k % 3)})
        columns = {int((k + 0.5) * 16 / WIDTH)} if k % 3 else set()
        assert read["fixation_map"][k].nonzero().tolist() == [[r, c] for r in rows for c in columns]
    assert read["density"].amax() <= 200


@given(
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_resizing_maps_keeps_constants_and_bounds(
    height: int, width: int, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(height * 100 + width)
    maps = torch.from_numpy(rng.random((2, height, width), dtype=np.float32))
    resized = resized_maps(maps, size)
    assert resized.shape == (2, *size)
    assert resized.min() >= maps.min() - 1e-6
    assert resized.max() <= maps.max() + 1e-6
    assert torch.allclose(resized_maps(torch.full_like(maps, 3.0), size), torch.tensor(3.0))


def test_maps_that_halve_are_averaged() -> None:
    maps = torch.arange(16.0).reshape(1, 4, 4)
    assert resized_maps(maps, (2, 2)).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]


def test_flow_stacks_hold_the_next_pairs_in_pixels_of_the_networks_grid(store: Store) -> None:
    spec = saliency.spec("tp_cmrnet", flow_maps=3, input_size=(8, 8), width=0.25)
    number = 3  # the last clip of video 001 (20 frames, 19 pairs)
    read = sample(store, spec, 5, number)
    assert read["frame_number"].tolist() == [15, 16, 17, 18, 19]
    assert read["flow_stack"].shape == (5, 6, 8, 8)
    for place, k in enumerate(range(15, 20)):
        for ahead in range(3):
            pair = min(k + ahead, 18)  # the video's last one repeats
            u, v = read["flow_stack"][place, 2 * ahead : 2 * ahead + 2]
            # The store's grid is 3x4: one of its pixels is 8/4 wide and 8/3 high here.
            assert torch.allclose(u, torch.tensor((pair + 0.5) * 2))
            assert torch.allclose(v, torch.tensor(-pair * 8 / 3))


def test_flow_images_are_drawn_on_the_stored_grid_each_by_its_own_maximum(store: Store) -> None:
    spec = saliency.spec("gfsalnet_temporal", input_size=(32, 32), width=0.125)
    read = sample(store, spec, 2)
    assert read["flow_image"].shape == (2, 3, 32, 32)
    for k in range(2):
        colour = flow_to_color(np.full((3, 4, 2), (k + 0.5, -k), np.float32))[0, 0]
        assert (read["flow_image"][k] == torch.from_numpy(colour.copy())[:, None, None]).all()


def test_features_are_those_of_the_window_that_ends_at_the_frame(store: Store) -> None:
    spec = saliency.spec("lsts_rgb", feature_shape=(2, 2, 1), feature_channels=4)
    clips = open_clips([store], "train", spec, None, frames=1)
    first = clips.__getitems__([(0, 0, 0)])[0]
    assert first["frame_number"].tolist() == [4]  # windows of 5 frames
    assert first["i3d_rgb"].flatten().tolist() == (0 + np.arange(16) / 4).tolist()


def test_features_of_another_shape_say_which_options_fit(store: Store) -> None:
    spec = saliency.spec("lsts_rgb")
    with pytest.raises(RecipeError, match=r"feature_shape=\[2, 2, 1\].*feature_channels=4"):
        sample(store, spec, 1)


def test_flow_is_chosen_or_asked_for(store: Store) -> None:
    assert choose_flow(store, None) == "flow_tvl1"
    assert flow_array(store, saliency.spec("salbce"), None) is None
    with pytest.raises(RecipeError, match="flow_tvl1, not 'flow_raft'"):
        choose_flow(store, "flow_raft")


def test_a_store_without_flow_says_how_to_get_it(tmp_path: Path) -> None:
    write_small_store(tmp_path / "s.zarr", {"1": {"stages": ("time", "frames")}})
    with pytest.raises(RecipeError, match="add a flow section"):
        choose_flow(open_store(tmp_path / "s.zarr"), None)


def test_by_video_keeps_clips_in_order_and_draws_videos_anew_each_epoch(tmp_path: Path) -> None:
    write_small_store(tmp_path / "s.zarr", {f"{n:02d}": {"frames": 12} for n in range(6)})
    spec = saliency.spec("salbce", input_size=(16, 16))
    store = open_store(tmp_path / "s.zarr")
    clips = open_clips([store], "train", spec, None, frames=4, by_video=True)
    orders = []
    for epoch in range(2):
        read = clips.__getitems__([(number, 3, epoch) for number in range(len(clips))])
        assert [int(each["frame_number"][0]) for each in read] == [0, 4, 8] * 6
        orders.append([each["video"] for each in read][::3])
        assert sorted(orders[-1]) == [f"{n:02d}" for n in range(6)]
    assert orders[0] != orders[1]
    again = clips.__getitems__([(number, 3, 0) for number in range(0, len(clips), 3)])
    assert [each["video"] for each in again] == orders[0]


def test_stores_of_different_sizes_share_a_batch(store: Store, tmp_path: Path) -> None:
    write_small_store(tmp_path / "s.zarr", {"other": {}})
    spec = saliency.spec("salbce", input_size=(16, 16))
    clips = open_clips([store, open_store(tmp_path / "s.zarr")], "train", spec, None, frames=10)
    assert len(clips) == 3 + 2
    read = clips.__getitems__([(number, 0, 0) for number in (4, 0, 3)])
    assert [each["video"] for each in read] == ["other", "001", "other"]
    assert [int(each["frame_number"][0]) for each in read] == [10, 0, 0]
    assert collate(read)["frame"].shape == (3, 10, 3, 16, 16)
    assert len(set(clips.shard_groups().tolist())) == 3
