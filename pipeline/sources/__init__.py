"""Dataset adapters: one file a dataset, all yielding the same `Video` and `Fixations`."""

from __future__ import annotations

from foveal.pipeline.recipe.section import FixationsSection
from foveal.pipeline.sources.base import Source
from foveal.pipeline.sources.dhf1k import DHF1KConfig, open_dhf1k
from foveal.pipeline.sources.diem import DIEMConfig, open_diem
from foveal.pipeline.sources.hollywood2 import Hollywood2Config, open_hollywood2
from foveal.pipeline.sources.ledov import LEDOV, LEDOVConfig
from foveal.pipeline.sources.salicon import SALICON, SALICONConfig
from foveal.pipeline.sources.ucf_sports import UCFSportsConfig, open_ucf_sports
from foveal.pipeline.sources.videos import VideosConfig, open_videos

DatasetConfig = (
    DHF1KConfig
    | Hollywood2Config
    | UCFSportsConfig
    | DIEMConfig
    | LEDOVConfig
    | SALICONConfig
    | VideosConfig
)
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
            return open_dhf1k(dataset, fixations)
        case Hollywood2Config():
            return open_hollywood2(dataset, fixations)
        case UCFSportsConfig():
            return open_ucf_sports(dataset, fixations)
        case DIEMConfig():
            return open_diem(dataset, fixations)
        case LEDOVConfig():
            return LEDOV(dataset, fixations)
        case SALICONConfig():
            return SALICON(dataset, fixations)
        case VideosConfig():
            return open_videos(dataset, fixations)


__all__ = ["DatasetConfig", "Source", "open_source"]
