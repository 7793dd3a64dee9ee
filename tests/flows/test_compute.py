"""Statistics and evaluations by two worker processes give what they give here."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from builds import built_store
from distributed import Client
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.flows.cluster import local_cluster
from foveal.flows.compute import Each, on_cluster
from foveal.storage import catalogue
from foveal.storage.evaluation import stored_scores
from foveal.storage.location import Location
from foveal.storage.reader import Store, open_store
from foveal.storage.statistics import compute_statistics


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    small: dict[str, Any] = {"frames": {"size": [9, 16]}, "flow": []}
    density = {"sigma_px": 4.0, "size": [18, 32]}
    return built_store(tmp_path_factory.mktemp("compute"), density=density, **small)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with local_cluster(2) as cluster:
        address = str(cluster.scheduler_address)
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2)
        yield address


def test_the_table_of_videos_tells_what_the_marks_tell(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_FEW_VIDEOS", 0)
    opened = open_store(store.location.url)
    told = opened.contents(["001", "002", "601", "none"])
    assert told == opened.contents_now(list(opened))
    assert told["002"].source_size == (72, 128)
    assert told["002"].infos["density"].items == 9


@pytest.mark.slow
def test_statistics_are_equal_to_the_last_bit(store: Store, cluster: str) -> None:
    here = compute_statistics(store)
    command = ["statistics", str(store.location), "--cluster", cluster, "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    there = open_store(store.location.url).statistics()
    xr.testing.assert_identical(here.drop_attrs(deep=False), there.drop_attrs(deep=False))
    assert there.attrs["up_to_date"]
    assert {"centre_bias", "frames_mean", "fixations_per_frame"} <= set(there)


@pytest.mark.slow
def test_scores_are_equal_to_the_last_bit(
    store: Store, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(store.location)
    found: list[Any] = []
    for where in ({}, {"FOVEAL_CLUSTER": cluster}):
        command = ["evaluate", url, "--json", "--metric", "nss,auc_shuffled,kldiv"]
        result = CliRunner(env=where).invoke(app, command)
        assert result.exit_code == 0, result.output
        scores = stored_scores(Location(url))
        assert scores is not None
        found.append({key: value for key, value in scores.items() if key != "evaluated_at"})
    here, there = map(json.dumps, found)
    assert here == there
    assert len(found[0]["contestants"]["centre_bias"]["videos"]) == 3


@pytest.mark.slow
def test_results_come_in_order_from_other_processes_and_errors_as_they_are(cluster: str) -> None:
    with on_cluster(cluster) as client:
        each = Each(client)
        found = list(each(lambda item: (item, os.getpid()), range(20)))
        assert [item for item, _ in found] == list(range(20))
        assert os.getpid() not in {process for _, process in found}

        def refuse(item: int) -> None:
            raise RecipeError("as it is")

        with pytest.raises(RecipeError, match="as it is"):
            list(each(refuse, [1]))


@pytest.mark.slow
def test_a_module_that_workers_lack_is_an_error_and_no_waiting(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def work(item):\n    return item\n")
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("only_here").work
    with on_cluster(cluster) as client, pytest.raises(MissingDependency, match="only_here"):
        list(Each(client)(work, [1]))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FOVEAL_TEST_KILLS"), reason="long form: FOVEAL_TEST_KILLS")
def test_work_in_which_workers_die_ends_in_one_line(cluster: str) -> None:
    died = pytest.raises(FovealError, match="worker processes died in the same work")
    with died, on_cluster(cluster) as client:
        list(Each(client)(lambda _: os._exit(1), [1]))


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="local:4"), on_cluster("many"):
        pass
