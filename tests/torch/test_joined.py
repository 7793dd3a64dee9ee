"""Clips of several stores as one dataset, and trainers of others that read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import frame, write_small_store

from foveal.errors import StoreError
from foveal.torch import Augmentation, ClipLoader, Clips, JoinedClips, Mirror

STAGES = ("time", "frames")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined")
    write_small_store(folder / "a.zarr", {"1": {"frames": 12, "stages": STAGES}})
    write_small_store(
        folder / "b.zarr",
        {"1": {"frames": 20, "stages": STAGES}, "2": {"frames": 21, "stages": STAGES}},
    )
    return folder


def clips(path: Path, **options: Any) -> Clips:
    return Clips(path, frames=2, variables=["frames"], **options)


def drawn(loader: ClipLoader) -> list[tuple[int, str, int]]:
    """Part, video and first frame of every clip of an epoch."""
    return [
        (int(part), video, int(first))
        for batch in loader
        for part, video, first in zip(
            batch["part"], batch["video"], batch["frame"][:, 0], strict=True
        )
    ]


def test_joined_clips_are_those_of_their_parts(folder: Path) -> None:
    a, b = clips(folder / "a.zarr"), clips(folder / "b.zarr")
    both = a + b
    assert len(both) == len(a) + len(b) == 6 + 20
    for number in (0, 5, 6, 25, -1):
        part, video, first = both.where(number)
        sample = both[number]
        assert (sample["part"], sample["video"], int(sample["frame"][0])) == (part, video, first)
        expected = frame(0 if part == 0 else int(video) - 1, first)
        np.testing.assert_array_equal(sample["frames"][0].permute(1, 2, 0), expected)
    same = Clips.of_stores([folder / "a.zarr", folder / "b.zarr"], frames=2, variables=["frames"])
    assert same.identity == both.identity
    assert len((a + b) + a) == len(a + (b + a)) == 32
    with pytest.raises(IndexError):
        both[26]


@pytest.mark.parametrize("shuffle", ["clips", "shards", "none"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_reads_every_clip_of_all_parts_once(
    folder: Path, shuffle: Any, workers: int
) -> None:
    both = clips(folder / "a.zarr") + clips(folder / "b.zarr")
    found = drawn(ClipLoader(both, 4, shuffle=shuffle, seed=1, num_workers=workers))
    assert sorted(found) == sorted(both.where(number) for number in range(len(both)))


@pytest.fixture(scope="module")
def plain(folder: Path) -> JoinedClips:
    return clips(folder / "a.zarr") + clips(folder / "b.zarr")


@settings(deadline=None, max_examples=40)
@given(weights=st.lists(st.floats(0.05, 20), min_size=2, max_size=2), epoch=st.integers(0, 5))
def test_weights_are_shares_of_an_epoch(
    plain: JoinedClips, weights: list[float], epoch: int
) -> None:
    both = plain.weighted(*weights)
    numbers = both.epoch_numbers(3, epoch)
    assert len(numbers) == len(both)
    counts = np.bincount(both.parts_of(numbers, (3, epoch)), minlength=2)
    np.testing.assert_allclose(counts, np.array(weights) / sum(weights) * 26, atol=1)
    for part, size in enumerate((6, 20)):
        times = Counter((numbers[both.parts_of(numbers, (3, epoch)) == part] % 26).tolist())
        often = [times[number] for number in range(*((0, 6), (6, 26))[part])]
        assert max(often) - min(often) <= 1, size
    assert len(set(numbers.tolist())) == len(numbers)


def test_weighted_epochs_are_shared_resumed_and_drawn_anew(folder: Path) -> None:
    both = (clips(folder / "a.zarr") + clips(folder / "b.zarr")).weighted(3, 1)
    loader = ClipLoader(both, 5, seed=2)
    first, second = drawn(loader), drawn(loader)
    assert sum(part == 0 for part, *_ in first) in (19, 20)
    assert first != second
    ranks = [drawn(ClipLoader(both, 5, seed=2, rank=rank, world_size=2)) for rank in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == sorted(first)
    loader.set_epoch(0)
    batches = iter(loader)
    next(batches), next(batches)
    again = ClipLoader(both, 5, seed=2)
    again.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert drawn(again) == first[10:]
    with pytest.raises(StoreError, match="clips was"):
        ClipLoader(both.weighted(1, 1), 5, seed=2).load_state_dict(loader.state_dict())


def test_a_clip_that_comes_again_is_changed_anew(folder: Path) -> None:
    change = Augmentation(Mirror())
    parts = [clips(folder / f"{name}.zarr", transform=change) for name in "ab"]
    joined = JoinedClips(parts, [20, 1])
    seen: dict[tuple[int, str, int], set[bytes]] = {}
    for batch in ClipLoader(joined, 4, seed=1):
        for number, where in enumerate(drawn([batch])):  # type: ignore[arg-type]
            seen.setdefault(where, set()).add(batch["frames"][number].numpy().tobytes())
    assert any(len(pictures) == 2 for pictures in seen.values())


def test_parts_that_do_not_go_together_are_named(folder: Path, tmp_path: Path) -> None:
    a = clips(folder / "a.zarr")
    with pytest.raises(StoreError, match=r"clips of 2 frames .* and of 3"):
        a + Clips(folder / "b.zarr", frames=3, variables=["frames"])
    with pytest.raises(StoreError, match="ask for the same variables"):
        a + Clips(folder / "b.zarr", frames=2, variables=["time"])
    with pytest.raises(StoreError, match="one positive weight for each of 2 parts"):
        (a + a).weighted(1)
    with pytest.raises(StoreError, match=r"join first, then call \.weighted"):
        (a + a).weighted(1, 2) + a
    with pytest.raises(StoreError, match=r"Clips\.of_stores"):
        Clips([folder / "a.zarr"], frames=2)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"ClipLoader takes no sampler: it draws its own order"):
        ClipLoader(a, 2, sampler=[0])


ACCELERATED = """
import json, sys
import accelerate, torch
from foveal.torch import ClipLoader, Clips

accelerator = accelerate.Accelerator(cpu=True)
clips = Clips(sys.argv[1], frames=2, variables=["frames"])
layer = torch.nn.Linear(1, 1)
optimiser = torch.optim.SGD(layer.parameters(), 1e-9)
loader = ClipLoader(clips, 3, seed=1, drop_last=True)
layer, optimiser, loader = accelerator.prepare(layer, optimiser, loader)
seen = []
for epoch in range(2):
    for _, batch in zip(range(len(loader)), loader):
        firsts = batch["frame"][:, 0].tolist()
        seen.append([epoch, [*zip(batch["video"], firsts)]])
        accelerator.backward(layer(batch["frames"].float().mean().view(1, 1)).mean())
        optimiser.step()
with open(f"{sys.argv[2]}/{accelerator.process_index}.json", "w") as file:
    json.dump(seen, file)
accelerator.end_training()
"""


@pytest.mark.slow
@pytest.mark.skipif(
    "FOVEAL_LONG" not in os.environ, reason="two processes of accelerate: FOVEAL_LONG=1"
)
def test_accelerate_shares_the_clips_of_each_epoch(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    script = tmp_path / "training.py"
    script.write_text(ACCELERATED)
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        subprocess.Popen(
            [sys.executable, script, folder / "b.zarr", tmp_path],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()
    seen: dict[int, list[tuple[str, int]]] = {0: [], 1: []}
    for rank in range(2):
        for epoch, batch in json.loads((tmp_path / f"{rank}.json").read_text()):
            seen[epoch] += map(tuple, batch)
    # 20 clips give each of 2 ranks 3 whole batches of 3.
    for epoch in seen.values():
        assert len(epoch) == len(set(epoch)) == 18
    assert seen[0] != seen[1]


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
