"""How long each benchmark takes, and its options for a quick look."""

from __future__ import annotations

from typing import NamedTuple


class Plan(NamedTuple):
    """Of one benchmark.

    Attributes
    ----------
    seconds, quick_seconds : float
        About how long it takes on two cores, for the time that is left.
    quick : str
        Options under which it runs in seconds: that it works is seen, not how fast it is.
    """

    seconds: float
    quick_seconds: float
    quick: str


PLANS = {
    "build": Plan(60, 25, "--repeats 1 --videos 10"),
    "challenge": Plan(60, 12, "--videos 1 --frames 4 --size 270x480"),
    "cluster": Plan(120, 45, "--repeats 1 --videos 8 --seconds 0.5"),
    "decode": Plan(45, 6, "--frames 150 --repeats 3"),
    "density": Plan(5, 4, "--repeats 11"),
    "flow_encodings": Plan(8, 6, "--frames 12"),
    "features": Plan(40, 15, "--clip-frames 8 --repeats 1"),
    "feeding": Plan(150, 40, "--networks lsts_rgb --steps 1"),
    "flow": Plan(300, 25, "--methods tvl1 dis raft_small --sizes 112x112 --pairs 4 --repeats 1"),
    "gpu": Plan(520, 5, "--quick"),
    "i3d": Plan(25, 12, "--strides 1 --repeats 1"),
    "layout": Plan(60, 20, "--windows 4 --frames 120"),
    "learn": Plan(900, 25, "--networks gfsalnet_spatial --train-clips 6 --steps 10"),
    "metrics": Plan(40, 8, "--frames 4"),
    "objects": Plan(60, 10, "--videos 2 --megabytes 200"),
    "read": Plan(300, 70, "--frames 100 --rounds 1 --windows 4 --seconds 0.1"),
    "saliency": Plan(90, 8, "--networks lsts_rgb,tp_cmrnet --frames 2 --rounds 1"),
    "scale": Plan(1200, 30, "--clips 60 --bare 20"),
    "simulation": Plan(60, 30, "--videos 2000"),
    "sources": Plan(60, 8, "--shots 100 --repeats 1"),
    "tvl1": Plan(45, 20, "--sizes 112x112 --pairs 4 --repeats 1"),
    "view": Plan(60, 15, "--videos 20 --minutes 0.5 --jumps 5"),
}

UNKNOWN = Plan(60, 20, "")
"""Of a benchmark that is not in the table."""
