"""Credentials come from the environment and stay there: not in stores, logs, tracebacks."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from builds import recipe_values
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import FovealError, RecipeError, StoreError, StoreUnreachable
from foveal.flows.build import build_store
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.credentials import credentials_in, holds_credentials, masked
from foveal.storage.location import Location

KEY = "AKIAFOVEALNOTREAL042"
SECRET = "nOtAr3al/S3cr3t+ofF0vealTestsOnly0123456"
TOKEN = "FwoNotARealSessionTokenOfFovealsTests=="
NEEDLES = [
    form
    for text in (KEY, SECRET, TOKEN)
    for form in (text, quote(text, safe=""), base64.b64encode(text.encode()).decode()[:24])
]

WITH = [
    f"s3://{KEY}:{SECRET}@bucket/store.zarr",
    f"s3://{quote(KEY)}%3A{quote(SECRET, safe='')}@bucket/store.zarr",
    f"s3://{KEY}@bucket/store.zarr",
    f"s3://{KEY}:{SECRET}/bucket",
    f"simplecache::s3://{KEY}:{SECRET}@bucket/store.zarr",
    f"https://user:{SECRET}@host/store.zarr",
    f"https://host/store.zarr?X-Amz-Signature={SECRET}&X-Amz-Date=1",
    f"https://host/store.zarr?sv=2024&sig={SECRET}",
    f"s3://bucket/store.zarr?AWSAccessKeyId={KEY}",
    f"gs://bucket/store.zarr?access_token={TOKEN}",
]
WITHOUT = [
    "s3://bucket/store.zarr",
    "s3://bucket/who@where/a:b.zarr",
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/store.zarr",
    "https://host:8443/who@where/store.zarr",
    "abfs://container@account.dfs.core.windows.net/store.zarr",
    "memory://store.zarr",
    "/data/a:b@c/store.zarr",
    "file:///data/x@y.zarr",
]


def found_in(text: object) -> list[str]:
    return [needle for needle in NEEDLES if needle in str(text)]


@pytest.mark.parametrize("url", WITH)
def test_urls_that_hold_credentials_are_refused_and_not_repeated(url: str) -> None:
    assert holds_credentials(url)
    assert not found_in(masked(f"no reply from {url} today"))
    recipe = {"dataset": {"kind": "dhf1k", "root": "/data"}, "store": url}
    with pytest.raises(
        RecipeError, match=r"store: holds credentials.*AWS_ACCESS_KEY_ID"
    ) as refused:
        Recipe.parse(recipe)
    assert not found_in(refused.value)
    with pytest.raises(StoreError, match=r"holds credentials: leave them out") as unopened:
        Location(url)
    assert not found_in(unopened.value)
    with pytest.raises(RecipeError, match=r"stores\.1: holds credentials") as untrained:
        TrainSettings.parse({"model": "salema", "stores": ["a.zarr", url]})
    assert not found_in(untrained.value)


@pytest.mark.parametrize("url", WITHOUT)
def test_other_urls_are_taken(url: str) -> None:
    assert not holds_credentials(url)
    assert masked(url) == url
    assert credentials_in({"store": url, "dataset": {"root": url}}) is None


def test_wrong_yaml_and_keys_repeat_no_credentials(tmp_path: Path) -> None:
    store = f"s3://{KEY}:{SECRET}@bucket/x"
    (tmp_path / "wrong.yaml").write_text(f"dataset: {{\nstore: {store} ]\n")
    with pytest.raises(RecipeError, match="is not YAML") as error:
        Recipe.load(tmp_path / "wrong.yaml")
    assert not found_in(error.value)
    (tmp_path / "right.yaml").write_text("dataset: {kind: dhf1k, root: /data}\nstore: x.zarr\n")
    for change in (f"store={store}", f"store=[{store}", f"store.url.x={store}", f"frames={store}"):
        with pytest.raises(RecipeError) as error:
            Recipe.load(tmp_path / "right.yaml", [change])
        assert not found_in(error.value), change
    section = {"url": "s3://bucket", "secret_access_key": SECRET}
    with pytest.raises(RecipeError, match=r"store\.secret_access_key: holds credentials") as error:
        Recipe.parse({"dataset": {"kind": "dhf1k", "root": "/data"}, "store": section})
    assert not found_in(error.value)


@pytest.mark.parametrize("command", [["inspect"], ["verify"], ["status"], ["report"], ["clean"]])
def test_commands_repeat_no_credentials(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, f"s3://{KEY}:{SECRET}@bucket/x"])
    assert isinstance(done.exception, FovealError)
    assert "holds credentials" in str(done.exception)
    assert not found_in(done.output)
    assert not found_in("".join(traceback.format_exception(done.exception)))


def prefect_knows(run: Any) -> str:
    """All that the server has of a run: states, parameters, log, artifacts, tasks."""
    this = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    with get_client(sync_client=True) as client:
        lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))
        artifacts = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        known = [
            client.read_flow_run(run),
            *client.read_flow_run_states(run),
            *lines,
            *client.read_artifacts(artifact_filter=artifacts),
            *client.read_task_runs(flow_run_filter=this),
        ]
    return "\n".join(one.model_dump_json() for one in known)


@pytest.fixture
def repeating() -> Iterator[str]:
    """Address of a server that refuses every request, and repeats the credentials in its reply."""

    class Refuse(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            why = f"no such key: {KEY} with {SECRET} and {TOKEN}"
            body = (
                f"<Error><Code>InvalidAccessKeyId</Code><Message>{why}</Message></Error>".encode()
            )
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_repeats_credentials_is_not_quoted(
    repeating: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    environment(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", repeating)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreUnreachable, match=r"no such key: \*\*\* with \*\*\* and") as error:
        Location("s3://bucket/store.zarr").write("a.json", b"{}")
    s3fs.S3FileSystem.clear_instance_cache()
    assert not found_in("".join(traceback.format_exception(error.value)))


def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def test_credentials_of_the_environment_are_found_nowhere(
    api: str,
    raw: Path,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import s3fs

    from foveal.flows.server import drain

    environment(monkeypatch)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        recipe = recipe_values(raw, f"{bucket}/secretive", flow=[], density=None)
        state = build_store(recipe, only=["002"], return_state=True)
        assert state.is_completed(), state.message
        drain()
        known = prefect_knows(state.state_details.flow_run_id)
        assert "002: 9 frames" in known, "the log is there to be searched"
        assert not found_in(known)

        location = Location(recipe["store"])
        keys = location.list_all("")
        assert {"report.html", "zarr.json"} <= set(keys)
        assert any("/log/" in key for key in keys)
        for key in keys:
            content = location.read(key) or b""
            assert not [needle for needle in NEEDLES if needle.encode() in content], key

        # A failure with all that comes with it: nobody listens there.
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
        s3fs.S3FileSystem.clear_instance_cache()
        state = build_store(recipe_values(raw, f"{bucket}/nowhere"), return_state=True)
        assert (state.is_failed(), state.name) == (True, "Refused")
        error = state.result(raise_on_failure=False)
        assert isinstance(error, StoreUnreachable)
        assert "connect" in str(error)
        assert not found_in("".join(traceback.format_exception(error)))
        drain()
        assert not found_in(prefect_knows(state.state_details.flow_run_id))
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    assert not found_in(caplog.text)
    assert not found_in(json.dumps(capfd.readouterr()))
