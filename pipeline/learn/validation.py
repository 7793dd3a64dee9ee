"""This module computes the NSS of a network on held-out videos during training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from foveal.models.metrics import ScoreTable
from foveal.models.saliency import SaliencyNetwork, Spec
from foveal.pipeline.learn.held_out import Division
from foveal.pipeline.learn.inference import estimate_video
from foveal.pipeline.learn.inputs import flow_array
from foveal.pipeline.learn.processes import World
from foveal.storage.reader import Store


@dataclass(frozen=True)
class Validation:
    """Videos to validate on.

    Attributes
    ----------
    videos : tuple of (Store, str or None, str)
        Store, flow array and id of each video.
    """

    videos: tuple[tuple[Store, str | None, str], ...]

    @classmethod
    def of(cls, division: Division, spec: Spec, flow: str | None) -> Validation | None:
        """Return the validation on the videos of a division; None if it has none."""
        videos = [
            (store, flow_array(store, spec, flow), video)
            for store, chosen in division.validation
            for video in chosen
        ]
        return cls(tuple(videos)) if videos else None

    def nss(self, network: SaliencyNetwork, world: World, dtype: torch.dtype | None) -> float:
        """Return NSS on the output's grid, averaged over the frames of a video, then over videos.

        Frames without an estimate of their own are left out (Öztürk's LSTS). The processes share
        the videos.

        Returns
        -------
        float
            -inf if no frame can be scored: every map is constant, or there are no fixations.
        """
        scores = ScoreTable(("nss",))
        network.eval()
        for number, (store, flow, video) in enumerate(self.videos):
            if number % world.size != world.rank:
                continue
            for part in estimate_video(
                network, store, video, flow=flow, device=world.device, dtype=dtype, targets=True
            ):
                scores.update(f"{number}", part.maps, part.fixations)
        entries = scores.table()["videos"].values()
        means = [entry["metrics"]["nss"]["mean"] for entry in entries]
        known = [mean for part in world.gather(means) for mean in part if mean is not None]
        return math.fsum(known) / len(known) if known else -math.inf
