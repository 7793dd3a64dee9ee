"""Every deployment of prefect.yaml, registered with a real server and run as its worker runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from builds import recipe_values
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.flow_engine import load_flow, run_flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from foveal.flows.build import build_store
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

ROOT = Path(__file__).parents[2]
SMALL = {"width": 0.05, "input_size": [32, 48]}


@pytest.fixture(scope="module")
def deployed(api: str) -> list[str]:
    """All deployments, registered as ``prefect deploy --all`` does; their names."""
    named = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    with get_client(sync_client=True) as client:
        for one in named:
            flow: Any = load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False)
            client.create_deployment(
                client.create_flow(flow),
                one["name"],
                entrypoint=one["entrypoint"],
                parameters=one["parameters"],
                parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
            )
        return sorted(one.name for one in client.read_deployments())


@pytest.fixture(scope="module")
def store(api: str, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Frames and ground truth alone, no flow."""
    url = str(tmp_path_factory.mktemp("deployed") / "store.zarr")
    assert build_store(recipe_values(raw, url, flow=[]), return_state=True).is_completed()
    return url


def run(name: str, **parameters: Any) -> tuple[State[Any], list[str]]:
    """Run a deployment as the process that a worker starts for it does; state, names of tasks."""
    with get_client(sync_client=True) as client:
        of = next(one for one in client.read_deployments() if one.name == name)
        planned = client.create_flow_run_from_deployment(of.id, parameters=parameters)
        state: Any = run_flow(load_flow(planned), flow_run=planned, return_type="state",
                              parameters=planned.parameters)  # fmt: skip
        kept = client.read_flow_run(planned.id)
        assert kept.state is not None
        assert kept.state.type == state.type, "the server knows how it ended"
        this = FlowRunFilter(id=FlowRunFilterId(any_=[planned.id]))
        tasks = client.read_task_runs(flow_run_filter=this)
    return state, sorted(task.name for task in tasks)


def test_prefect_yaml_registers_every_deployment(deployed: list[str]) -> None:
    named = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert deployed == sorted(one["name"] for one in named)
    assert len(deployed) == 6


def test_a_form_says_what_its_parameters_are(deployed: list[str]) -> None:
    with get_client(sync_client=True) as client:
        for one in client.read_deployments():
            fields = one.parameter_openapi_schema["properties"]
            assert set(one.parameters) <= set(fields), one.name
            assert [key for key, field in fields.items() if not field.get("description")] == []


def test_features_are_computed_alone(deployed: list[str], store: str) -> None:
    before = open_store(store).marks("001")
    section = {"method": "dis", "size": [24, 32]}
    state, _ = run("build-features", store=store, flow=[section])
    assert state.is_completed(), state.message
    after = open_store(store).marks("001")
    assert after.keys() - before.keys() == {"flow_dis"}
    assert all(after[name] == mark for name, mark in before.items())
    assert open_store(store).recipe["density"] is not None
    refused, _ = run("build-features", store=store, flow=None)
    assert (refused.is_failed(), refused.name) == (True, "Refused")
    assert "give flow, i3d or both" in str(refused.message)


def test_a_network_is_trained_predicts_and_is_scored(
    deployed: list[str], store: str, tmp_path: Path
) -> None:
    settings = {
        "model": "salbce", "options": SMALL, "stores": [store], "run": str(tmp_path / "run"),
        "iterations": 2, "clip_frames": 4, "device": "cpu",
    }  # fmt: skip
    state, tasks = run("train-model", settings=settings, model=None, stores=None)
    assert state.is_completed(), state.message
    assert tasks == ["salbce"]
    assert state.result()["iterations"] == 2
    state, _ = run("predict-saliency", weights=str(tmp_path / "run"), store=store, device="cpu")
    assert state.is_completed(), state.message
    assert {row["status"] for row in state.result()["videos"]} == {"complete"}
    state, _ = run(
        "evaluate-predictions", store=store, split="val", baselines=["uniform"], metrics=["nss"]
    )
    assert state.is_completed(), state.message
    assert set(state.result()["contestants"]) == {"saliency_salbce", "uniform"}
    assert not verify(open_store(store).location)
    refused, _ = run("predict-saliency", weights=str(tmp_path / "none"), store=store)
    assert (refused.name, "no trained network" in str(refused.message)) == ("Refused", True)
    refused, _ = run("evaluate-predictions", store=store, metrics=["nsss"])
    assert (refused.name, "unknown metric 'nsss'" in str(refused.message)) == ("Refused", True)


def test_an_experiment_runs_step_by_step(deployed: list[str], tmp_path: Path) -> None:
    given = {"file": str(ROOT / "experiments/lsts.yaml"), "scale": "tiny", "only": ["LSTS-RGB"],
             "folder": str(tmp_path / "lsts")}  # fmt: skip
    state, tasks = run("run-experiment", **given)
    assert state.is_completed(), state.message
    assert tasks == [
        "predict lsts_rgb on dhf1k_val",
        "score lsts_rgb on dhf1k_val",
        "train lsts_rgb",
    ]
    assert state.message == "4 steps: 4 done"
    assert (tmp_path / "lsts/tables/tables.html").is_file()
    again, _ = run("run-experiment", **given)
    assert again.message == "4 steps: 4 unchanged"
    refused, _ = run("run-experiment", **{**given, "only": ["LSTS-RGBD"]})
    assert (refused.name, "no row that can be run" in str(refused.message)) == ("Refused", True)
