"""A loopback stand-in for the Hugging Face hub, speaking the few routes an upload needs.

Small files come inside the commit, large ones (`.safetensors`) by git-lfs's batch API and a PUT.
"""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
TOKEN = "hf_test_token"  # noqa: S105 - of this loopback only


class Hub:
    """What the server holds, and how it refuses."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.repos: dict[str, bool] = {}  # name -> private
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.refuse: dict[str, tuple[int, str]] = {}  # path -> status, what is wrong
        self.requests: list[str] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """(status, JSON) of a request."""
        for name in (path, f"/{path.split('/')[1]}"):
            if name in self.refuse:
                status, why = self.refuse[name]
                return status, {"error": why}
        if path == "/api/whoami-v2":
            return 200, {"name": "acme", "type": "user", "auth": {}}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/objects/"):
            self.objects[path.removeprefix("/objects/")] = body
            return 200, {}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, self._batch(json.loads(body))
        if "/preupload/" in path:
            return 200, {"files": [self._mode(item) for item in json.loads(body)["files"]]}
        if "/commit/" in path:
            return self._commit(path, body)
        if method == "GET" and path.startswith("/api/models/"):
            name = path.removeprefix("/api/models/").partition("/revision/")[0]
            if name in self.repos:
                return 200, {"id": name, "sha": COMMIT, "private": self.repos[name], "siblings": []}
        return 404, {"error": f"no route {method} {path}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repos:
            return 409, {"error": "You already created this model repo"}
        self.repos[name] = asked["visibility"] == "private"
        return 200, {"url": f"{self.endpoint}/{name}"}

    def _batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.endpoint}/objects/{item['oid']}"}}}
            for item in asked["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def _mode(self, item: dict[str, Any]) -> dict[str, Any]:
        large = item["path"].endswith(".safetensors")
        return {"path": item["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

    def _commit(self, path: str, body: bytes) -> tuple[int, Any]:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                content = self.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                self.files[value["path"]] = content
        name = path.removeprefix("/api/models/").partition("/commit/")[0]
        return 200, {"commitOid": COMMIT, "commitUrl": f"{self.endpoint}/{name}/commit/{COMMIT}"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        status, content = self.hub.answer(self.command, path, self._body())
        if self.headers["Authorization"] != f"Bearer {TOKEN}" and not path.startswith("/objects/"):
            status, content = 401, {"error": "Invalid username or password."}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = _serve
