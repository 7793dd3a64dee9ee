"""The training example of the docs runs, and its network learns to see what people look at."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import small_stores
import torch

EXAMPLE = Path(__file__).parents[1] / "examples" / "two_stream.py"


def blob(k: int) -> np.ndarray:
    """A round spot that wanders over 24x32."""
    y, x = np.mgrid[:24, :32]
    distance = (x - (3 * k) % 32) ** 2 + (y - (5 * k) % 24) ** 2
    return (255 * np.exp(-distance / 18)).astype(np.uint8)


def test_forty_lines_of_ones_own_learn_from_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("two_stream", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    # People look at the spot.
    monkeypatch.setattr(small_stores, "HEIGHT", 24)
    monkeypatch.setattr(small_stores, "WIDTH", 32)
    monkeypatch.setattr(small_stores, "frame", lambda _, k: np.stack([blob(k)] * 3, axis=-1))
    monkeypatch.setattr(small_stores, "density", blob)
    stages = ("time", "frames", "flow_tvl1", "density")
    small_stores.write_small_store(tmp_path, {"a": {"frames": 40, "stages": stages}})
    torch.manual_seed(0)
    losses = example.train(str(tmp_path), epochs=8)
    assert losses[-1] < 0.7 * losses[0]
