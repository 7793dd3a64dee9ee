"""Window features with sharing equal the plain network on each window, and cost less."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from foveal.errors import InputError, MissingDependency
from foveal.models.i3d import half_precision, runner, step_network
from foveal.models.i3d.layers import time_layers
from foveal.models.i3d.network import random_i3d
from foveal.models.i3d.step_layers import spatial_max
from foveal.models.i3d.step_network import StepNetwork, count_macs, steps_by_taps
from foveal.models.i3d.window_plan import ZERO, plan_windows, window_levels
from foveal.models.i3d.windows import WindowFeatures, feature_shape, window_starts

SIZE = (32, 40)
I3D_LAYERS = time_layers("mixed_5c")


@cache
def network(tower="rgb"):
    return random_i3d(tower, 7, 0.0625)


@cache
def video(frames, channels=3):
    rng = np.random.default_rng(frames)
    values = rng.uniform(-1, 1, (frames, *SIZE, channels)).astype(np.float32)
    values.setflags(write=False)
    return values


def alone(x, window, starts, endpoint="mixed_5c", tower="rgb"):
    """Every window through the plain network, one at a time."""
    clips = torch.tensor(x).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        return np.concatenate(
            [network(tower)(clips[:, :, s : s + window], endpoint).numpy() for s in starts]
        )


def streamed(extractor, x, step=16):
    parts = [extractor.push(x[i : i + step]) for i in range(0, len(x), step)]
    return np.concatenate([*parts, extractor.finish()])


def extractor(window=79, stride=1, tower="rgb", **options):
    options = {"pooling": "none", "preprocessing": "none", "size": SIZE, **options}
    return WindowFeatures(network(tower), window=window, stride=stride, device="cpu", **options)


def relative(values, reference):
    assert values.shape == reference.shape
    return np.abs(values - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, 16, 40])
def test_79_frame_windows_equal_the_plain_network(stride):
    x = video(101)
    windows = extractor(stride=stride)
    got = streamed(windows, x)
    starts = list(range(0, 101 - 79 + 1, stride))
    assert windows.window_starts == starts
    assert windows.valid_frames == [79] * len(starts)
    assert relative(got, alone(x, 79, starts)) < 1e-5


@pytest.mark.parametrize("endpoint", ["mixed_4f", "global"])
@pytest.mark.parametrize("stride", [1, 4])
def test_other_endpoints_equal_the_plain_network(endpoint, stride):
    x = video(90)
    windows = extractor(stride=stride, endpoint=endpoint)
    got = streamed(windows, x)
    assert relative(got, alone(x, 79, range(0, 12, stride), endpoint)) < 1e-5
    assert got.shape[1:] == windows.feature_shape


def test_the_flow_tower_equals_the_plain_network():
    x = video(84, 2)
    got = streamed(extractor(tower="flow", stride=2), x)
    assert relative(got, alone(x, 79, range(0, 6, 2), tower="flow")) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    window=st.integers(1, 40),
    extra=st.integers(0, 30),
    stride=st.integers(1, 45),
    first=st.integers(0, 12),
    step=st.integers(1, 50),
    batch=st.integers(1, 9),
)
def test_any_window_stride_batch_and_stream_equals_the_plain_network(
    window, extra, stride, first, step, batch
):
    x = video(80)[: window + extra]
    windows = extractor(window, stride, first_start=first, batch_windows=batch)
    got = streamed(windows, x, step)
    starts = list(range(first, extra + 1, stride))
    assert windows.window_starts == starts == window_starts(len(x), window, stride, first)
    assert len(got) == len(starts)
    if starts:
        assert relative(got, alone(x, window, starts)) < 1e-5


def test_poolings_are_the_papers_averages():
    x = video(12).repeat(3, axis=1)[:, :96, :].repeat(3, axis=2)[:, :, :96]
    maps = streamed(extractor(12, 1, size=(96, 96)), x)
    maps4 = streamed(extractor(12, 1, size=(96, 96), endpoint="mixed_4f"), x)
    assert maps.shape == (1, 64, 2, 3, 3)
    paper = streamed(extractor(12, 1, size=(96, 96), pooling="paper"), x)
    np.testing.assert_allclose(paper, maps.mean((2, 3, 4), keepdims=True), rtol=1e-5)
    k3s1 = streamed(extractor(12, 1, size=(96, 96), pooling="k3s1", endpoint="mixed_4f"), x)
    assert k3s1.shape == (1, 52, 1, 4, 4)
    np.testing.assert_allclose(
        k3s1[:, :, 0, 1, 2], maps4[:, :, :, 1:4, 2:5].mean((2, 3, 4)), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("pooling", "shape"),
    [("paper", (1024, 5, 5, 5)), ("k3s1", (1024, 8, 5, 5)), ("none", (1024, 10, 7, 7))],
)
def test_published_feature_shapes(pooling, shape):
    assert feature_shape(pooling=pooling) == shape
    assert feature_shape(pooling=pooling, endpoint="global") == (1024,)


def test_features_are_float32_of_the_foreseen_shape():
    windows = extractor(12, 1, size=(96, 96), pooling="paper", preprocessing="lsts")
    assert windows.feature_shape == feature_shape(12, "paper", size=(96, 96), width=0.0625)
    none_yet = windows.push(np.zeros((3, 8, 8, 3), np.uint8))
    assert none_yet.shape == (0, *windows.feature_shape)
    windows.push(np.zeros((10, 8, 8, 3), np.uint8))
    rest = windows.finish()
    assert (rest.shape, rest.dtype) == ((2, *windows.feature_shape), np.float32)


def test_short_clips_are_skipped_or_begin_with_copies_of_the_first_frame():
    x = video(13)
    skipping = extractor(20, 4)
    assert streamed(skipping, x).shape == (0, *skipping.feature_shape)
    assert skipping.window_starts == []
    repeating = extractor(20, 4, first_start=3, short_clips="repeat_first")
    got = streamed(repeating, x, 5)
    assert (repeating.window_starts, repeating.valid_frames) == ([-7], [13])
    assert window_starts(13, 20, 4, 3, "repeat_first") == [-7]
    longer = np.concatenate([x[:1].repeat(7, axis=0), x])
    assert relative(got, alone(longer, 20, [0])) < 1e-5
    long_enough = extractor(13, 4, short_clips="repeat_first")
    streamed(long_enough, x)
    assert (long_enough.window_starts, long_enough.valid_frames) == ([0], [13])


def test_memory_does_not_grow_with_the_video():
    windows = extractor(17, 1, batch_windows=4)
    kept = []
    for _ in range(12):
        windows.push(video(16))
        kept.append(windows.kept_bytes)
    assert max(kept[2:]) == kept[2]
    windows.finish()
    assert windows.kept_bytes == 0


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 8, 16, 64, 79, 100])
def test_no_stride_computes_more_steps_than_windows_alone(stride):
    levels = window_levels(79, I3D_LAYERS)
    kept = tuple(() for _ in levels)
    for _ in range(80 // (4 * stride) + 2):
        plan = plan_windows(levels, stride, 4, kept)
        kept = tuple(tuple(a - 4 * stride for a in anchors) for anchors in plan.kept)
    for level, reads in zip(levels, plan.reads, strict=True):
        assert len(reads) <= 4 * level.steps
    if stride >= 79:
        assert not any(kept)


def test_layers_over_time():
    blocks = [(3, 1)] * 5
    expected = ((7, 2), (3, 1), (3, 1), (3, 1), (3, 2), *blocks, (2, 2), (3, 1), (3, 1))
    assert time_layers("mixed_5c") == time_layers("global") == expected
    assert time_layers("mixed_4f") == expected[:-3]


def test_interior_of_a_79_frame_window():
    levels = window_levels(79, I3D_LAYERS)
    assert [(at.first, at.stop, at.steps) for at in levels] == [
        (0, 79, 79),
        (2, 38, 40),
        (3, 37, 40),
        (4, 36, 40),
        (5, 35, 40),
        (3, 17, 20),
        (4, 16, 20),
        (5, 15, 20),
        (6, 14, 20),
        (7, 13, 20),
        (8, 12, 20),
        (4, 6, 10),
        (0, 0, 10),
        (0, 0, 10),
    ]
    field = 1
    for at in reversed(levels[1:]):
        field = (field - 1) * at.stride + at.kernel
    assert field == 99


def test_the_plan_of_five_frame_windows_written_out():
    levels = window_levels(5, [(3, 1)])
    first = plan_windows(levels, 1, 1, ((), ()))
    assert first.reads[1] == ((ZERO, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, ZERO))
    assert first.results == (0, 1, 2, 3, 4)
    assert first.kept == ((), (2, 3))
    second = plan_windows(levels, 1, 1, ((), (1, 2)))
    assert second.reads[0] == ((0,), (1,), (2,), (3,), (4,))
    assert second.reads[1] == ((ZERO, 0, 1), (2, 3, 4), (3, 4, ZERO))
    assert second.results == (2, 0, 1, 3, 4)


def test_operations_of_the_published_network():
    rgb_alone, rgb_shared = count_macs("rgb")
    flow_alone, _ = count_macs("flow")
    assert rgb_alone == 138_937_845_760
    assert round(flow_alone / 1e9) == 128
    assert rgb_alone / rgb_shared > 3.5


def test_counted_operations_are_those_that_ran():
    windows = extractor(79, 1, batch_windows=8)
    windows.push(video(101)[: 79 + 7])
    with FlopCounterMode(display=False) as counter:
        windows.push(video(8))
    assert counter.get_total_flops() // 2 // 8 == count_macs("rgb", SIZE, width=0.0625)[1]


def test_steps_are_grouped_by_the_taps_they_read(monkeypatch):
    monkeypatch.setattr(step_network, "LEAST_STEPS_APART", 2)
    front, back, inner = (ZERO, 0, 1), (4, 5, ZERO), (1, 2, 3)
    assert steps_by_taps([front, inner, front, back, inner], 3) == {
        (0, 3): [1, 3, 4],
        (1, 3): [0, 2],
    }
    assert steps_by_taps([front, front], 3) == {(1, 3): [0, 1]}
    assert steps_by_taps([(ZERO, ZERO, ZERO)], 3) == {(0, 3): [0]}
    assert steps_by_taps([], 3) == {}


@pytest.mark.parametrize("least", [1, 3, 1000])
@pytest.mark.parametrize("stride", [1, 5, 17])
def test_leaving_out_products_with_padding_changes_nothing(monkeypatch, least, stride):
    monkeypatch.setattr(step_network, "LEAST_STEPS_APART", least)
    x = video(60)
    got = streamed(extractor(17, stride, batch_windows=5), x)
    assert relative(got, alone(x, 17, range(0, 44, stride))) < 1e-5


def test_preprocessing_is_part_of_the_stream():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (18, *SIZE, 3), dtype=np.uint8)
    got = streamed(extractor(17, 1, preprocessing="lsts"), frames)
    ready = (frames / 127.5 - 1).astype(np.float32)
    assert relative(got, alone(ready, 17, [0, 1])) < 1e-5


@pytest.mark.parametrize("fits", [3, 1])
def test_a_full_memory_halves_the_batch_and_changes_no_number(monkeypatch, fits):
    run = StepNetwork.run
    steps = window_levels(17, I3D_LAYERS)[-1].steps

    def limited(self, frames, first_frame, plan, kept):
        if len(plan.results) > fits * steps:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return run(self, frames, first_frame, plan, kept)

    x = video(40)
    whole = streamed(extractor(17, 1, batch_windows=8), x)
    monkeypatch.setattr(StepNetwork, "run", limited)
    windows = extractor(17, 1, batch_windows=8)
    halved = streamed(windows, x)
    assert relative(halved, whole) < 1e-6
    assert windows.window_starts == list(range(24))
    assert windows.provenance()["memory_halvings"] == (2 if fits == 3 else 3)


def test_a_window_that_does_not_fit_says_so(monkeypatch):
    def never(self, frames, first_frame, plan, kept):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StepNetwork, "run", never)
    with pytest.raises(MissingDependency, match="smaller frames or device 'cpu'"):
        extractor(4, 1).push(video(13))


def test_the_folded_network_lives_as_long_as_a_video_is_at_work():
    windows = extractor(17, 1)  # what a plan holds of every video
    assert "steps" not in vars(windows._runner)
    windows.push(video(18))
    assert "steps" in vars(windows._runner)
    windows.finish()
    assert "steps" not in vars(windows._runner)


@pytest.mark.parametrize(("tolerance", "kept"), [(1e-1, "bfloat16"), (1e-9, "float32")])
@pytest.mark.parametrize("pooling", ["none", "paper"])
def test_half_precision_is_kept_only_where_it_agrees(monkeypatch, tolerance, kept, pooling):
    monkeypatch.setattr(half_precision, "bfloat16_instructions", lambda: "avx512_bf16")
    monkeypatch.setattr(runner, "LEAST_SPEEDUP", 0.0)
    monkeypatch.setattr(runner, "HALF_TOLERANCE", tolerance)
    size = (96, 96) if pooling == "paper" else SIZE
    windows = extractor(17, 1, precision="auto", pooling=pooling, size=size)
    exact = extractor(17, 1, pooling=pooling, size=size)
    x = np.resize(video(40), (40, *size, 3))
    got, expected = streamed(windows, x), streamed(exact, x)
    ran = windows.provenance()
    assert ran["precision"] == kept
    # What is compared is the first window as it is given away, after pooling.
    difference = relative(np.float32(got[:1]), expected[:1])
    if kept == "bfloat16":
        assert ran["half_difference"] == pytest.approx(difference, rel=1e-2)
        assert 1e-4 < relative(got, expected) < 3e-2
        assert "avx512_bf16" in ran["precision_because"]
    else:
        assert ran["half_difference"] > 1e-4
        assert relative(got, expected) < 1e-6
        assert "differs by" in ran["precision_because"]
    assert ran["half_speedup"] > 0


def test_half_precision_is_left_where_it_is_no_faster(monkeypatch):
    monkeypatch.setattr(half_precision, "bfloat16_instructions", lambda: "amx")
    monkeypatch.setattr(runner, "LEAST_SPEEDUP", float("inf"))
    windows, exact = extractor(17, 1, precision="auto"), extractor(17, 1)
    x = video(40)
    assert np.array_equal(streamed(windows, x), streamed(exact, x))
    ran = windows.provenance()
    assert ran["precision"] == "float32"
    assert "in a trial" in ran["precision_because"]
    assert "half_difference" not in ran


def test_a_cpu_without_bfloat16_instructions_is_not_asked_to(monkeypatch):
    monkeypatch.setattr(half_precision, "bfloat16_instructions", lambda: None)
    windows = extractor(17, 1, precision="auto")
    streamed(windows, video(20))
    ran = windows.provenance()
    assert ran["precision"] == "float32"
    assert "no bfloat16 instructions" in ran["precision_because"]
    assert "half_speedup" not in ran


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_that_is_asked_for_is_what_runs(precision):
    windows, exact = extractor(17, 1, precision=precision), extractor(17, 1)
    x = video(24)
    difference = relative(streamed(windows, x), streamed(exact, x))
    assert 1e-5 < difference < 3e-2
    assert windows.provenance()["precision"] == precision


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 4),
    seed=st.integers(0, 99),
)
def testspatial_max_is_torchs(shape, seed):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    expected = torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 3, 1, padding=1)
    assert torch.equal(spatial_max(x, (3, 3), (1, 1)), expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window 0"),
        ({"stride": 0}, "stride 0"),
        ({"first_start": -1}, "first_start -1"),
        ({"pooling": "max"}, "paper, k3s1, none"),
        ({"pooling": "paper"}, "pooling 'none'"),
        ({"endpoint": "mixed_3c"}, "mixed_4f, mixed_5c, global"),
        ({"short_clips": "loop"}, "skip, repeat_first"),
        ({"precision": "int8"}, "float32, float16, bfloat16, auto"),
        ({"preprocessing": "vgg"}, "lsts, deepmind, none"),
    ],
)
def test_what_is_not_allowed_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        extractor(**options)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"rgb tower takes \[n, h, w, 3\]"):
        extractor().push(np.zeros((2, *SIZE, 2), np.float32))
    with pytest.raises(InputError, match="not finite"):
        extractor(tower="flow").push(np.full((2, *SIZE, 2), np.nan, np.float32))
    done = extractor()
    done.finish()
    with pytest.raises(RuntimeError, match="finished"):
        done.push(video(13))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-4), ("auto", 1e-2)])
def test_cuda_equals_the_plain_network_on_the_cpu(precision, bound):
    x = video(101)
    windows = WindowFeatures(
        network(), pooling="none", preprocessing="none", size=SIZE, device="cuda",
        precision=precision,
    )  # fmt: skip
    assert relative(streamed(windows, x), alone(x, 79, range(23))) < bound
    assert windows.provenance()["device"] == "cuda"
