"""The server of a small store of known values, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from viewed_store import client_of, write_viewed

from foveal.pipeline.view.server import Viewer
from foveal.storage.reader import Store, open_store


@pytest.fixture(scope="session")
def viewed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view") / "store.zarr"
    write_viewed(folder)
    return folder


@pytest.fixture(scope="session")
def store(viewed_folder: Path) -> Store:
    return open_store(viewed_folder)


@pytest.fixture
def own_store(viewed_folder: Path, tmp_path: Path) -> Store:
    """A copy that a test may change."""
    shutil.copytree(viewed_folder, tmp_path / "own.zarr")
    return open_store(tmp_path / "own.zarr")


@pytest.fixture(scope="session")
def viewer(store: Store) -> Iterator[Viewer]:
    made = Viewer(store)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Viewer]]:
    """Starts further servers, and ends them."""
    started: list[Viewer] = []

    def start(store: Store, **options: Any) -> Viewer:
        started.append(Viewer(store, **options))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="session")
def client(viewer: Viewer) -> Iterator[httpx.Client]:
    with client_of(viewer) as made:
        yield made


@pytest.fixture(scope="session")
def version(client: httpx.Client) -> str:
    """Of video 001."""
    found: str = client.get("/api/video", params={"video": "001"}).json()["version"]
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; tests are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [os.environ.get("FOVEAL_CHROMIUM")] + [
        shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")
    ]
    path = next(filter(None, found), None)
    with playwright.sync_playwright() as started:
        try:
            # Containers give no user namespaces, which Chromium's sandbox needs.
            made = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: the page was not tried in a browser ({str(error)[:80]})")
        yield made
        made.close()
