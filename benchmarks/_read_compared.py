"""`Clips` beside the peers of `_read_peers.py`: what they give is compared, then they are timed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _read_data import Arrays
from _read_folders import BATCH, WORKERS, channels_last
from _read_peers import KEYS, PEERS, Form, Source, why_missing
from _turns import Turns, speeds

from foveal.torch import ClipLoader, Clips

CLIP_FRAMES = (16, 79)
PEER_GOAL = 2.0
LARGEST_MEAN_DIFFERENCE = 6.0
"""Of 255, between what a lossy form gives and the store: another frame would differ by more."""


def check_peer(name: str, reader: Callable[[], Iterator[Any]], clips: Clips) -> None:
    """A peer gives every clip once, and in it what the store holds of it."""
    seen: list[int] = []
    for batch in reader():
        seen += batch["clip"].tolist()
        ours = clips[seen[-1]]
        for key in KEYS:
            theirs, found = batch[key][-1], channels_last(ours[key])
            if theirs.shape != found.shape:  # decoded JPEGs: channels first, one for maps
                theirs = theirs.movedim(1, -1) if key == "frames" else theirs[:, 0]
            apart = (theirs.float() - found.float()).abs().mean().item()
            if apart > (0 if "raw" in name else LARGEST_MEAN_DIFFERENCE):
                raise SystemExit(f"{key} of clip {seen[-1]} by {name}: {apart:.1f} of 255 apart")
    if sorted(seen) != list(range(len(clips))):
        raise SystemExit(f"{name} gave {len(seen)} clips, {len(set(seen))} of them different ones")


def compare_peers(
    work: Path,
    videos: Mapping[str, Path],
    arrays: Mapping[str, Arrays],
    turns: Turns,
    without: dict[str, str],
) -> list[dict[str, Any]]:
    results = []
    first = next(iter(videos.values()))
    for peer in PEERS:
        if why := why_missing(peer, first):
            without[peer] = why
            print(f"not measured: {why}", file=sys.stderr)
    stored = stored_bytes(work / "store", list(videos))
    per_frame = stored / sum(len(of["frames"]) for of in arrays.values())
    for frames in CLIP_FRAMES:
        clips = Clips(work / "store", "clips", frames=frames, variables=list(KEYS))
        places = [clips.where(number) for number in range(len(clips))]
        source = Source(work, videos, arrays, places, frames, BATCH)
        for workers in WORKERS:
            results += [
                one | {"goal": PEER_GOAL, "foveal_stored_bytes": per_frame}
                for one in compare_once(source, clips, workers, turns, without)
            ]
            print(f"clips of {frames} frames, {workers} workers: measured", file=sys.stderr)
            gc.collect()  # workers must be gone before the next ones are forked
    return results


def compare_once(
    source: Source, clips: Clips, workers: int, turns: Turns, without: dict[str, str]
) -> list[dict[str, Any]]:
    """All peers that are there, on clips of one length; one that fails is added to `without`."""
    forms: dict[str, Form] = {}
    for peer, make in PEERS.items():
        if peer in without:
            continue
        try:
            made = make(source, workers)
            for name, form in made.items():
                check_peer(name, form.reader, clips)
        except Exception as error:  # another version of a peer, say
            without[peer] = f"{peer} failed: {type(error).__name__}: {error}"
            print(f"not measured: {without[peer]}", file=sys.stderr)
        else:
            forms |= made
    ours = ClipLoader(clips, BATCH, num_workers=workers)
    readers = {"foveal": ours.__iter__, **{name: form.reader for name, form in forms.items()}}
    seconds = turns.seconds(readers)
    items = len(clips) * source.frames
    return [
        one | {"peer_stored_bytes": forms[one["peer"]].stored_bytes / items}
        for one in speeds(f"clips of {source.frames} frames with density", workers, seconds, items)
    ]


def stored_bytes(store: Path, videos: Sequence[str]) -> int:
    """Bytes of the arrays that are read, of all videos."""
    folders = [store / "videos" / video / key for video in videos for key in KEYS]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    return sum(path.stat().st_size for path in files)


def why_behind(one: Mapping[str, Any]) -> str:
    """Stored bytes of a peer, and where it is ahead, how far that holds.

    The pages are warm here, so that nobody waits for bytes. Whoever reads ahead takes the longer of
    the time to compute and the time in which the bytes come: from a disk or a network, or where the
    data are larger than memory, a peer with more bytes falls behind.
    """
    times = one["peer_stored_bytes"] / one["foveal_stored_bytes"]
    told = f"{times:.1f} times foveal's stored bytes"
    if one["ratio"] >= 1 or times <= 1:
        return told
    level = one["peer_stored_bytes"] * one["foveal_items_per_second"] / 1e9
    return f"{told}: level where these come at {level:.2g} GB/s, {times:.1f}x behind where slower"


def pivot(results: Sequence[Mapping[str, Any]]) -> str:
    """Ratios to all peers in Markdown, a row per peer: the table of docs/results.md."""
    ours = [one for one in results if "peer_stored_bytes" in one]
    columns = list(dict.fromkeys((one["read"], one["workers"]) for one in ours))
    heads = [f"{read.split()[2]} frames, {workers} workers" for read, workers in columns]
    lines = [
        f"| | KB per frame | {' | '.join(heads)} |",
        "|---|" + "---:|" * (len(heads) + 1),
    ]
    rates: dict[str, list[str]] = {"foveal, frames/s": []}
    for read, workers in columns:
        here = [one for one in ours if (one["read"], one["workers"]) == (read, workers)]
        rates["foveal, frames/s"].append(f"{here[0]['foveal_items_per_second']:,}")
        for one in here:
            rates.setdefault(one["peer"], []).append(f"{one['ratio']:.2f}x")
    stored = {one["peer"]: one["peer_stored_bytes"] for one in ours}
    stored["foveal, frames/s"] = ours[0]["foveal_stored_bytes"]
    for name, cells in rates.items():
        lines.append(f"| {name} | {stored[name] / 1e3:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)
