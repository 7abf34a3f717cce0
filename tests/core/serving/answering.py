"""An OpenAI-compatible server on this machine, for tests: it says what it is told to, and what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any


class Answering:
    """What the server does, and what it saw.

    Attributes:
        pieces: of the reply, by the last message, or of every reply under an empty name.
        usage: (prompt tokens, tokens) that it tells at the end, None for none.
        finish: why the reply ends; empty to break off.
        status: of the response.
        error: its body when the status is not 200.
        rude: fields that it refuses, each with the sentence it says then.
        blocks: last messages that it refuses with 400, each with the code and the sentence it says then.
        junk: sent in place of the reply's events.
        gate: the reply waits in its middle until it is set.
        asked: (headers, body) of each request.
    """

    def __init__(self) -> None:
        self.pieces: dict[str, list[str]] = {"": ["Hel", "lo", " é"]}
        self.usage: tuple[int, int] | None = (11, 3)
        self.finish = "stop"
        self.status = 200
        self.error: dict[str, Any] = {}
        self.rude: dict[str, str] = {}
        self.blocks: dict[str, tuple[str, str]] = {}
        self.junk = ""
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.url = ""
        self.broken = threading.Event()

    def lines(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        pieces = self.pieces.get(body["messages"][-1]["content"], self.pieces.get("", []))
        for number, piece in enumerate(pieces):
            yield {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            if number == 0:
                self.gate.wait(30)
        if self.finish:
            yield {"choices": [{"index": 0, "delta": {}, "finish_reason": self.finish}]}
        if self.usage and "stream_options" in body:
            prompt, reply = self.usage
            yield {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": reply}}


class _Handler(BaseHTTPRequestHandler):
    said: Answering

    def address_string(self) -> str:
        return "test"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.said.asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
        rude = next((text for field, text in self.said.rude.items() if field in body), None)
        code, blocked = self.said.blocks.get(body["messages"][-1]["content"], (None, None))
        if self.said.status != 200 or rude or blocked:
            said = {"error": {"message": rude or blocked, "code": code}}
            content = json.dumps(self.said.error or said).encode()
            self.send_response(self.said.status if self.said.status != 200 else 400)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        try:
            if self.said.junk:
                self.wfile.write(b"data: " + self.said.junk.encode() + b"\n\n")
                return
            for line in self.said.lines(body):
                self.wfile.write(b"data: " + json.dumps({**common, **line}).encode() + b"\n\n")
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            self.said.broken.set()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is no error of a test's."""


class _UnixServer(ThreadingUnixStreamServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """As above."""


@contextmanager
def answering(socket: Path | None = None) -> Iterator[Answering]:
    """The server, on a free port of the loopback or on a Unix socket."""
    said = Answering()
    handler = type("Handler", (_Handler,), {"said": said})
    server: Any
    if socket is None:
        server = _Server(("127.0.0.1", 0), handler)
        said.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    else:
        server = _UnixServer(str(socket), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield said
    finally:
        said.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
