"""What is installed lies within the bounds that a plain ``pip install foveal`` would keep."""

from __future__ import annotations

from importlib import metadata

import pytest
from packaging.requirements import Requirement

REQUIREMENTS = [Requirement(text) for text in metadata.requires("foveal") or ()]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_what_is_installed_is_within_its_bounds(requirement: Requirement) -> None:
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        pytest.skip(f"{requirement.name} belongs to an extra")
    assert metadata.version(requirement.name) in requirement.specifier


def test_pyav_without_metadata_errors_is_out_of_bounds() -> None:
    (av,) = [each for each in REQUIREMENTS if each.name == "av"]
    assert "18.1.0" in av.specifier
    assert "19.0.0" not in av.specifier
