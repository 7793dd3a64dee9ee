"""Nobody gets in without the link, from elsewhere, or to anything but the store's own arrays."""

from __future__ import annotations

import http.client
import re

import httpx
import pytest
from viewed_store import EVIL, REASON, client_of

from foveal.errors import FovealError
from foveal.pipeline.view.server import Viewer

SECRET = "the file beside the store"
EVERYWHERE = (
    "/",
    "/api/videos",
    "/api/video?video=001",
    "/api/thumbnail?video=001",
    "/api/sound?video=001&v=x&array=audio",
    "/nothing",
)


def raw(viewer: Viewer, target: str, **headers: str) -> tuple[int, bytes]:
    """A request exactly as written; clients of comfort tidy paths up."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=10)
    connection.putrequest("GET", target, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("token", ["", "wrong", "token", "é"])
def test_without_the_token_there_is_nothing(viewer, path, token):
    url = f"http://127.0.0.1:{viewer.port}{path}"
    cookies = {f"foveal-view-{viewer.port}": "wrong"}
    key = f"token {token}".strip().encode()
    given = {"token": token} if token else {}
    for answer in (
        httpx.get(httpx.URL(url).copy_merge_params(given)),
        httpx.get(url, headers={"Authorization": key}, cookies=cookies),
    ):
        assert answer.status_code == 403
        assert "dhf1k" not in answer.text
        assert "small" not in answer.text


def test_the_link_opens_the_page_and_its_cookie_the_rest(viewer):
    with httpx.Client() as browser:
        page = browser.get(viewer.link("001", 3).partition("#")[0])
        assert page.status_code == 200
        cookie = page.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert browser.get(f"http://127.0.0.1:{viewer.port}/api/videos").status_code == 200


def test_a_ticket_opens_the_page_once_and_nothing_else(viewer):
    link = viewer.link("001", once=True)
    assert viewer.keys.token not in link
    assert httpx.get(link.replace("/?", "/api/videos?")).status_code == 403
    link = viewer.link("001", once=True)
    assert [httpx.get(link).status_code for _ in range(2)] == [200, 403]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("localhost", 200),
        ("127.0.0.1:9", 200),  # forwarded under another port
        ("evil.example:{port}", 421),
        ("127.0.0.1.evil.example:{port}", 421),
        ("evil.example", 421),
        ("0.0.0.0:{port}", 421),
        ("", 421),
    ],
)
def test_only_its_own_names_are_answered(viewer, host, status):
    key = f"token {viewer.keys.token}"
    told = raw(viewer, "/api/videos", Host=host.format(port=viewer.port), Authorization=key)
    assert told[0] == status


def test_it_listens_on_this_machine_only(viewer):
    assert viewer._socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_only_reads(client, method):
    assert client.request(method, "/api/videos").status_code == 405


WAYS_OUT = (
    "../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "..%252fsecret.txt",
    "....//secret.txt",
    "..\\secret.txt",
    "/etc/hostname",
    "//etc/hostname",
    "%2fetc%2fhostname",
    "file:///etc/hostname",
    "001/../../secret.txt",
    "001\0",
    "_foveal",
    "zarr.json",
    ".",
    "",
)


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_path_leads_out_of_the_store(viewer, viewed_folder, version, way):
    (viewed_folder.parent / "secret.txt").write_text(SECRET)
    key = f"token {viewer.keys.token}"
    escaped = way.replace("\0", "%00").replace("\\", "%5c")
    for target in (
        f"/{escaped}",
        f"/static/{escaped}",
        f"/api/{escaped}",
        f"/api/video?video={escaped}",
        f"/api/thumbnail?video={escaped}",
        f"/api/items?video={escaped}&v=x&array=frames&form=picture&start=0&stop=1",
        f"/api/items?video=001&v={version}&array={escaped}&form=picture&start=0&stop=1",
        f"/api/values?video=001&v={version}&array={escaped}&item=0&x=0&y=0",
        f"/api/sound?video=001&v={version}&array={escaped}",
        f"/api/line?video=001&v={version}&track=scalar:{escaped}&start=0&stop=1",
        f"/api/line?video=001&v={version}&track=score:nss&array={escaped}&start=0&stop=1",
        f"/api/points?video=001&v={version}&stage={escaped}&start=0&stop=1",
        f"/api/windows?video=001&v={version}&starts={escaped}",
    ):
        status, body = raw(viewer, target, Authorization=key)
        at_the_page = target.rstrip("/.") in ("", "/")
        assert status in ((200, 404) if at_the_page else (404, 409)), target
        assert SECRET.encode() not in body
        assert body[:9] == b"<!doctype" if status == 200 else b'"error"' in body or status == 404


def test_the_page_may_load_nothing_from_elsewhere(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.text.count(f'nonce="{nonce}"') == 2
    assert client.get("/").text != page.text  # another nonce each time
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:,)""", page.text)
    assert not re.findall(r"https?://", page.text.replace("http://www.w3.org", ""))
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"


def test_a_notebook_on_this_machine_may_frame_the_page(store, serve):
    with client_of(serve(store, framed=True)) as client:
        policy = client.get("/").headers["content-security-policy"]
    assert "frame-ancestors 'self' http://localhost:*" in policy
    assert "evil" not in policy


def test_names_and_reasons_go_out_as_json_and_never_in_the_page(client):
    listed = client.get("/api/videos")
    assert listed.headers["content-type"] == "application/json"
    rows = {row["video"]: row for row in listed.json()["videos"]}
    assert rows["009"]["reason"] == REASON
    assert EVIL in rows
    assert REASON not in client.get("/").text
    refused = client.get("/api/video", params={"video": "009"})
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/json")
    assert REASON in refused.json()["error"]


def test_a_port_that_is_taken_is_one_sentence(store, viewer):
    with pytest.raises(FovealError, match=f"port {viewer.port} cannot be used"):
        Viewer(store, viewer.port)
