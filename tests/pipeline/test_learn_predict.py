"""Predictions: the network's own maps, streamed, copied where the rule says so, kept by marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_stores import STAGES, frame, write_small_store
from torch import Tensor

from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.models import saliency
from foveal.models.device import choose_device
from foveal.models.normalise import bgr_mean
from foveal.models.saliency import SaliencyNetwork
from foveal.pipeline.learn.checkpoint import load_network, save_network
from foveal.pipeline.learn.evaluate import predictions_in
from foveal.pipeline.learn.inference import FRAMES_AT_ONCE, autocast_dtype
from foveal.pipeline.learn.inputs import Prepare
from foveal.pipeline.learn.predict import Prediction, Predictor, predict_store
from foveal.storage.index import update_index
from foveal.storage.location import Location
from foveal.storage.marks import read_marks
from foveal.storage.reader import Store, open_store
from foveal.storage.statistics import compute_statistics, write_statistics
from foveal.storage.verify import verify
from foveal.storage.wanted import write_wanted

FRAMES = 2 * FRAMES_AT_ONCE + 3
SIZE = (16, 16)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    videos = {"long": {"frames": FRAMES}, "short": {"frames": 3}}
    write_small_store(tmp_path / "small.zarr", videos)
    return open_store(tmp_path / "small.zarr")


def network(name: str = "salbce", seed: int = 0, **options: Any) -> SaliencyNetwork:
    torch.manual_seed(seed)
    given = {"input_size": SIZE, "width": 0.05} | options
    if name.startswith("lsts"):
        given.pop("input_size")
    return saliency.build(name, weights="random", **given).eval()


def whole_video(built: SaliencyNetwork, number: int, frames: int) -> Tensor:
    """Maps of a video's frames in one call."""
    pictures = torch.from_numpy(np.stack([frame(number, k) for k in range(frames)]))
    about = {"video": "", "frame": torch.arange(frames), "valid": torch.ones(frames)}
    read = Prepare(built.spec, None)({**about, "frames": pictures.movedim(-1, -3)})
    with torch.inference_mode():
        maps, _ = built({"frame": bgr_mean(read["frame"])[None]})
    return maps[0]


def stored(store: Store, video: str, array: str) -> NDArray[Any]:
    return np.asarray(store.array(video, array)[:])


@pytest.mark.parametrize("name", ["salbce", "salema", "salclstm"])
def test_streaming_gives_what_one_call_on_the_whole_video_gives(store: Store, name: str) -> None:
    built = network(name)
    results = predict_store(Predictor(built, "x", stored_dtype="float32"), str(store.location))
    assert results == [
        Prediction("long", "complete", frames=FRAMES),
        Prediction("short", "complete", frames=3),
    ]
    for number, (video, frames) in enumerate((("long", FRAMES), ("short", 3))):
        expected = whole_video(built, number, frames).numpy()
        np.testing.assert_allclose(stored(store, video, "saliency_x"), expected, atol=1e-6)


def test_groups_at_the_end_of_a_video_are_padded_and_the_padding_dropped(store: Store) -> None:
    built = network("tp_cmrnet", flow_maps=0, width=0.25)
    predict_store(Predictor(built, "x"), str(store.location))
    assert stored(store, "long", "saliency_x").shape == (FRAMES, *SIZE)
    assert stored(store, "short", "saliency_x").shape == (3, *SIZE)


def test_frames_before_the_first_window_get_the_first_estimate(store: Store) -> None:
    built = network("lsts_rgb", feature_shape=(2, 2, 1), feature_channels=4)
    results = predict_store(Predictor(built, "x", stored_dtype="float32"), str(store.location))
    assert results[0] == Prediction("long", "complete", frames=FRAMES, copied=4)
    assert results[1].status == "skipped"  # three frames, windows of five
    maps = stored(store, "long", "saliency_x")
    assert (maps[:4] == maps[4]).all()
    assert not (maps[5] == maps[4]).all()
    features = np.asarray(store.array("long", "i3d_rgb")[:], np.float32)
    with torch.inference_mode():
        expected, _ = built({"i3d_rgb": torch.from_numpy(features)[:, None]})
    np.testing.assert_allclose(maps[4:], expected[:, 0].numpy(), atol=1e-6)


def test_an_equal_prediction_is_left_alone_and_other_weights_replace_it(store: Store) -> None:
    url = str(store.location)
    predict_store(Predictor(network(), "x"), url, videos=["long"])
    first = read_marks(store.location, "long")["saliency_x"]
    again = predict_store(Predictor(network(), "x"), url, videos=["long"])
    assert again == [Prediction("long", "unchanged", frames=FRAMES)]
    assert read_marks(store.location, "long")["saliency_x"] == first
    other = network(placement=54, name="salema")
    assert predict_store(Predictor(other, "x"), url, videos=["long"])[0].status == "complete"
    second = read_marks(store.location, "long")["saliency_x"]
    assert second.fingerprint != first.fingerprint
    expected = whole_video(other, 0, FRAMES).numpy().astype(np.float16)
    np.testing.assert_allclose(stored(store, "long", "saliency_x"), expected, atol=1e-3)


def test_a_prediction_is_part_of_the_store_like_any_array(store: Store) -> None:
    predictor = Predictor(network(), "x", trained={"iteration": 7})
    location = Location(store.location.url)
    write_wanted(location, {video: [*store.videos.stages[video], "more"] for video in store})
    update_index(location)
    store.reload()
    write_statistics(location, compute_statistics(store))
    before = store.videos
    predict_store(predictor, str(store.location))
    opened = open_store(store.location.url)
    assert opened.statistics().attrs["up_to_date"]
    assert (opened.videos.status == "partial").all()
    assert (opened.videos.compute_seconds > 0).all()
    assert opened.videos.stages["long"] == sorted([*STAGES, "saliency_x"])
    assert (opened.videos.frames == before.frames).all()
    assert (opened.videos.split == before.split).all()
    assert not verify(Location(store.location.url))
    assert opened.videos.random_weights["long"] == ["saliency_x"]
    assert "saliency_x: 2 videos (2 by random weights)" in repr(opened)
    dataset = opened["long"]
    assert dataset.saliency_x.dims == ("time", "saliency_x_y", "saliency_x_x")
    about = dataset.saliency_x.attrs["foveal"]
    assert about["trained"] == {"iteration": 7}
    assert about["parameters"]["weights"] == {"weights": "random"}
    frames = read_marks(store.location, "long")["frames"].fingerprint
    assert read_marks(store.location, "long")["saliency_x"].identity["upstream"] == {
        "frames": frames
    }


def test_only_wanted_videos_are_predicted(store: Store, tmp_path: Path) -> None:
    results = predict_store(Predictor(network(), "x"), str(store.location), videos=["short"])
    assert [result.video for result in results] == ["short"]
    assert "saliency_x" not in store.arrays("long")


def test_videos_that_lack_what_is_read_are_skipped_with_the_reason(tmp_path: Path) -> None:
    videos = {"a": {"frames": 3}, "b": {"frames": 3, "stages": ("time",)}}
    write_small_store(tmp_path / "s.zarr", videos)
    results = predict_store(Predictor(network(), "x"), str(tmp_path / "s.zarr"))
    assert [result.status for result in results] == ["complete", "skipped"]
    assert results[1].reason == "no complete frames"


class Loud(SaliencyNetwork):
    """Gives maps of a value that float16 cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = network().spec

    def _saliency(self, tensors: list[Tensor], state: Any) -> tuple[Tensor, Any]:
        return tensors[0][:, :, 0] * 0 + 1e5, None


def test_maps_beyond_the_stored_type_are_refused_and_leave_nothing(store: Store) -> None:
    with pytest.raises(FovealError, match=r"long: the map of frame 0 .* store them as float32"):
        predict_store(Predictor(Loud(), "x"), str(store.location))
    assert "saliency_x" not in store.arrays("long")
    results = predict_store(Predictor(Loud(), "x", stored_dtype="float32"), str(store.location))
    assert {result.status for result in results} == {"complete"}


@pytest.mark.parametrize("name", ["", "Salema", "a-b", "../x", "_x"])
def test_names_that_make_no_array_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="lower-case letters"):
        Predictor(network(), name)


def test_a_network_written_is_the_network_read(tmp_path: Path) -> None:
    built = network("salema", placement=(7, 54))
    save_network(tmp_path / "best.pt", built, {"iteration": 3})
    for path in (tmp_path, tmp_path / "best.pt"):
        read, about = load_network(path)
        assert about == {"weights": "random", "iteration": 3}
        assert read.spec == built.spec
        state: Mapping[str, Tensor] = built.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in read.state_dict().items())


def test_files_that_hold_no_network_say_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="folder of a run"):
        load_network(tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "best.pt")
    with pytest.raises(FovealError, match="--network NAME"):
        load_network(tmp_path)
    (tmp_path / "best.pt").write_bytes(b"no checkpoint")
    with pytest.raises(FovealError, match=r"best\.pt cannot be loaded"):
        load_network(tmp_path)


def test_precision_is_float32_on_a_cpu_unless_asked_otherwise() -> None:
    cpu = choose_device("cpu")
    assert autocast_dtype("auto", "salbce", cpu) is None
    assert autocast_dtype("bfloat16", "salbce", cpu) is torch.bfloat16
    with pytest.raises(RecipeError, match="float16 is for GPUs"):
        autocast_dtype("float16", "salbce", cpu)
    with pytest.raises(RecipeError, match="not for tp_cmrnet"):
        autocast_dtype("float16", "tp_cmrnet", torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("name", "precision"), [("salema", "float32"), ("salema", "bfloat16")])
def test_a_gpu_agrees_with_the_cpu(store: Store, name: str, precision: Any) -> None:
    url = str(store.location)
    built = network(name)
    predict_store(Predictor(built, "cpu", device="cpu"), url)
    predict_store(Predictor(built, "gpu", device="cuda", precision=precision), url)
    one, other = (
        stored(store, "long", f"saliency_{name}").astype(np.float32) for name in ("cpu", "gpu")
    )
    # bfloat16 keeps 8 bits of each of 30 layers' activations.
    np.testing.assert_allclose(other, one, atol=1e-3 if precision == "float32" else 2e-2)


def test_gfsalnets_gate_and_maps_make_its_saliency(store: Store) -> None:
    built = network("gfsalnet", input_size=(32, 32), width=0.05)
    url, only = str(store.location), {"videos": ["short"]}
    without, with_inner = (
        Predictor(built, "x", stored_dtype="float32", inner=inner) for inner in (False, True)
    )
    assert predict_store(without, url, **only)[0].status == "complete"
    assert predict_store(with_inner, url, **only)[0].status == "complete"  # of inner arrays alone
    assert predict_store(with_inner, url, **only)[0].status == "unchanged"
    gate, appearance, motion = (
        stored(store, "short", f"inner_x_{name}") for name in ("gate", "appearance", "motion")
    )
    mixed = appearance * gate + motion * (1 - gate)
    np.testing.assert_allclose(mixed, stored(store, "short", "saliency_x"), atol=1e-6)
    assert gate.min() > 0
    assert gate.max() < 1
    infos = store.infos("short")
    assert {infos[f"inner_x_{name}"].role for name in ("gate", "motion")} == {"inner"}
    assert predictions_in(store, ["short"]) == ["saliency_x"]  # what is not scored beside it
    assert not verify(store.location)


def test_attention_and_state_are_those_of_the_network(store: Store) -> None:
    url = str(store.location)
    tp_cmrnet = network("tp_cmrnet", flow_maps=0, width=0.25)
    predict_store(
        Predictor(tp_cmrnet, "t", stored_dtype="float32", inner=True), url, videos=["short"]
    )
    for block in range(1, 5):
        attention = stored(store, "short", f"inner_t_attention_{block}")
        np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, rtol=1e-5)
    salema = network("salema", placement=(7, 54), alpha=0.25, dropout=0.0)
    predict_store(Predictor(salema, "e", stored_dtype="float32", inner=True), url, videos=["short"])
    first, second = (whole_video_layer(salema, frames)[-1].numpy() for frames in ((0, 1), (1, 2)))
    state = stored(store, "short", "inner_e_ema_7")
    np.testing.assert_allclose(state[0], first, atol=1e-5)
    np.testing.assert_allclose(state[1], 0.25 * second + 0.75 * first, atol=1e-5)


def whole_video_layer(built: SaliencyNetwork, frames: tuple[int, int]) -> Tensor:
    """Output of layer 7 for some frames of the second video."""
    pictures = torch.from_numpy(np.stack([frame(1, k) for k in range(*frames)]))
    about = {"video": "", "frame": torch.arange(*frames), "valid": torch.ones(len(pictures))}
    read = Prepare(built.spec, None)({**about, "frames": pictures.movedim(-1, -3)})
    with torch.inference_mode():
        return built.get_submodule("salgan")[:8](bgr_mean(read["frame"]))


def test_a_network_without_an_inside_says_so() -> None:
    with pytest.raises(RecipeError, match="leave --inner out"):
        Predictor(network(), "x", inner=True)
