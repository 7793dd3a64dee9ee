"""One contract for all sources: every miniature in every published form must pass it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from miniatures import WRITERS, Expected, Miniature, grey

from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import Source, open_source
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Fixations, Video

LOSSY_LEVELS = 3
"""Grey levels by which a codec may miss; neighbouring frames are 7 apart."""


@pytest.fixture(scope="module", params=WRITERS, ids=str)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Miniature]:
    root = tmp_path_factory.mktemp("data set ü") / request.param
    root.mkdir()
    return root, WRITERS[request.param](root)


def opened(root: Path, miniature: Miniature, **fixations: object) -> Source:
    recipe = Recipe.parse({
        "dataset": {**miniature.dataset, "root": str(root)},
        "fixations": fixations,
        "store": "unused",
    })  # fmt: skip
    again = Recipe.parse(json.loads(json.dumps(recipe.resolved())))
    assert again == recipe
    assert recipe.fixations is not None
    return open_source(recipe.dataset, recipe.fixations)


@pytest.fixture
def source(written: tuple[Path, Miniature]) -> Source:
    return opened(*written)


@pytest.fixture
def pairs(source: Source, written: tuple[Path, Miniature]) -> list[tuple[Video, Expected]]:
    return list(zip(source.videos(), written[1].videos.values(), strict=True))


def clipped(source: Source, video: Video, expected: Expected) -> Fixations:
    return source.fixations(video, *expected.size).clipped(len(expected.numbers))


def listed(fixations: Fixations) -> list[tuple[int, float, float, str]]:
    rows = zip(fixations.frame, fixations.x, fixations.y, fixations.subject, strict=True)
    return [(int(f), float(x), float(y), fixations.subjects[s]) for f, x, y, s in rows]


def test_videos_are_listed_in_order_with_their_splits(
    source: Source, written: tuple[Path, Miniature]
) -> None:
    found = [(video.id, video.split) for video in source.videos()]
    assert found == [(name, one.split) for name, one in written[1].videos.items()]
    assert source.videos() == source.videos(), "a second listing is the same"


def test_decoded_frames_are_those_of_the_dataset_in_its_order(
    pairs: list[tuple[Video, Expected]],
) -> None:
    for video, expected in pairs:
        info = probe(video)
        assert (info.height_px, info.width_px) == expected.size
        frames = np.concatenate([batch.frames for batch in decode(video, info)])
        levels = frames.mean(axis=(1, 2, 3))
        wanted = [grey(number) for number in expected.numbers]
        assert len(levels) == len(wanted)
        np.testing.assert_allclose(levels, wanted, atol=LOSSY_LEVELS)


def test_published_maps_belong_to_the_decoded_frames(
    source: Source, pairs: list[tuple[Video, Expected]]
) -> None:
    for video, expected in pairs:
        maps = source.published_maps(video)
        assert (maps is not None) == expected.maps
        if maps is not None:
            assert len(maps) >= len(expected.numbers)
            for frame, number in enumerate(expected.numbers):
                density = maps.density(frame)
                assert density.shape == expected.size
                assert density.dtype == getattr(maps, "dtype", np.uint8)
                assert density[0, 0] in (grey(number), 0), f"frame {frame} has another's map"
            black = sum(maps.density(k)[0, 0] == 0 for k in range(len(expected.numbers)))
            assert black < len(expected.numbers)


def test_every_point_lies_at_its_frame_and_pixel(
    source: Source, pairs: list[tuple[Video, Expected]]
) -> None:
    for video, expected in pairs:
        assert video.has_ground_truth == (expected.points is not None)
        if expected.points is not None:
            fixations = clipped(source, video, expected)
            assert sorted(listed(fixations)) == sorted(expected.points)


def test_what_is_left_out_is_counted_by_reason_and_nothing_is_lost(
    source: Source, pairs: list[tuple[Video, Expected]]
) -> None:
    for video, expected in pairs:
        if expected.points is None:
            continue
        before = source.fixations(video, *expected.size)
        after = before.clipped(len(expected.numbers))
        for one in (before, after, before.clipped(1)):
            attributes = one.attributes
            counted = attributes["samples_used"] + sum(one.excluded.values())
            assert attributes["samples_read"] == counted
            json.dumps(dict(attributes))
        assert {why: count for why, count in after.excluded.items() if count} == expected.excluded


def test_one_observer_can_be_selected(written: tuple[Path, Miniature]) -> None:
    root, miniature = written
    if miniature.subject is None:
        pytest.skip("this form does not say who looked where")
    source = opened(root, miniature, subjects=[miniature.subject])
    for video, expected in zip(source.videos(), miniature.videos.values(), strict=True):
        own = [point for point in expected.points or [] if point[3] == miniature.subject]
        if own:
            fixations = clipped(source, video, expected)
            assert fixations.subjects == (miniature.subject,)
            assert sorted(listed(fixations)) == sorted(own)


def test_annotation_files_are_there_and_below_the_root(
    pairs: list[tuple[Video, Expected]], written: tuple[Path, Miniature]
) -> None:
    for video, expected in pairs:
        assert bool(video.annotation_paths) == (expected.points is not None)
        for path in (*video.annotation_paths, video.path):
            assert path.exists()
            assert path.resolve().is_relative_to(written[0].resolve())
        assert len(video.notes) >= expected.notes


def test_a_fresh_source_reads_a_video_without_listing_first(
    source: Source, pairs: list[tuple[Video, Expected]], written: tuple[Path, Miniature]
) -> None:
    video, expected = pairs[0]
    fresh = opened(*written).fixations(video, *expected.size)
    assert listed(fresh) == listed(source.fixations(video, *expected.size))


def test_parameters_are_plain_values_that_change_with_the_settings(
    source: Source, written: tuple[Path, Miniature]
) -> None:
    parameters = source.parameters()
    assert parameters["kind"] == written[1].dataset["kind"]
    assert json.loads(json.dumps(parameters))
    if written[1].subject is not None:
        assert opened(*written, subjects=[written[1].subject]).parameters() != parameters
