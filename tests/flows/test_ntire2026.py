"""docs/ntire2026.md, run as written: a miniature of the archives becomes a verified submission."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from miniatures import mouse_saliency as miniature
from typer.testing import CliRunner

from foveal.cli import app
from foveal.models.metrics.challenge import METRICS
from foveal.pipeline.sources.readers.grey_videos import VideoMaps
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
from foveal.storage.evaluation import read_evaluation
from foveal.storage.location import Location
from foveal.storage.reader import open_store

PAGE = Path(__file__).parents[2] / "docs" / "ntire2026.md"


def five_commands() -> list[list[str]]:
    section = PAGE.read_text(encoding="utf-8").split("## Five commands")[1]
    block = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block is not None
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def test_five_commands_lead_from_the_archives_to_a_verified_submission(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature.write_ntire2026(tmp_path / "NTIRE26")
    monkeypatch.chdir(tmp_path)
    commands = five_commands()
    assert [words[0] for words in commands] == ["init", "build", "baseline", "evaluate", "export"]
    for words in commands:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.output, done.exception)

    recipe = yaml.safe_load(Path("ntire26.yaml").read_text())
    assert recipe["dataset"]["edition"] == "ntire2026"
    store = open_store("ntire26.zarr")
    assert set(store.select()) == {*miniature.TRAIN, miniature.PUBLIC, miniature.PRIVATE}
    scores = read_evaluation(Location("ntire26.zarr"))
    assert scores is not None
    assert scores["variant"] == "ntire2026"
    dataset = scores["contestants"]["saliency_centre"]["dataset"]
    assert {name: entry["videos"] for name, entry in dataset.items()} == dict.fromkeys(METRICS, 1)

    written = sorted(path.name for path in Path("submission").iterdir())
    assert written == sorted(f"{name}.mp4" for name in (miniature.PUBLIC, miniature.PRIVATE))
    for name, size in ((miniature.PUBLIC, (120, 160)), (miniature.PRIVATE, (160, 90))):
        path = Path("submission") / f"{name}.mp4"
        info = probe(Video(name, None, path))
        assert (info.frames, info.fps, info.size) == (miniature.FRAMES, miniature.FPS, size)
        maps = VideoMaps(path)
        stored = store.array(name, "saliency_centre")[:].astype(float)
        for frame in (0, miniature.FRAMES - 1):
            assert np.corrcoef(maps.density(frame).ravel(), stored[frame].ravel())[0, 1] > 0.999

    Path("submission", f"{miniature.PUBLIC}.mp4").unlink()
    Path("submission", "stray.mp4").write_bytes(b"not of this submission")
    again = CliRunner().invoke(app, commands[-1])
    assert again.exit_code == 3
    assert "stray" in again.output
    assert Path("submission", f"{miniature.PUBLIC}.mp4").exists()
