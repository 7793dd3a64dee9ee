import copy
import gc
import itertools
import json
import multiprocessing
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.damages import LONG
from hypothesis import given
from hypothesis import strategies as st
from read_in_child import flat, keys, rank_of_two
from small_stores import SHARD, frame, write_small_store

from foveal.errors import ChecksumError, StoreError
from foveal.storage import slices
from foveal.storage.slices import Gatherer
from foveal.torch import ClipLoader, Clips
from foveal.torch.order import epoch_order

MODES = ["clips", "shards", "none"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader") / "small.zarr"
    lengths = {"001": 200, "002": 9, "003": 70}
    write_small_store(
        folder, {video: {"frames": n, "stages": ("time", "frames")} for video, n in lengths.items()}
    )
    return Clips(folder, "train", frames=4, stride=3, variables=["frames"])


def everything(clips):
    return sorted(clips.where(n) for n in range(len(clips)))


@pytest.mark.parametrize("shuffle", MODES)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_has_every_clip_once_with_its_own_pixels(clips, shuffle, workers):
    loader = ClipLoader(clips, 7, shuffle=shuffle, num_workers=workers)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert sorted(flat(batches)) == everything(clips)
    number = {"001": 0, "002": 1, "003": 2}
    for batch in batches:
        for video, first, pixels in zip(
            batch["video"], batch["frame"][:, 0].tolist(), batch["frames"], strict=True
        ):
            expected = torch.from_numpy(frame(number[video], first + 3)).movedim(-1, 0)
            assert torch.equal(pixels[3], expected)


def test_unshuffled_clips_come_in_order(clips):
    assert flat(ClipLoader(clips, 7, shuffle="none")) == everything(clips)


@pytest.mark.parametrize("shuffle", ["clips", "shards"])
def test_seed_and_epoch_alone_determine_the_order(clips, shuffle):
    first = ClipLoader(clips, 7, shuffle=shuffle, seed=5)
    again = ClipLoader(clips, 7, shuffle=shuffle, seed=5)
    other = ClipLoader(clips, 7, shuffle=shuffle, seed=6)
    one, two = keys(first), keys(first)
    assert first.epoch == 1
    assert one != two
    assert one == keys(again)
    assert one != keys(other)
    again.set_epoch(1)
    assert keys(again) == two


def test_workers_do_not_change_the_order_of_shuffled_clips(clips):
    assert keys(ClipLoader(clips, 7, seed=2)) == keys(ClipLoader(clips, 7, seed=2, num_workers=2))


@pytest.mark.parametrize("shuffle", MODES)
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_clips_without_overlap_or_loss(clips, shuffle, world_size):
    parts = [
        flat(ClipLoader(clips, 4, shuffle=shuffle, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert sorted(itertools.chain(*parts)) == everything(clips)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shuffle", MODES)
def test_drop_last_gives_every_rank_the_same_number_of_whole_batches(clips, shuffle):
    world_size, size = 3, 8
    parts = [
        keys(
            ClipLoader(
                clips, size, shuffle=shuffle, rank=rank, world_size=world_size, drop_last=True
            )
        )
        for rank in range(world_size)
    ]
    assert {len(part) for part in parts} == {len(clips) // world_size // size}
    assert all(len(batch) == size for part in parts for batch in part)
    drawn = list(itertools.chain(*itertools.chain(*parts)))
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("shuffle", MODES)
@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_very_next_batch_and_every_one_after(clips, shuffle, workers):
    options = {"shuffle": shuffle, "seed": 3, "num_workers": workers}
    whole = ClipLoader(clips, 6, **options)
    expected = keys(whole) + keys(whole)
    interrupted = ClipLoader(clips, 6, **options)
    seen, state = [], None
    for _ in range(2):
        for batch in interrupted:
            seen += keys([batch])
            state = json.loads(json.dumps(interrupted.state_dict()))
            if len(seen) == len(whole) + 4:
                break
    resumed = ClipLoader(clips, 6, **options)
    resumed.load_state_dict(state)
    assert resumed.epoch == 1
    assert seen + keys(resumed) == expected


def test_a_state_from_the_end_of_an_epoch_leads_into_the_next(clips):
    loader = ClipLoader(clips, 50, seed=1)
    for _ in loader:
        state = loader.state_dict()
    resumed = ClipLoader(clips, 50, seed=1)
    resumed.load_state_dict(state)
    assert keys(resumed) == keys(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_breaking_off_and_starting_again_begins_the_next_epoch(clips, workers):
    loader = ClipLoader(clips, 6, seed=3, num_workers=workers)
    first = [keys([next(iter(loader))]) for _ in range(3)]
    assert loader.epoch == 2
    for epoch, batch in enumerate(first):
        loader.set_epoch(epoch)
        assert keys(loader)[:1] == batch
    assert len({str(batch) for batch in first}) == 3


@pytest.mark.parametrize("shuffle", MODES)
def test_whoever_stops_at_the_length_gets_whole_epochs(clips, shuffle):
    loader = ClipLoader(clips, 11, shuffle=shuffle)
    epochs = [[batch for _, batch in zip(range(len(loader)), loader)] for _ in range(4)]  # noqa: B905
    assert [sorted(flat(epoch)) for epoch in epochs] == [everything(clips)] * 4


def test_two_passes_side_by_side_do_not_meet(clips):
    loader = ClipLoader(clips, 11, seed=8)
    expected = [keys(loader), keys(loader)]
    loader.set_epoch(0)
    first, second = iter(loader), iter(loader)
    next(first), next(second)
    assert keys(first) == expected[0][1:]
    assert loader.state_dict()["batches"] == 1
    assert keys(second) == expected[1][1:]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 4}, "seed was 3, is 4"),
        ({"batch_size": 5}, "batch_size was 6, is 5"),
        ({"shuffle": "none"}, "shuffle was 'clips', is 'none'"),
        ({"rank": 1, "world_size": 2}, "world_size was 1, is 2"),
    ],
)
def test_a_state_of_another_order_is_refused(clips, changed, named):
    state = ClipLoader(clips, 6, seed=3).state_dict()
    with pytest.raises(StoreError, match=named):
        ClipLoader(clips, **{"batch_size": 6, "seed": 3} | changed).load_state_dict(state)


def test_a_state_of_other_clips_is_refused(clips, tmp_path):
    write_small_store(tmp_path, {"001": {"frames": 20}})
    others = Clips(tmp_path, frames=4, stride=3, variables=["frames"])
    with pytest.raises(StoreError, match="clips was"):
        ClipLoader(others, 6).load_state_dict(ClipLoader(clips, 6).state_dict())


def noisy(sample):
    return {"video": sample["video"], "frame": sample["frame"], "noise": torch.rand(4)}


def test_random_transforms_depend_on_seed_epoch_and_clip_alone(clips):
    noisy_clips = Clips(
        clips.location.url, frames=4, stride=3, variables=["frames"], transform=noisy
    )

    def noise(loader):
        return {
            key: tuple(values.tolist())
            for batch in loader
            for key, values in zip(keys([batch])[0], batch["noise"], strict=True)
        }

    state = torch.get_rng_state()
    alone = noise(ClipLoader(noisy_clips, 5, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(alone.values())) == len(clips)
    assert noise(ClipLoader(noisy_clips, 8, seed=1, num_workers=2)) == alone
    later = ClipLoader(noisy_clips, 5, seed=1)
    later.set_epoch(1)
    assert not set(noise(later).values()) & set(alone.values())


@given(
    shards=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    mix=st.integers(1, 5),
    seed=st.integers(0, 3),
)
def test_shard_shuffling_stays_within_a_mix_of_shards(shards, mix, seed):
    groups = np.repeat(np.arange(len(shards)), shards)
    order = epoch_order(groups, "shards", seed, 0, mix)
    assert sorted(order.tolist()) == list(range(len(groups)))
    position = 0
    remaining = set(range(len(shards)))
    while remaining:
        # The next `mix` shards are read to their ends before any other is touched.
        ahead = []
        for group in groups[order[position:]]:
            if group not in ahead:
                if len(ahead) == mix:
                    break
                ahead.append(group)
        sizes = sum(shards[group] for group in ahead)
        assert set(groups[order[position : position + sizes]]) == set(ahead)
        position += sizes
        remaining -= set(ahead)


TRAINING = """
import json, os, sys
import lightning
import torch
from foveal.torch import ClipLoader, Clips

class Network(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, number):
        clips = [*zip(batch["video"], batch["frame"][:, 0].tolist())]
        self.seen.append([self.current_epoch, clips])
        return self.layer(batch["frames"].float().mean().view(1, 1)).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-9)

    def on_train_end(self):
        with open(f"{sys.argv[2]}/{self.global_rank}.json", "w") as file:
            json.dump([self.global_step, self.seen], file)

clips = Clips(sys.argv[1], "train", frames=4, stride=3, variables=["frames"])
loader = ClipLoader(clips, 8, seed=1, drop_last=True)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
devices = int(sys.argv[3])
strategy = "ddp" if devices > 1 else "auto"
lightning.Trainer(
    accelerator="cpu", devices=devices, strategy=strategy, max_epochs=2, **quiet
).fit(Network(), loader)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, *([1] if LONG else [])])
def test_lightning_makes_every_step_and_shares_the_clips_of_each_epoch(clips, tmp_path, ranks):
    pytest.importorskip("lightning")
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    arguments = [sys.executable, script, clips.location.url, tmp_path, str(ranks)]
    subprocess.run(arguments, check=True, capture_output=True, timeout=240)
    drawn = {0: [], 1: []}
    for rank in range(ranks):
        steps, seen = json.loads((tmp_path / f"{rank}.json").read_text())
        assert steps == len(seen) == 2 * (len(clips) // ranks // 8)
        for epoch, read in seen:
            drawn[epoch] += map(tuple, read)
    for epoch in drawn.values():
        assert len(epoch) == len(set(epoch)) == len(clips) // ranks // 8 * 8 * ranks
    assert drawn[0] != drawn[1]


def test_ranks_are_those_of_the_moment_an_epoch_begins(clips, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (clips.location.url, tmp_path / "rendezvous", queue)
    ranks = [context.Process(target=rank_of_two, args=(rank, *arguments)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = [queue.get(timeout=120) for _ in ranks]
    for process in ranks:
        process.join()
    whole = -(-len(clips) // 8)
    assert [(alone, shared) for alone, shared, _ in found] == [(whole, -(-whole // 2))] * 2
    assert sorted(found[0][2] + found[1][2]) == everything(clips)


def test_batches_that_ddp_would_wait_for_are_warned_of(clips):
    one_too_many = {"rank": 0, "world_size": 2}
    size = len(clips) // 2
    assert len(clips) % 2
    with pytest.warns(UserWarning, match="DDP waits forever; drop_last=True"):
        list(ClipLoader(clips, size, **one_too_many))


def test_shard_shuffling_reads_each_shard_once_with_little_memory(clips, monkeypatch):
    tiling = Clips(clips.location.url, frames=4, variables=["frames"])
    read, shards = Gatherer._read, []

    def counting(self, slices):
        shards.extend(wanted for wanted in slices if wanted.array == "frames")
        return read(self, slices)

    monkeypatch.setattr(Gatherer, "_read", counting)
    shard_bytes = SHARD * frame(0, 0).nbytes
    groups = len(set(tiling.shard_groups().tolist()))
    assert groups == 4
    # Room for one group of 128 frames and the timelines, of 35 shards in all.
    list(ClipLoader(tiling, 5, shuffle="shards", mix=1, cache_bytes=20 * shard_bytes))
    assert len(shards) == len(set(shards)) == 25 + 1 + 9


@pytest.mark.parametrize("shuffle", MODES)
def test_threads_and_processes_read_the_same(clips, shuffle):
    options = {"shuffle": shuffle, "seed": 4, "num_workers": 2}
    threads = ClipLoader(clips, 9, worker_kind="threads", **options)
    processes = ClipLoader(clips, 9, worker_kind="processes", **options)
    for one, other in zip(threads, processes, strict=True):
        assert keys([one]) == keys([other])
        assert torch.equal(one["frames"], other["frames"])


def test_threads_end_with_the_pass_and_with_a_reader_that_stops_early(clips):
    def readers():
        return [each for each in threading.enumerate() if each.name.startswith("clips-")]

    loader = ClipLoader(clips, 2, num_workers=2)
    batches = iter(loader)
    next(batches)
    assert readers()
    batches.close()
    assert not readers()
    list(loader)
    assert not readers()


def test_spawned_workers_read_the_same(clips):
    forked = ClipLoader(clips, 20, seed=9, num_workers=1, start_method="fork")
    spawned = ClipLoader(clips, 20, seed=9, num_workers=1, start_method="spawn")
    for one, other in zip(forked, spawned, strict=True):
        assert keys([one]) == keys([other])
        assert torch.equal(one["frames"], other["frames"])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_what_goes_wrong_in_a_worker_is_named(tmp_path, kind):
    write_small_store(tmp_path, {"001": {}})
    (tmp_path / "videos/001/frames/c/1/0/0/0").unlink()
    clips = Clips(tmp_path, frames=4, variables=["frames"])
    with pytest.raises(ChecksumError, match=r"videos/001/frames/c/1/0/0/0 is missing"):
        list(ClipLoader(clips, 2, num_workers=1, worker_kind=kind))


def test_misuse_is_answered(clips):
    with pytest.raises(StoreError, match="shuffle is one of clips, shards, none, not True"):
        ClipLoader(clips, 2, shuffle=True)
    with pytest.raises(StoreError, match="rank 2 is not in a world of 2"):
        ClipLoader(clips, 2, rank=2, world_size=2)
    with pytest.raises(StoreError, match="batch_size, mix and prefetch_factor are at least 1"):
        ClipLoader(clips, 0)
    with pytest.raises(StoreError, match="worker_kind is threads or processes, not 'fibres'"):
        ClipLoader(clips, 2, worker_kind="fibres")
    with pytest.raises(StoreError, match="threads take no start_method and no transform"):
        ClipLoader(clips, 2, num_workers=1, worker_kind="threads", start_method="spawn")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_all_readers_together_keep_few_files_open(clips, monkeypatch, workers):
    def open_files():
        found = 0
        for path in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # a thread closed it meanwhile
                found += path.readlink().is_relative_to(clips.location.local)
        return found

    gc.collect()  # readers of other tests
    others = len(slices._LIVING)
    monkeypatch.setattr(slices, "_SHARDS_OPEN", 5 * (others + workers + 1))
    own = copy.deepcopy(clips)
    before = open_files()
    loader = ClipLoader(own, 20, num_workers=workers)
    seen = [open_files() - before for _ in range(2) for _ in loader]
    # Each reader may hold its share, and one more while it reads.
    assert 2 <= max(seen) <= 6 * (workers + 1)
    del own, loader
    gc.collect()
    assert open_files() == before
