"""A disk that refuses under a flow: the run fails by one line that says what to do."""

from __future__ import annotations

import errno
from pathlib import Path

import fsspec
import pytest
from builds import recipe_values
from faults.disks import Failing, refuse

from foveal.errors import StoreUnreachable
from foveal.flows.build import build_store


def test_a_full_disk_under_the_index_fails_the_run_by_one_line(
    raw: Path, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("failing", Failing, clobber=True)
    monkeypatch.setattr(Failing, "store", {})
    monkeypatch.setattr(Failing, "fails", refuse("write", "index.parquet", errno.ENOSPC))
    state = build_store(recipe_values(raw, "failing://flow", flow=[]), return_state=True)
    assert state.is_failed()
    error = state.result(raise_on_failure=False)
    assert isinstance(error, StoreUnreachable)
    assert "the disk is full: make room" in str(error)
    assert str(error) in str(state.message)
    assert "\n" not in str(error)
