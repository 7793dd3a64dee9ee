"""Where a store keeps the report of its latest build."""

from __future__ import annotations

from foveal.storage.location import Location

REPORT = "report.html"
"""At the store's root, in folders and object stores alike."""


def kept_report(url: str) -> str | None:
    """Path or URL of the report that the latest build left in a store; None where there is none."""
    location = Location(url, read_only=True)
    return f"{location}/{REPORT}" if REPORT in location.list_folder("") else None
