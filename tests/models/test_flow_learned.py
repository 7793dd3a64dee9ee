"""Learned flow: micro-batches, memory, devices, precision, weights; and the faster correlation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flow_scenes import needs_ptlflow, panning_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.models.device import choose_device
from foveal.models.flow import FlowDeviceError, learned, make_estimator
from foveal.models.flow.correlation import local_correlation
from foveal.models.flow.learned import Learned
from foveal.models.flow.ptlflow import load_network

pytestmark = needs_ptlflow

SMALL = "pwcnet"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def with_memory_for(estimator: Learned, pairs: int, asked: list[int]) -> Learned:
    """The same estimator on a device that holds only so many pairs at a time."""
    estimator(panning_frames(2, 32, 32, 1, 0))
    network = estimator._network
    assert network is not None

    def limited(frames: torch.Tensor) -> torch.Tensor:
        asked.append(len(frames) - 1)
        if len(frames) - 1 > pairs:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return network(frames)

    estimator._network = limited
    return estimator


def test_out_of_memory_halves_the_micro_batch_and_loses_nothing() -> None:
    frames = panning_frames(8, 32, 32, 1.0, -0.5)
    expected = Learned(SMALL, weights="random", device="cpu", micro_batch=1)(frames)
    asked: list[int] = []
    estimator = with_memory_for(
        Learned(SMALL, weights="random", device="cpu", micro_batch=7), 2, asked
    )
    got = estimator(frames)
    assert np.abs(got - expected).max() < 1e-3
    assert asked == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert estimator.provenance()["halved_after_out_of_memory"] is True


def test_one_pair_too_many_is_a_device_error_that_names_ways_out() -> None:
    estimator = with_memory_for(Learned(SMALL, weights="random", device="cpu"), 0, [])
    with pytest.raises(FlowDeviceError, match=r"one pair of 32x32.*fallback: tvl1"):
        estimator(panning_frames(4, 32, 32, 1, 0))


def test_other_errors_are_not_taken_for_a_lost_device() -> None:
    estimator = Learned(SMALL, weights="random", device="cpu")

    def broken(frames: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    estimator._network = broken
    with pytest.raises(RuntimeError, match="shapes"):
        estimator(panning_frames(2, 32, 32, 1, 0))


def test_models_whose_pairs_influence_each_other_run_one_pair_at_a_time() -> None:
    estimator = make_estimator("liteflownet", weights="random", device="cpu")
    frames = panning_frames(4, 128, 128, 1, 0)
    together = estimator(frames)
    assert np.array_equal(together[1:2], estimator(frames[1:3]))
    assert "off" in estimator.provenance()["batching"]


def test_any_ptlflow_model_works_by_its_name() -> None:
    import ptlflow

    torch.manual_seed(3)
    model = ptlflow.get_model("rapidflow").eval()
    frames = panning_frames(3, 128, 160, 1, 1)
    bgr = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        direct = model({"images": torch.stack([bgr[:-1], bgr[1:]], 1).contiguous()})["flows"]
    got = make_estimator("rapidflow", weights="random", device="cpu", seed=3)(frames)
    assert np.abs(got - direct[:, 0].permute(0, 2, 3, 1).numpy()).max() < 1e-3


@pytest.mark.parametrize(("allowed_px", "ran"), [(1e9, "bfloat16"), (0.0, "float32")])
def test_reduced_precision_is_measured_and_given_up_where_it_errs(
    allowed_px: float, ran: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(learned, "MAX_EPE_PX", allowed_px)
    frames = panning_frames(2, 64, 64, 2, 1)
    estimator = Learned(SMALL, weights="random", device="cpu", precision="bfloat16")
    exact = Learned(SMALL, weights="random", device="cpu", precision="float32")(frames)
    with caplog.at_level(logging.WARNING, "foveal"):
        flow = estimator(frames)
    record = estimator.provenance()
    assert record["precision"] == ran
    assert record["bfloat16_error_px"] > 0
    assert ("using float32" in caplog.text) == (ran == "float32")
    assert np.array_equal(flow, exact) == (ran == "float32")
    assert estimator.parameters()["precision"] == "bfloat16"


def save_checkpoint(path: Path, method: str = SMALL, seed: int = 5) -> Any:
    import ptlflow

    torch.manual_seed(seed)
    model = ptlflow.get_model(method).eval()
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, path)
    return model


def test_a_checkpoint_given_by_path_is_what_runs(tmp_path: Path) -> None:
    path = tmp_path / "mine.ckpt"
    save_checkpoint(path)
    frames = panning_frames(2, 64, 64, 1, 1)
    by_path = make_estimator(SMALL, weights=str(path), device="cpu")
    assert np.array_equal(
        by_path(frames), Learned(SMALL, weights="random", seed=5, device="cpu")(frames)
    )
    assert not np.array_equal(
        by_path(frames), Learned(SMALL, weights="random", seed=6, device="cpu")(frames)
    )
    assert len(by_path.parameters()["weights_sha256"]) == 64
    assert "weights" not in by_path.parameters()
    assert by_path.provenance()["weights"] == "mine.ckpt"


def test_random_weights_are_recorded_and_asked_for_only() -> None:
    estimator = make_estimator(SMALL, weights="random", device="cpu", seed=4)
    assert estimator.parameters()["weights"] == "random"
    assert estimator.parameters()["seed"] == 4
    assert estimator.provenance()["weights"] == "random"


def test_random_weights_leave_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    load_network(SMALL, None, torch.device("cpu"), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pwcnet.ckpt"
    save_checkpoint(path)
    estimator = make_estimator("raft_small", weights=str(path), device="cpu")
    with pytest.raises(FovealError, match=r"pwcnet\.ckpt does not fit raft_small"):
        estimator(panning_frames(2, 16, 16, 1, 1))


def test_missing_weights_say_which_file_from_where_into_which_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingDependency) as caught:
        make_estimator("raft", device="cpu")
    for part in ("foveal weights fetch raft-sintel", "https://github.com/", str(tmp_path)):
        assert part in str(caught.value)
    with pytest.raises(MissingDependency, match="gma-things"):
        make_estimator("gma", weights="things", device="cpu")


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("rafft", {}, "did you mean raft"),
        ("raft", {"weights": "kity"}, "chairs, things, sintel, kitti"),
        ("gma", {}, "no default weights"),
        ("raft", {"weights": "random", "precision": "half"}, "float16"),
        ("raft", {"weights": "random", "micro_batch": 0}, "at least 1"),
        ("raft", {"weights": "random", "scales": 3}, "scales"),
        ("tvl1", {"weights": "sintel"}, "has no weights"),
        ("auto", {"scales": 3}, "no settings"),
    ],
)
def test_wrong_settings_are_named(method: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_estimator(method, **arguments)


def test_auto_without_a_gpu_is_tvl1_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, "foveal"):
        chosen = make_estimator("auto")
    assert chosen.name == "tvl1"
    assert "auto takes tvl1" in caplog.text
    assert chosen.provenance()["chosen_by"] == "auto"
    assert chosen.parameters() == make_estimator("tvl1").parameters()
    frames = panning_frames(2, 32, 32, 1, 0)
    assert np.array_equal(chosen(frames), make_estimator("tvl1")(frames))


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(RecipeError, match="'gpu' is unknown; write auto, cpu, cuda or cuda:N"):
        make_estimator("raft", weights="random", device="gpu")


def test_a_cuda_device_that_is_not_there_is_refused() -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(MissingDependency, match=f"finds {count} GPUs"):
        choose_device(f"cuda:{count}")


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    patch=st.sampled_from([1, 3, 5, 9]),
    step=st.integers(1, 2),
)
def test_correlation_is_the_dot_product_of_shifted_maps(
    height: int, width: int, patch: int, step: int
) -> None:
    generator = torch.Generator().manual_seed(height * 10 + width)
    first = torch.randn(2, 3, height, width, generator=generator)
    second = torch.randn(2, 3, height, width, generator=generator)
    got = local_correlation(first, second, patch, step)
    assert got.shape == (2, patch, patch, height, width)
    for i in range(patch):
        for j in range(patch):
            dy, dx = (i - patch // 2) * step, (j - patch // 2) * step
            for y in range(height):
                for x in range(width):
                    inside = 0 <= y + dy < height and 0 <= x + dx < width
                    wanted = (
                        (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1)
                        if inside
                        else torch.zeros(2)
                    )
                    assert torch.allclose(got[:, i, j, y, x], wanted, atol=1e-5)


def test_correlation_equals_ptlflows() -> None:
    from ptlflow.utils.correlation import iter_spatial_correlation_sample

    first, second = torch.randn(2, 2, 16, 24, 31, generator=torch.Generator().manual_seed(0))
    for patch, step in ((9, 1), (21, 2)):
        expected = iter_spatial_correlation_sample(
            first, second, patch_size=patch, dilation_patch=step
        )
        got = local_correlation(first, second, patch, step)
        # ptlflow interpolates at coordinates that float32 rounds; sums are about 4 in size
        assert torch.allclose(got, expected, atol=1e-3)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("method", ["raft", "raft_small", "pwcnet", "flownet2"])
def test_cuda_agrees_with_the_cpu(method: str) -> None:
    frames = panning_frames(6, 192, 256, 2, 1)
    gpu = Learned(method, weights="random", device="cuda", precision="float32")
    cpu = Learned(method, weights="random", device="cpu")
    assert np.abs(gpu(frames) - cpu(frames)).mean() < 0.01
    assert gpu.provenance()["pairs_at_once"]["192x256"] > 1
