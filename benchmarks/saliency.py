"""Saliency networks at the papers' sizes: parameters, and seconds a frame of whole clips.

Parameters stand beside the authors'. Of time the peer is the way of the authors' released inference
script (Linardos/SalEMA): one call a frame, state handed on; the same weights and frames, medians of
calls that take turns.
Run: ``python benchmarks/saliency.py [--networks salema,gfsalnet] [--frames 4] [--device cpu]``
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _figures import faster, print_json
from torch import Tensor

from foveal.models import saliency

AUTHORS_PARAMETERS = {
    "tp_cmrnet": 4_900_000,  # stated in the paper
    "salbce": 31_787_009,  # counted in the authors' code, like the next two
    "salema": 31_787_009,
    "salclstm": 50_663_425,
}
"""None is known here of LSTS and GFSalNet, whose code is not public."""


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
    rows: list[dict[str, Any]] = []
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
        parameters = sum(parameter.numel() for parameter in network.parameters())
        authors = AUTHORS_PARAMETERS.get(name)
        rows.append(
            {
                "network": name,
                "parameters": parameters,
                "authors_parameters": authors,
                "parameters_ratio": None if authors is None else parameters / authors,
                "output_size": list(network.spec.output_size),
                "seconds_a_frame": clip,
                "peer": "one call a frame",
                "peer_seconds_a_frame": peer,
                "ratio": peer / clip,
            }
        )
    if arguments.json:
        told = [
            faster(
                f"{row['network']}, {arguments.frames} frames on {arguments.device}",
                row["seconds_a_frame"],
                row["peer"],
                row["peer_seconds_a_frame"],
                unit="s per frame",
                note=f"{row['parameters']:,} parameters",
            )
            for row in rows
        ]
        print_json(__file__, told, {"device": arguments.device, "rows": rows})
        return
    print("| | parameters | the authors' | ratio | output | s a frame | x one call a frame |")
    print("|---|" + "---:|" * 6)
    for row in rows:
        theirs, ratio = "not known", ""
        if row["authors_parameters"] is not None:
            theirs, ratio = f"{row['authors_parameters']:,}", f"{row['parameters_ratio']:.3f}"
        print(
            f"| {row['network']} | {row['parameters']:,} | {theirs} | {ratio} "
            f"| {'x'.join(map(str, row['output_size']))} | {row['seconds_a_frame']:.3f} "
            f"| {row['ratio']:.2f} |"
        )


if __name__ == "__main__":
    main()
