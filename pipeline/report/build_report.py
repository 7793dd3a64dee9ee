"""The report that every build leaves in its store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping

from foveal.pipeline.report.report import report_page
from foveal.storage.location import Location
from foveal.storage.reader import open_store

REPORT = "report.html"
"""At the store's root, in folders and object stores alike."""

_log = logging.getLogger("foveal")


def keep_report(url: str, run: Mapping[str, object] | None = None) -> str | None:
    """Write the report of a store into it, in place of the former one.

    A build is not lost for its report: where it cannot be made, that is logged, and the former one
    is removed, as it would tell of another build.

    Parameters
    ----------
    url : str
        The store.
    run : mapping of str to object, optional
        See `foveal.pipeline.report.report.report_page`.

    Returns
    -------
    str or None
        Where it lies; None where it could not be written.
    """
    try:
        page = report_page(open_store(url), run)
        Location(url).write(REPORT, page.encode())
    except Exception as error:
        _log.warning(
            "the build is whole, but its report could not be written to %s/%s (%s: %s); "
            "`foveal report` writes one elsewhere",
            url,
            REPORT,
            type(error).__name__,
            error,
        )
        with contextlib.suppress(Exception):
            Location(url).delete(REPORT)
    return kept_report(url)


def kept_report(url: str) -> str | None:
    """Where the latest build left its report; None where there is none."""
    location = Location(url, read_only=True)
    return f"{location}/{REPORT}" if REPORT in location.list_folder("") else None
