"""Small synthetic datasets in every published form, format quirks included.

Each writer takes an empty folder and gives a `Miniature`: the recipe's dataset section, and what a
source must find. Frame n of a video (n as the dataset counts) is a flat grey picture of level
`grey(n)`, and so is the upper left pixel of its density map: whatever is aligned wrongly shows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from miniatures import dhf1k, diem, hollywood2, ledov, salicon, ucf_sports, videos
from miniatures.base import Expected, Miniature, grey

WRITERS: dict[str, Callable[[Path], Miniature]] = {
    "dhf1k-raw": dhf1k.write_raw,
    "dhf1k-import": dhf1k.write_import,
    "dhf1k-frames": dhf1k.write_frames,
    "hollywood2-frames": hollywood2.write_frames,
    "hollywood2-raw": hollywood2.write_raw,
    "ucf-frames": ucf_sports.write_frames,
    "ucf-raw": ucf_sports.write_raw,
    "diem-raw": diem.write_raw,
    "diem-frames": diem.write_frames,
    "ledov-v5": ledov.write_v5,
    "ledov-v7.3": ledov.write_v73,
    "salicon-mat": salicon.write_mat,
    "salicon-json": salicon.write_json,
    "videos-csv": videos.write_csv,
    "videos-parquet": videos.write_parquet,
    "videos-frames": videos.write_frames,
}

__all__ = ["WRITERS", "Expected", "Miniature", "grey"]
