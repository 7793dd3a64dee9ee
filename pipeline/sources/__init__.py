"""Dataset adapters: one file a dataset, all yielding the same `Video` and `Fixations`."""

from __future__ import annotations

from foveal.pipeline.sections import FixationsSection
from foveal.pipeline.sources.base import Source
from foveal.pipeline.sources.dhf1k import DHF1K, DHF1KConfig
from foveal.pipeline.sources.videos import Videos, VideosConfig

DatasetConfig = DHF1KConfig | VideosConfig
"""Any dataset section; ``kind`` tells them apart."""


def open_source(dataset: DatasetConfig, fixations: FixationsSection | None) -> Source:
    """The source of a dataset section.

    Raises
    ------
    RecipeError
        Where the root is not there or the settings do not fit what lies in it.
    """
    match dataset:
        case DHF1KConfig():
            return DHF1K(dataset, fixations)
        case VideosConfig():
            return Videos(dataset, fixations)


__all__ = ["DatasetConfig", "Source", "open_source"]
