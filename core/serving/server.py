"""The server of a gateway: its two sockets, its models, its log, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from core.errors import FinetuiError
from core.serving import profile, request_log, sockets
from core.serving.door import Door, GuardedDoor
from core.serving.gateway_app import App, Gateway
from core.serving.http_guard import guarded
from core.serving.request_log import LogWriter
from core.serving.safety import open_safety
from core.serving.settings import DeploymentError, Settings, read_settings
from core.serving.status import Status
from core.serving.upstreams import Spec, Upstreams, specs

KEEP_ALIVE_S = 15
HEAD_BYTES = 32 << 10
CLOSE_S = 3.0
"""A gateway whose keeper is gone ends after this long."""


def run(directory: Path, status: Status, keeper: int) -> int:
    """Serve a deployment until SIGTERM, or until its keeper is gone; returns the exit status.

    Args:
        directory: the deployment's.
        status: where its state is said.
        keeper: a pipe that closes when the keeper is gone.
    """
    try:
        return asyncio.run(_serve(directory, status, keeper))
    except FinetuiError as error:
        status.fail(f"{error.what} {error.cause}".strip(), error.next_step)
        print(error, file=sys.stderr)  # noqa: T201
        return 2


async def _serve(directory: Path, status: Status, keeper: int) -> int:
    settings = read_settings(directory)
    with contextlib.closing(sockets.bind_tcp(settings.host, settings.port)) as tcp:
        serving = Serving(directory, settings, status, specs(settings, sockets.make_folder(directory)))
        gc.collect()
        gc.freeze()  # else what was imported is looked through again, 20 ms during which nobody is answered
        _stop_on_signal(serving, keeper)
        await serving.run(tcp)
    return 0


class Serving:
    """A deployment that is served in this process.

    Args:
        directory: the deployment's.
        settings: of it.
        status: where its state is said.
        found: the models' processes.
        free_bytes: the memory that can be had for them; what the machine says when None.

    Attributes:
        upstreams: the models' processes.

    Raises:
        FinetuiError: its log, its profile or its safety can't be had.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        status: Status,
        found: list[Spec],
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._settings = settings
        self._status = status
        self._log = _log(directory, settings)
        self._safety = open_safety(settings.safety, directory)
        self._health = _Health(status)
        self.upstreams = Upstreams(
            found, directory, settings.limits, lambda: self._health.look(self.upstreams), free_bytes
        )
        gateway = Gateway(
            directory,
            settings,
            self.upstreams,
            self._safety,
            self._log,
            _profiles(directory),
            lambda: status.state,
        )
        app: App = gateway.app()  # type: ignore[assignment]
        self._servers = (_server(GuardedDoor(gateway, app), settings), _server(Door(gateway, app), settings))

    async def run(self, tcp: socket.socket) -> None:
        """Serve until `stop`; streams may end within the grace.

        Args:
            tcp: where those come in who need the key; the Unix socket is made here.
        """
        try:
            with self._log, contextlib.closing(_bind_unix(self._settings.socket)) as unix:
                self._status.set("starting", started=time.time(), upstreams={})
                warming = asyncio.ensure_future(self._warm())
                places = zip(self._servers, (tcp, unix), strict=True)
                await asyncio.gather(*(server.serve(sockets=[place]) for server, place in places))
                cut = [task for server in self._servers for task in server.server_state.tasks]
                await asyncio.gather(*cut, return_exceptions=True)  # they still write what became of them
                warming.cancel()
                await asyncio.gather(warming, return_exceptions=True)
        finally:
            await self.upstreams.close()
            if self._safety is not None:
                await self._safety.close()

    def stop(self) -> None:
        """Take no more requests, and end when those under way have."""
        for server in self._servers:
            server.should_exit = True

    def connections(self) -> int:
        """How many are open at the TCP port."""
        return len(self._servers[0].server_state.connections)

    async def _warm(self) -> None:
        if self._settings.warm:
            await self.upstreams.warm()
        self._health.settled = True
        self._health.look(self.upstreams)


def _bind_unix(path: Path) -> socket.socket:
    try:
        return sockets.bind_unix(path)
    except OSError as error:
        raise DeploymentError(
            f"The gateway can't listen on {path}.",
            str(error),
            "Set TMPDIR to a local folder, then start it again.",
        ) from error


def _log(directory: Path, settings: Settings) -> LogWriter:
    path = directory / request_log.NAME
    try:
        return LogWriter(path, settings.retention_days)
    except (sqlite3.Error, OSError) as error:
        raise DeploymentError(
            f"The request log {path} can't be written.",
            str(error),
            "Free space, or move the file away, then start it again.",
        ) from error


def _profiles(directory: Path) -> dict[str, profile.Profile]:
    try:
        return profile.read(directory)
    except (ValueError, KeyError, TypeError) as error:
        path = directory / profile.NAME
        raise DeploymentError(
            f"{path} is damaged.", str(error), "Delete it (prompts are not flagged then), or deploy again."
        ) from error


class _Health:
    """What the models' processes add up to."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self.settled = False

    def look(self, upstreams: Upstreams) -> None:
        """Say the state anew."""
        ill = [
            item
            for item in upstreams.all
            if item.state == "waiting" or (item.reason and item.state == "cold")
        ]
        found = {item.spec.name: item.as_status() for item in upstreams.all}
        reason = "; ".join(f"{item.spec.name}: {item.reason}" for item in ill)
        state = "unhealthy" if ill else "healthy" if self.settled else "starting"
        self._status.set(state, reason, upstreams=found)


class _Server(uvicorn.Server):
    """One of two in a process: neither may take the signals for itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Any, settings: Settings) -> _Server:
    limits = settings.limits
    return _Server(
        uvicorn.Config(
            app,
            http=guarded(limits.header_s),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_level="error",
            access_log=False,
            proxy_headers=False,  # a peer is who connects, not who it says it is
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(limits.grace_s)),
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
    )


def _stop_on_signal(serving: Serving, keeper: int) -> None:
    """End at SIGTERM, streams within the grace; soon when the keeper is gone."""
    loop = asyncio.get_running_loop()

    def keeper_gone() -> None:
        loop.remove_reader(keeper)
        serving.stop()
        loop.call_later(CLOSE_S, os._exit, 1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.stop)
    os.set_blocking(keeper, False)
    loop.add_reader(keeper, keeper_gone)
