"""Mirroring and turning: what belongs together stays together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import write_small_store

from foveal.errors import StoreError
from foveal.torch import (
    Augmentation,
    ClipLoader,
    Clips,
    ColourJitter,
    FixationMap,
    Flow,
    Mirror,
    ResizedCrop,
    Rotate,
    Subsample,
)
from foveal.torch.transforms import Kinds

KINDS: Kinds = {"frames": "picture", "flow": "flow", "density": "map", "fixations": "fixations"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transforms") / "small.zarr"
    write_small_store(folder, {"a": {"frames": 12}, "b": {"frames": 9}})
    return folder


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene(size: tuple[int, int] = (9, 13), frames: int = 2) -> dict[str, torch.Tensor]:
    """One bright pixel at (x, y) = (3, 2) in everything, moving by (1.5, -0.5)."""
    height, width = size
    spot = torch.zeros(frames, height, width)
    spot[:, 2, 3] = 1
    flow = torch.zeros(frames, 4, height, width)
    flow[:, 0::2, 2, 3], flow[:, 1::2, 2, 3] = 1.5, -0.5
    return {
        "frames": (200 * spot)[:, None].expand(-1, 3, -1, -1).to(torch.uint8),
        "flow": flow,
        "density": spot.half(),
        "fixations": spot.to(torch.uint8),
        "valid": torch.ones(frames, dtype=torch.bool),
    }


def test_mirroring_by_hand() -> None:
    before = scene()
    after = Mirror(1.0).change(before, KINDS, rng())
    for key in ("frames", "density", "fixations"):
        assert after[key].dtype == before[key].dtype
        assert after[key][..., 2, 9].min() > 0
        assert after[key].float().sum() == before[key].float().sum()
    assert after["flow"][0, :, 2, 9].tolist() == [-1.5, -0.5, -1.5, -0.5]
    assert after["valid"] is before["valid"]
    assert before["fixations"][0, 2, 3] == 1, "the sample given is left as it was"
    again = Mirror(1.0).change(after, KINDS, rng())
    assert all(torch.equal(again[key], before[key]) for key in KINDS)


def test_a_quarter_turn_by_hand() -> None:
    # On a square grid a turn by 90 degrees clockwise takes (x, y) to (h - 1 - y, x).
    class Always(np.random.Generator):
        def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
            return high

    before = scene((9, 9))
    after = Rotate(90).change(before, KINDS, Always(np.random.PCG64(0)))
    for key in ("frames", "density", "fixations"):
        assert after[key].dtype == before[key].dtype
        np.testing.assert_allclose(after[key].flip(-1).mT.float(), before[key].float(), atol=1)
        assert after[key][..., 3, 6].float().min() > 0.9
    # Motion (1.5, -0.5) to the right and up becomes (0.5, 1.5): right and down.
    np.testing.assert_allclose(after["flow"][0, :, 3, 6], [0.5, 1.5, 0.5, 1.5], atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), degrees=st.floats(1, 40))
def test_flow_still_leads_from_frame_to_frame_after_a_turn(seed: int, degrees: float) -> None:
    # A blob moves by (4, 2) on frames of 48x64; the same turn moves blob and vector.
    def blob(x: float, y: float) -> torch.Tensor:
        rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
        return 255 * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)

    pictures = torch.stack([blob(30, 22), blob(34, 24)])
    flow = torch.tensor([4.0, 2.0]).view(1, 2, 1, 1).expand(2, 2, 48, 64).clone()
    density = torch.nn.functional.avg_pool2d(pictures[:, None], (4, 2))[:, 0]
    sample = {"frames": pictures[:, None], "flow": flow, "density": density}
    after = Rotate(degrees).change(
        sample, {"frames": "picture", "flow": "flow", "density": "map"}, rng(seed)
    )

    def centre(one: torch.Tensor) -> torch.Tensor:
        rows, columns = torch.meshgrid(
            torch.arange(one.shape[0]), torch.arange(one.shape[1]), indexing="ij"
        )
        return torch.stack([(columns * one).sum(), (rows * one).sum()]) / one.sum()

    first, second = (centre(each[0]) for each in after["frames"])
    np.testing.assert_allclose(second - first, after["flow"][0, :, 22, 30], atol=0.1)
    # The density lies on a grid of another aspect ratio and still lies on the blob.
    x, y = (centre(after["density"][0]) + 0.5) * torch.tensor([2.0, 4.0]) - 0.5
    x0, y0 = (centre(sample["density"][0]) + 0.5) * torch.tensor([2.0, 4.0]) - 0.5
    shift = torch.stack([x - x0, y - y0])
    np.testing.assert_allclose(shift, first - centre(pictures[0]), atol=0.3)


def test_fixations_that_leave_the_picture_are_gone_and_none_come_up() -> None:
    points = torch.zeros(1, 20, 40, dtype=torch.uint8)
    points[0, 0, :] = 1
    after = Rotate(30).change({"f": points}, {"f": "fixations"}, rng(3))["f"]
    assert 0 < after.sum() < points.sum()


def test_draws_depend_on_seed_epoch_and_clip_alone(store: Path) -> None:
    def read(workers: int, seed: int, epochs: int = 2) -> list[torch.Tensor]:
        clips = Clips(
            store,
            frames=4,
            variables=["frames", "flow_tvl1", "density", FixationMap((6, 8))],
            transform=Augmentation(Mirror(), Rotate(20)),
        )
        loader = ClipLoader(clips, 2, seed=seed, num_workers=workers, shuffle="none")
        return [batch["frames"] for _ in range(epochs) for batch in loader]

    once, again, other = read(0, 1), read(2, 1), read(0, 2)
    assert all(map(torch.equal, once, again))
    assert not all(map(torch.equal, once, other))
    half = len(once) // 2
    assert not all(map(torch.equal, once[:half], once[half:])), "each epoch draws anew"


def test_entries_are_found_and_features_are_refused(store: Path) -> None:
    change = Augmentation(Mirror())
    clips = Clips(store, frames=2, variables=["frames", Flow("flow_tvl1", stack=2)],
                  transform=change)  # fmt: skip
    assert clips.transform.kinds == {"frames": "picture", "flow_tvl1": "flow"}  # type: ignore[union-attr]
    with pytest.raises(
        StoreError, match="i3d_rgb holds features, which cannot be mirrored, rotated"
    ):
        Clips(store, frames=1, variables=["i3d_rgb"], transform=change)
    with pytest.raises(StoreError, match="kinds="):
        change({"frames": torch.zeros(1)})
    with pytest.raises(StoreError, match=r"within 0 … 180, not 200"):
        Rotate(200)
    with pytest.raises(StoreError, match=r"within 0 … 1, not 2"):
        Mirror(2)


def test_a_crop_by_hand() -> None:
    # The right lower quarter of 8x8 fills it: (5, 6) goes to the four pixels from (2, 4) on.
    class Corner(np.random.Generator):
        def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
            return high

    before = {
        key: value if key == "valid" else torch.zeros_like(value)
        for key, value in scene((8, 8)).items()
    }
    for key in KINDS:
        before[key][..., 6, 5] = 1
    before["fixations"][:, 1, 1] = 1
    before["flow"][:, 1::2] *= -0.5
    crop = ResizedCrop(scale=(0.25, 0.25), ratio=(1, 1))
    after = crop.change(before, KINDS, Corner(np.random.PCG64(0)))
    for key in KINDS:
        assert after[key].shape == before[key].shape
        assert after[key].dtype == before[key].dtype
    # The middle of pixel (5, 6) is at 2 (5.5 - 4) - 0.5 = 2.5, 4.5: between the four pixels.
    np.testing.assert_allclose(after["density"][0, 4:6, 2:4], 0.75 * 0.75)
    np.testing.assert_allclose(after["flow"][0, 0, 4:6, 2:4], 2 * 0.75 * 0.75)
    np.testing.assert_allclose(after["flow"][0, 1, 4:6, 2:4], -0.5 * 2 * 0.75 * 0.75)
    assert after["fixations"].nonzero().tolist() == [[0, 5, 3], [1, 5, 3]]
    whole = ResizedCrop((1, 1), (1, 1)).change(before, KINDS, rng())
    assert all(torch.equal(whole[key], before[key]) for key in KINDS)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_crops_show_the_same_part_on_every_grid(seed: int) -> None:
    # A ramp in x and y tells which place of the source each pixel shows.
    def ramp(height: int, width: int) -> torch.Tensor:
        y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        return torch.from_numpy(np.stack(np.broadcast_arrays(x, y[:, None]))).float()

    sample = {"frames": ramp(48, 64)[None], "flow": torch.ones(1, 2, 12, 20)}
    sample["density"] = ramp(24, 40)
    kinds = {"frames": "picture", "flow": "flow", "density": "map"}
    after = ResizedCrop((0.3, 0.8)).change(sample, kinds, rng(seed))
    fine, coarse = after["frames"][0], after["density"]
    # Away from the edges, where there is no next pixel, both are exact.
    corners = torch.nn.functional.interpolate(fine[None], (24, 40), mode="bilinear")[0]
    np.testing.assert_allclose(corners[:, 3:-3, 3:-3], coarse[:, 3:-3, 3:-3], atol=5e-3)
    share_x = (fine[0, 24, 40] - fine[0, 24, 20]) / (20 / 64)
    share_y = (fine[1, 30, 30] - fine[1, 15, 30]) / (15 / 48)
    np.testing.assert_allclose(after["flow"][0, :, 6, 10], [1 / share_x, 1 / share_y], rtol=0.05)


def test_colours_change_alike_in_all_frames_and_nothing_else_does() -> None:
    pictures = torch.randint(60, 180, (3, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    before = {"frames": pictures.to(torch.uint8), "density": torch.rand(3, 8, 8)}
    kinds = {"frames": "picture", "density": "map"}
    same = ColourJitter().change(before, kinds, rng())
    assert torch.equal(same["frames"], before["frames"])
    jitter = ColourJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    after = jitter.change(before, kinds, rng(1))
    assert after["density"] is before["density"]
    assert after["frames"].dtype == torch.uint8
    assert not torch.equal(after["frames"], before["frames"])
    # One frame twice in a clip is twice the same afterwards.
    twice = {**before, "frames": before["frames"][[0, 1, 0]]}
    first, _, last = jitter.change(twice, kinds, rng(1))["frames"]
    assert torch.equal(first, last)
    # By hand: brightness alone multiplies.
    bright = ColourJitter(brightness=1).change(before, kinds, rng(2))["frames"]
    factor = rng(2).uniform(0, 2)
    expected = (before["frames"].float() * factor).clamp(0, 255)
    np.testing.assert_allclose(bright.float(), expected, atol=1)
    with pytest.raises(StoreError, match="leave normalise out of Clips"):
        jitter.change({"frames": pictures.float()}, {"frames": "picture"}, rng())


def test_frames_are_picked_evenly_and_features_may_stay(store: Path) -> None:
    change = Augmentation(Subsample(3, steps=(1, 2)))
    clips = Clips(store, frames=5, variables=["frames", "i3d_rgb"], transform=change)
    kept = set()
    for epoch in range(12):
        sample = clips[0, 1, epoch]
        numbers = sample["frame"].tolist()
        kept.add((numbers[0], numbers[1] - numbers[0]))
        assert np.diff(numbers).tolist() == [numbers[1] - numbers[0]] * 2
        plain = Clips(store, frames=5, variables=["frames", "i3d_rgb"])[0]
        places = [plain["frame"].tolist().index(number) for number in numbers]
        for key in ("frames", "i3d_rgb", "time", "valid"):
            assert torch.equal(sample[key], plain[key][places])
    assert {step for _, step in kept} == {1, 2}
    with pytest.raises(StoreError, match=r"3 frames every 2 need clips of 5 frames, not 4"):
        Clips(store, frames=4, variables=["frames"], transform=change)
    with pytest.raises(StoreError, match="i3d_rgb holds features, which cannot be"):
        Clips(store, frames=5, variables=["i3d_rgb"],
              transform=Augmentation(Subsample(3), Mirror()))  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizedCrop((0.9, 0.5)), r"scale rises within 0 … 1, not \(0.9, 0.5\)"),
        (lambda: ResizedCrop(ratio=(0, 1)), "ratio rises from above 0"),
        (lambda: ColourJitter(hue=0.7), r"hue is within 0 … 0.5, not 0.7"),
        (lambda: Subsample(0), "frames and steps are at least 1"),
    ],
)
def test_impossible_transforms_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        make()
