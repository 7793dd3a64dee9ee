"""A hub of one's own: the parts of the Hugging Face Hub's HTTP interface that a transfer uses.

Files below a folder ``c`` and weights go as LFS objects, all others inside the commit, as on the
hub. Transfers can be made to break off, and stored objects be damaged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories by kind and name, and what went on."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.uploads = self.downloads = self.commits = 0
        self.uploads_left: int | None = None
        self.downloads_left: int | None = None
        self.url = ""

    def files(self, repo: str, kind: str = "dataset") -> dict[str, bytes]:
        return self.repositories[kind, repo]


def is_lfs(path: str) -> bool:
    return "/c/" in path or path.endswith((".pt", ".parquet"))


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: object = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def do_POST(self) -> None:
        hub, parts, body = self.hub, self.parts(), self.body()
        if parts[:3] == ["api", "repos", "create"]:
            about = json.loads(body)
            name = f"{about['organization']}/{about['name']}" if about.get("organization") else (
                f"me/{about['name']}")  # fmt: skip
            key = (about.get("type") or "model", name)
            if key in hub.repositories:
                return self.answer(409, {"error": "exists", "url": f"{hub.url}/{name}"})
            hub.repositories[key] = {".gitattributes": b"*.pt filter=lfs\n"}
            hub.private[name] = bool(about.get("private")) or about.get("visibility") == "private"
            return self.answer(200, {"url": f"{hub.url}/{name}", "id": name, "name": name})
        if parts[:2] == ["api", "validate-yaml"]:
            return self.answer(200, {"errors": [], "warnings": []})
        if parts[-3:] == ["lfs", "objects", "batch"]:
            objects: list[dict[str, Any]] = []
            for one in json.loads(body)["objects"]:
                found: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
                if one["oid"] not in hub.objects:
                    found["actions"] = {"upload": {"href": f"{hub.url}/objects/{one['oid']}"}}
                objects.append(found)
            return self.answer(200, {"transfer": "basic", "objects": objects})
        kind, repo, what = parts[1].removesuffix("s"), "/".join(parts[2:4]), parts[4]
        if (kind, repo) not in hub.repositories:
            return self.answer(404, b"", X_Error_Code="RepoNotFound")
        if what == "preupload":
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if is_lfs(one["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": modes})
        assert what == "commit", self.path
        hub.commits += 1
        files = hub.repositories[kind, repo]
        for line in body.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            elif step["key"] == "deletedFile":
                del files[value["path"]]
        oid = f"{hub.commits:040x}"
        return self.answer(
            200, {"commitUrl": f"{hub.url}/{repo}/commit/{oid}", "commitOid": oid, "success": True}
        )

    def do_PUT(self) -> None:
        hub, content = self.hub, self.body()
        if hub.uploads_left == 0:
            return self.answer(400, b"broken off")
        if hub.uploads_left is not None:
            hub.uploads_left -= 1
        oid = self.parts()[-1]
        assert hashlib.sha256(content).hexdigest() == oid
        hub.uploads += 1
        hub.objects[oid] = content
        return self.answer(200)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, parts = self.hub, self.parts()
        head = f"{hub.commits:040x}"
        if parts[0] == "api":
            kind, repo, what = parts[1].removesuffix("s"), "/".join(parts[2:4]), parts[4:5]
            if (kind, repo) not in hub.repositories:
                return self.answer(404, b"", X_Error_Code="RepoNotFound")
            files = hub.repositories[kind, repo]
            if what == ["tree"]:
                return self.answer(200, [listed(path, files[path]) for path in sorted(files)])
            siblings = [{"rfilename": path} for path in sorted(files)]
            about = {"id": repo, "sha": head, "siblings": siblings, "private": True, "tags": []}
            return self.answer(200, about)
        kind = "dataset" if parts[0] == "datasets" else "model"
        parts = parts[1:] if kind == "dataset" else parts
        repo, path = "/".join(parts[:2]), "/".join(parts[4:])
        files = hub.repositories.get((kind, repo), {})
        if path not in files:
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        if self.command == "GET":
            if hub.downloads_left == 0:
                return self.answer(403, b"broken off")
            if hub.downloads_left is not None:
                hub.downloads_left -= 1
            hub.downloads += 1
        # What the hub promises is the digest of what was pushed, whatever it then sends.
        etag = listed(path, files[path])
        digest = etag["lfs"]["oid"] if "lfs" in etag else etag["oid"]
        sent = hub.objects.get(digest, files[path])
        return self.answer(
            200, sent, ETag=f'"{digest}"', X_Repo_Commit=head, X_Linked_Size=str(len(sent))
        )


def listed(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if is_lfs(path):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
