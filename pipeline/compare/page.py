"""This module writes all figures of a comparison on one self-contained page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from foveal.models.metrics import Metric
from foveal.pipeline.compare.figures import title_of
from foveal.pipeline.report.report import templates
from foveal.storage.reader import Store

_TITLES = {
    "sheet": (
        "Frame, ground truth, models",
        "Each map is drawn over the dimmed frame, from its minimum to its maximum (ground truth: "
        "from 0).",
    ),
    "difference": (
        "Difference by video",
        "Means over the frames of a video; below, the moment of the largest difference in the "
        "videos at both ends.",
    ),
}


def page(
    store: Store,
    folder: Path,
    figures: Mapping[str, Figure],
    means: Mapping[str, Mapping[str, float]],
    models: Sequence[str],
    metric: Metric,
    not_scored: Mapping[str, str],
) -> str:
    """Return the page as HTML, with the pictures in `folder` embedded."""
    shown = []
    for name in figures:
        content = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        title, about = _TITLES.get(name, ("", ""))
        shown.append(
            {
                "name": name,
                "title": title or f"Over time: {name.removeprefix('time_')}",
                "about": about or "Moments at the peaks are lettered and drawn below.",
                "uri": f"data:image/png;base64,{content}",
            }
        )
    table = []
    for model in models:
        known = [of[model] for of in means.values() if model in of]
        mean = math.fsum(known) / len(known) if known else None
        table.append({"name": title_of(model), "mean": mean, "videos": len(known)})
    return (
        templates()
        .get_template("compare.html")
        .render(
            store=store,
            figures=shown,
            table_rows=table,
            metric=metric,
            not_scored=dict(not_scored),
        )
    )
