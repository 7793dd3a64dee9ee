"""Reads clips in a child process; imports little, since a spawned child imports this module."""

import itertools
import pickle

import numpy as np
import torch

from foveal.torch.clips import Clips
from foveal.torch.loader import ClipLoader


def read_in_child(clips, queue):
    queue.put(pickle.dumps({key: np.asarray(value) for key, value in clips[3].items()}))


def rank_of_two(rank, url, rendezvous, queue):
    clips = Clips(url, "train", frames=4, stride=3, variables=["frames"])
    loader = ClipLoader(clips, 8)
    alone = len(loader)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    queue.put((alone, len(loader), flat(loader)))
    torch.distributed.destroy_process_group()


def keys(batches):
    """(video, first frame) of every clip, batch by batch."""
    return [
        list(zip(batch["video"], batch["frame"][:, 0].tolist(), strict=True)) for batch in batches
    ]


def flat(batches):
    return list(itertools.chain.from_iterable(keys(batches)))
