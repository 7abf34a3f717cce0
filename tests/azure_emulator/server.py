"""The HTTPS server: checks what ARM checks before a handler runs, meets faults, keeps the record of requests."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route as WebRoute
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.azure_emulator import access
from tests.azure_emulator.proxy import Proxy
from tests.azure_emulator.wire import Answer, Call, Refusal

if TYPE_CHECKING:
    from tests.azure_emulator.emulator import Emulator

METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"]
SECRET_FIELDS = {"client_secret", "refresh_token", "client_assertion", "device_code"}


class Server:
    """Serves an emulator on a free port, the proxy on another, both in one thread."""

    def __init__(self, azure: Emulator) -> None:
        self._azure = azure
        self._connections: dict[Any, asyncio.Transport] = {}
        self._serving: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._proxy = Proxy(azure.faults)

    def start(self) -> tuple[int, int]:
        """Begin to serve; returns the HTTPS port and the proxy's."""
        application = Starlette(routes=[WebRoute("/{path:path}", self._serve, methods=METHODS)])
        config = uvicorn.Config(
            application,
            host="127.0.0.1",
            port=0,
            http=self._protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            date_header=False,
            ssl_certfile=str(self._azure.certificates.certificate),
            ssl_keyfile=str(self._azure.certificates.key),
            timeout_graceful_shutdown=1,
        )
        self._serving = uvicorn.Server(config)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._serving, ready), name="loopback-azure", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._serving.started or not ready.is_set():
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the emulator's HTTPS server did not start")
            time.sleep(0.005)
        return self._serving.servers[0].sockets[0].getsockname()[1], self._proxy.port

    def _run(self, serving: uvicorn.Server, ready: threading.Event) -> None:
        async def both() -> None:
            self._loop = asyncio.get_running_loop()
            await self._proxy.start()
            ready.set()
            try:
                await serving.serve()
            finally:
                await self._proxy.stop()

        asyncio.run(both())

    def stop(self) -> None:
        """End the server; clients' idle connections are cut, not waited for."""
        if self._serving and self._thread and self._loop:
            self._serving.should_exit = True
            for transport in list(self._connections.values()):
                self._loop.call_soon_threadsafe(transport.abort)
            self._thread.join(timeout=15)

    def _protocol(self) -> type[H11Protocol]:
        connections, faults = self._connections, self._azure.faults

        class Cuttable(H11Protocol):
            """A connection that a fault can cut, at once or in mid-answer."""

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                connections[self.client] = transport
                if faults.network_is_gone:
                    transport.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                connections.pop(self.client, None)
                super().connection_lost(exc)

        return Cuttable

    def _cut(self, request: Request) -> Response:
        transport = self._connections.get(tuple(request.client) if request.client else None)
        if transport:
            transport.abort()
        return Response(status_code=500)

    async def _serve(self, request: Request) -> Response:
        try:
            raw = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        call = Call(
            self._azure,
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
            raw,
        )
        faults = self._azure.faults
        if faults.network_is_gone:
            return self._cut(request)
        fault = faults.take(call.method, call.path)
        if fault and fault.kind == "reset":
            self._record(call, 0)
            return self._cut(request)
        if fault and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        refusal = fault.refusal(call.path) if fault else None
        answer = refusal.answer if refusal else await run_in_threadpool(self._handle, call)
        self._record(call, answer.status)
        if (fault and fault.kind == "lost_answer") or faults.network_is_gone:
            return self._cut(request)
        return self._response(call, answer)

    def _handle(self, call: Call) -> Answer:
        found = self._azure.table.find(call.method, call.path)
        if not found:
            return Refusal(
                404, "NotImplemented", f"The loopback Azure does not speak {call.method} {call.path}"
            ).answer
        route, call.names = found
        with self._azure.state.lock:
            try:
                self._azure.state.settle()
                access.check(call, route.access)
                self._azure.schemas.check_request(call)
                answer = route.handler(call)
                # A copy: another request may change what this answer is made of while it is written out.
                answer.body = copy.deepcopy(answer.body)
            except Refusal as refusal:
                return refusal.answer
        self._azure.schemas.check_response(call, answer)
        return answer

    def _record(self, call: Call, status: int) -> None:
        body: Any = None
        if call.raw:
            kind = call.headers.get("content-type", "")
            if "form" in kind:
                fields = parse_qs(call.raw.decode("utf-8", "replace"))
                body = {key: value[0] for key, value in fields.items() if key not in SECRET_FIELDS}
            else:
                try:
                    body = json.loads(call.raw)
                except ValueError:
                    body = call.raw.decode("utf-8", "replace")
        self._azure.state.requests.append((call.method, call.path, status, body))

    def _response(self, call: Call, answer: Answer) -> Response:
        headers = {
            "x-ms-request-id": str(uuid.uuid4()),
            "x-ms-correlation-request-id": str(uuid.uuid4()),
            "Date": formatdate(self._azure.state.now(), usegmt=True),
            **answer.headers,
        }
        if answer.stream is not None:
            return StreamingResponse(_paced(answer), answer.status, headers, "text/event-stream")
        if answer.text is not None:
            return PlainTextResponse(answer.text, answer.status, headers)
        if answer.body is None or call.method == "HEAD":
            return Response(status_code=answer.status, headers=headers)
        return JSONResponse(answer.body, answer.status, headers)


async def _paced(answer: Answer) -> AsyncIterator[str]:
    assert answer.stream is not None
    for part in answer.stream:
        await asyncio.sleep(answer.pause)
        yield part
