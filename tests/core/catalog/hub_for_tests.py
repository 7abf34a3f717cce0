"""A loopback stand-in for the Hugging Face hub, speaking the few routes a model's download needs."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "acme/tiny"
FILES: dict[str, bytes] = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 6000,  # 1.5 MB: several chunks
    "LICENSE": b"MIT",
    "empty.txt": b"",
    "pytorch_model.bin": b"pickle",
    "modeling_tiny.py": b"print('no')",
    "original/params.json": b"{}",
}
WANTED = {
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "LICENSE",
    "empty.txt",
}


class Hub:
    """What the server holds and how it misbehaves; tests change it as they like."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.refuse: dict[str, tuple[int, str]] = {}  # path prefix -> status, X-Error-Code
        self.break_after: list[int] = []  # for each next weights response: bytes sent before hanging up
        self.corrupt = ""  # a file whose bytes are sent wrong
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range

    def listing(self) -> dict[str, Any]:
        return {"id": REPO, "sha": COMMIT, "siblings": [self._sibling(name) for name in self.files]}

    def _sibling(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        record: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
        if name.endswith(".safetensors"):
            digest = hashlib.sha256(content).hexdigest()
            record["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 135}
        return record

    def asked(self, name: str) -> list[str | None]:
        """The Range header of each request for a file."""
        return [ranged for _, path, ranged in self.requests if path.endswith(f"/{name}")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(("GET", path, self.headers["Range"]))
        for prefix, (status, code) in self.hub.refuse.items():
            if path.startswith(prefix):
                return self._send(status, b"{}", {"X-Error-Code": code} if code else {})
        resolve = f"/{REPO}/resolve/{COMMIT}/"
        if path.startswith(f"/api/models/{REPO}"):
            return self._send(
                200, json.dumps(self.hub.listing()).encode(), {"Content-Type": "application/json"}
            )
        if path.startswith(resolve) and path.removeprefix(resolve) in self.hub.files:
            return self._file(path.removeprefix(resolve))
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str) -> None:
        content = self.hub.files[name]
        if name == self.hub.corrupt:
            content = b"x" * len(content)
        headers = {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
        status, ranged = 200, self.headers["Range"]
        if ranged:
            start = int(ranged.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        cut = self.hub.break_after.pop(0) if self.hub.break_after and name == "model.safetensors" else None
        self._send(status, content, headers, cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


class Told:
    """A progress callback that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, text: str, done: int, total: int) -> None:
        self.calls.append((text, done, total))

    @property
    def texts(self) -> list[str]:
        return [text for text, _, _ in self.calls]
