"""A gateway in the test's own process, in front of a small upstream in another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from core import paths
from core.serving import sockets
from core.serving.request_log import Entry, entries
from core.serving.server import Serving
from core.serving.settings import Limits, ServedModel, Settings, directory_of, new_key, write_settings
from core.serving.status import Status
from core.serving.upstreams import Spec

UPSTREAM = Path(__file__).with_name("small_upstream.py")
QUICK = Limits(
    header_s=0.5, idle_s=1.0, grace_s=2.0, start_s=30.0, silent_s=5.0, per_minute=60_000, burst=1000
)


def model(name: str, **more: Any) -> ServedModel:
    return ServedModel(
        **{
            "name": name,
            "kind": "tuned",
            "run": "lamp-1234",
            "checkpoint": None,
            "folder": "",
            "base": "tiny",
            "bytes": 1000,
            **more,
        }
    )


def make_settings(name: str = "lamp", **more: Any) -> tuple[Settings, Path, str]:
    """(settings, the deployment's directory, its key), written."""
    key, sha256 = new_key()
    directory = paths.make_private(directory_of(name))
    given = {
        "name": name,
        "created": 1.0,
        "host": "127.0.0.1",
        "port": 0,
        "key_sha256": sha256,
        "models": (model("lamp"), model("other")),
        "limits": QUICK,
        "sockets": str(sockets.make_folder(directory)),
        **more,
    }
    settings = Settings(**given)
    write_settings(directory, settings)
    return settings, directory, key


@dataclass
class Running:
    """A gateway and how it is reached."""

    directory: Path
    settings: Settings
    serving: Serving
    status: Status
    port: int
    key: str
    http: httpx.AsyncClient
    local: httpx.AsyncClient
    task: asyncio.Task[None]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    async def ask(self, words: str, model: str = "lamp", **fields: Any) -> httpx.Response:
        """A chat with one message, over the Unix socket."""
        messages = [{"role": "user", "content": words}]
        return await self.local.post(
            "/v1/chat/completions", json={"model": model, "messages": messages, **fields}
        )

    async def stream(self, words: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of a stream, without its end mark."""
        answer = await self.ask(words, stream=True, **fields)
        assert answer.status_code == 200, answer.text
        events = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]
        return [json.loads(event) for event in events if event != "[DONE]"]

    def seen(self, model: str = "lamp") -> list[dict[str, Any]]:
        """The bodies that reached a model."""
        path = self.folder(model) / "seen.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def folder(self, model: str = "lamp") -> Path:
        return self.directory / f"work-{model}"

    async def logged(self, count: int) -> list[Entry]:
        """The log when it has so many entries."""
        await until(lambda: len(entries(self.directory)) >= count)
        return entries(self.directory)


async def until(holds: Callable[[], Any], steps: int = 600) -> None:
    """Wait for something to come true, half a minute at most."""
    for _ in range(steps):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come true")


async def reply_or_error(work: Awaitable[httpx.Response]) -> httpx.Response | httpx.HTTPError:
    try:
        return await work
    except httpx.HTTPError as error:
        return error


@contextlib.asynccontextmanager
async def running(name: str = "lamp", free_bytes: int | None = None, **more: Any) -> AsyncIterator[Running]:
    """A gateway with two models, `lamp` and `other`, started on demand unless `warm` is given.

    Args:
        name: of the deployment.
        free_bytes: the memory that there is to be.
        more: of its settings.
    """
    settings, directory, key = make_settings(name, **{"warm": False, **more})
    found = []
    for number, item in enumerate(settings.models):
        folder = paths.make_private(directory / f"work-{item.name}")
        socket = Path(settings.sockets) / f"m{number}"
        command = (sys.executable, "-P", str(UPSTREAM), str(folder), str(socket))
        found.append(Spec(item.name, command, socket, item.bytes, 1, {item.name: "."}))
    status = Status(directory)
    serving = Serving(
        directory, settings, status, found, None if free_bytes is None else lambda: left(free_bytes, serving)
    )
    tcp = sockets.bind_tcp("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    task = asyncio.ensure_future(serving.run(tcp))
    local = httpx.AsyncHTTPTransport(uds=str(settings.socket))
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http,
        httpx.AsyncClient(base_url="http://gateway", transport=local, timeout=30) as unix,
    ):
        try:
            await until(settings.socket.exists)
            yield Running(directory, settings, serving, status, port, key, http, unix, task)
        finally:
            serving.stop()
            await task
            tcp.close()
            sockets.remove_folder(Path(settings.sockets))


def left(total: int, serving: Serving) -> int:
    """Of so much memory what the processes that run leave."""
    taken = [item.spec.needed_bytes for item in serving.upstreams.all if item.process is not None]
    return total - sum(taken)


def with_limits(**limits: Any) -> dict[str, Any]:
    return {"limits": replace(QUICK, **limits)}
