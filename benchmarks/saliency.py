"""Saliency networks at the papers' sizes: parameters, and seconds a frame of whole clips.

The peer is the way of the authors' released inference script (Linardos/SalEMA): one call a frame,
state handed on; the same weights and frames, medians of calls that take turns.
Run: ``python benchmarks/saliency.py [--networks salema,gfsalnet] [--frames 4] [--device cpu]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from foveal.models import saliency


def whole_clip(network: saliency.SaliencyNetwork, inputs: dict[str, Tensor]) -> Tensor:
    maps: Tensor = network(inputs)[0]
    return maps


def frame_by_frame(network: saliency.SaliencyNetwork, inputs: dict[str, Tensor]) -> Tensor:
    state, maps = None, []
    for frame in range(next(iter(inputs.values())).shape[1]):
        part = {kind: values[:, frame : frame + 1] for kind, values in inputs.items()}
        saliency_map, state = network(part, state)
        maps.append(saliency_map)
    return torch.cat(maps, dim=1)


def seconds(
    call: Callable[[saliency.SaliencyNetwork, dict[str, Tensor]], Tensor],
    network: saliency.SaliencyNetwork,
    inputs: dict[str, Tensor],
) -> float:
    start = time.perf_counter()
    call(network, inputs).sum().item()  # waits for the device
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(saliency.names()))
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.networks.split(","):
        torch.manual_seed(0)
        with torch.device(arguments.device):
            network = saliency.build(name, weights="random").eval()
            inputs = {
                wanted.kind: torch.randn(1, arguments.frames, *wanted.shape)
                for wanted in network.spec.inputs
            }
        times: dict[str, list[float]] = {"clip": [], "peer": []}
        with torch.inference_mode():
            whole_clip(network, inputs)
            frame_by_frame(network, inputs)
            for _ in range(arguments.rounds):
                times["clip"].append(seconds(whole_clip, network, inputs))
                times["peer"].append(seconds(frame_by_frame, network, inputs))
        clip, peer = (statistics.median(values) / arguments.frames for values in times.values())
        rows.append(
            {
                "network": name,
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                "output_size": list(network.spec.output_size),
                "seconds_a_frame": clip,
                "peer": "one call a frame",
                "peer_seconds_a_frame": peer,
                "ratio": peer / clip,
            }
        )
    if arguments.json:
        print(json.dumps({"device": arguments.device, "rows": rows}))
        return
    for row in rows:
        print(
            f"{row['network']:<18}{row['parameters']:>12,} parameters  "
            f"{row['seconds_a_frame']:8.4f} s a frame  {row['ratio']:5.2f}x one call a frame"
        )


if __name__ == "__main__":
    main()
