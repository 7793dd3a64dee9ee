"""Train GFSalNet's two streams on clips that a Dask cluster reads while the network computes.

Frames, flow and density come from `store.lazy(…, clips=…)`. Each batch is one task on some worker,
and the next few batches are requested before the present one is used. This is for stores that are
far away, or for reading on other machines. Where one machine reads the store as fast as it trains,
use `foveal train`, which reads in threads and needs no cluster.

    python examples/train_with_dask.py STORE [--split train] [--steps 20] [--workers 2]
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from foveal.models import saliency
from foveal.models.losses import saliency_loss
from foveal.pipeline.learn.inputs import Prepare, choose_flow, resized_maps, to_network
from foveal.storage.reader import Store, open_store

BATCHES_AHEAD = 3


def moments(store: Store, split: str | None, flow: str, seed: int) -> list[tuple[str, int]]:
    """List every frame of a split that has motion and density, in random order."""
    found = []
    for video in store.select(split):
        infos = store.infos(video)
        if flow in infos and "density" in infos:
            found += [(video, frame) for frame in range(infos[flow].items)]
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[number] for number in order]


def batches(
    client: Client, store: Store, arrays: Sequence[str], clips: list[tuple[str, int]], size: int
) -> Iterator[list[NDArray[np.generic]]]:
    """Yield batches [clip, 1, …] of several arrays, in step; the cluster reads a few ahead."""
    lazy = [store.lazy(array, clips=clips, batch=size).data for array in arrays]
    waiting: deque[list[object]] = deque()
    for number in range(lazy[0].numblocks[0]):
        waiting.append(client.compute([values.blocks[number] for values in lazy]))
        if len(waiting) > BATCHES_AHEAD:
            yield client.gather(waiting.popleft())
    while waiting:
        yield client.gather(waiting.popleft())


def train(
    client: Client,
    store: Store,
    *,
    split: str | None = "train",
    steps: int = 20,
    batch: int = 8,
    learning_rate: float = 1e-4,
    seed: int = 0,
    **options: object,
) -> list[float]:
    """Train for some steps, and return the loss of each. Options are those of GFSalNet."""
    torch.manual_seed(seed)
    network = saliency.build("gfsalnet", weights="random", **options).train()
    flow = choose_flow(store, None)
    prepare = Prepare(network.spec, flow)
    loss_of = saliency_loss("kl")
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    clips = moments(store, split, flow, seed)
    epochs = -(-steps * batch // len(clips))
    losses: list[float] = []
    for frames, motion, density in batches(
        client, store, ["frames", flow, "density"], (clips * epochs)[: steps * batch], batch
    ):
        sample = {
            "video": "",
            "frame": torch.zeros(len(frames)),
            "valid": torch.ones(len(frames), dtype=torch.bool),
            "frames": torch.from_numpy(frames[:, 0]).movedim(-1, -3),
            flow: torch.from_numpy(motion[:, 0]).movedim(-1, -3),
        }
        prepared = prepare(sample)
        inputs, _ = to_network(
            {kind: prepared[kind][:, None] for kind in ("frame", "flow_image")},
            network.spec,
            "cpu",
        )
        target = resized_maps(torch.from_numpy(density[:, 0]), network.spec.output_size)
        maps, _ = network(inputs)
        loss = loss_of(maps, target[:, None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--split", default="train")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--width", type=float, default=0.25, help="1 is the paper's network")
    arguments = parser.parse_args()
    with (
        LocalCluster(
            n_workers=arguments.workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        losses = train(
            client,
            open_store(arguments.store),
            split=arguments.split,
            steps=arguments.steps,
            batch=arguments.batch,
            input_size=tuple(arguments.size),
            width=arguments.width,
        )
    for step, loss in enumerate(losses):
        print(f"step {step + 1}: loss {loss:.4f}")


if __name__ == "__main__":
    main()
