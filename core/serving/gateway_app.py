"""The gateway's HTTP side behind its doors: four routes, and an entry in the log for each request.

No other route of a model's server is passed on, no cross-origin headers are sent, no documentation is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.serving import wire
from core.serving.profile import Profile
from core.serving.relay import Answer, ClientGone, Record, Send, relay
from core.serving.request_log import LogWriter
from core.serving.safety import Safety
from core.serving.settings import Settings
from core.serving.upstreams import Upstreams
from core.serving.wire import Kind, Refused

Receive = Callable[[], Awaitable[dict[str, Any]]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

OVERRUN_BYTES, OVERRUN_S = 16 << 20, 5.0
"""What of a body that is too long is still taken and thrown away, so that its client reads why."""
LEFT = 499
"""The status in the log of a request whose client left, as web servers have it."""


class Gateway:
    """What both doors lead to.

    Args:
        directory: the deployment's.
        settings: as they are at the start.
        upstreams: the models' processes.
        safety: or None when it is off.
        log: of requests.
        profiles: of the models' training prompts, by model.
        health: the deployment's state and reason, for `/health`.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        upstreams: Upstreams,
        safety: Safety | None,
        log: LogWriter,
        profiles: dict[str, Profile],
        health: Callable[[], tuple[str, str]],
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.log = log
        self._upstreams = upstreams
        self._safety = safety
        self._profiles = profiles
        self._health = health
        self._models = {model.name: model for model in settings.models}

    def app(self) -> Starlette:
        """The routes, without a door."""
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", _Completions(self, "chat"), methods=["POST"]),
                Route("/v1/completions", _Completions(self, "completion"), methods=["POST"]),
                Route("/v1/models", self._list, methods=["GET"]),
                Route("/health", self._say_health, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _no_route},
        )
        app.router.redirect_slashes = False
        return app

    async def _list(self, request: Request) -> Response:
        created = int(self.settings.created)
        data = [
            {"id": name, "object": "model", "created": created, "owned_by": "finetui"}
            for name in self._models
        ]
        return Response(orjson.dumps({"object": "list", "data": data}), media_type="application/json")

    async def _say_health(self, request: Request) -> Response:
        state, reason = self._health()
        content = orjson.dumps({"status": state, "reason": reason})
        return Response(content, 200 if state == "healthy" else 503, media_type="application/json")

    def read(self, kind: Kind, content: bytes, record: Record) -> wire.Wanted:
        """A request for one of the models.

        Raises:
            Refused: it is none.
        """
        # vLLM has the limit from its start, and takes what the context leaves where no number is named.
        said = self.settings.engine != "vllm"
        wanted = wire.read(kind, content, self.settings.limits.max_tokens, said)
        model = self._models.get(wanted.model)
        if model is None:
            names = ", ".join(self._models)
            raise Refused(
                404, "model_not_found", f"There is no model {wanted.model[:100]!r} here: {names}.", "model"
            )
        if kind == "chat" and not model.chat:
            raise Refused(
                400,
                "no_chat_template",
                f"{model.name} has no chat template: ask /v1/completions.",
                "model",
            )
        record.model, record.streamed, record.prompt = model.name, wanted.stream, wanted.asked
        if kind == "chat" and self.settings.keep_texts:
            record.messages = orjson.dumps(wanted.body["messages"]).decode()
        return wanted

    def write_down(self, record: Record) -> None:
        """Have an entry written to the log; whether the prompt is unlike the training data is found out there."""
        profile, prompt = self._profiles.get(record.model), record.prompt
        flags = None if profile is None else lambda: ",".join(profile.flags(prompt))
        self.log.add(record.entry(self.settings.keep_texts), flags)

    async def answer(self, wanted: wire.Wanted, answer: Answer, record: Record) -> None:
        """Answer a request; raises as `relay`."""
        await relay(wanted, self._upstreams, self._safety, answer, record)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "method_not_allowed"
    refused = Refused(error.status_code, code, f"{request.method} {request.url.path[:100]}: {error.detail}.")
    return Response(refused.body(), error.status_code, error.headers, "application/json")


class _Completions:
    """The route of one kind of completion, as an ASGI application: it has to know when its client leaves."""

    def __init__(self, gateway: Gateway, kind: Kind) -> None:
        self._gateway = gateway
        self._kind = kind

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        record = Record(self._kind)
        limits = self._gateway.settings.limits
        answer = Answer(send, record, limits.idle_s)
        abort: Callable[[], None] = scope.get("state", {}).get("abort", lambda: None)
        try:
            content = await read_body(scope, receive, limits.body_bytes, limits.idle_s)
            record.bytes_in, record.began = len(content), time.perf_counter()
            wanted = self._gateway.read(self._kind, content, record)
            await _while_client_stays(self._gateway.answer(wanted, answer, record), receive)
        except Refused as refused:
            record.status, record.error = refused.status, refused.code
            try:
                await answer.refuse(refused)
            except ClientGone:
                abort()
        except ClientGone:
            record.status, record.error = LEFT, "client_left"
            abort()
        except asyncio.CancelledError:  # the server stops, and the grace is over
            record.status, record.error = 503, "stopping"
            with contextlib.suppress(ClientGone):
                await answer.refuse(Refused(503, "stopping", "The gateway is being stopped."))
        except Exception:
            record.status, record.error = 500, "unexpected"
            raise
        finally:
            self._gateway.write_down(record)


async def read_body(scope: dict[str, Any], receive: Receive, most_bytes: int, idle_s: float) -> bytes:
    """A request's body.

    Args:
        scope: of ASGI.
        receive: of ASGI.
        most_bytes: how long it may be.
        idle_s: seconds between two pieces.

    Raises:
        Refused: it is too long, or stops coming.
        ClientGone: the client left.
    """
    content = b""
    while True:
        try:
            async with asyncio.timeout(idle_s):
                message = await receive()
        except TimeoutError as error:
            raise Refused(408, "timeout", "The body of the request stopped coming.") from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        content += bytes(message.get("body", b""))
        if len(content) > most_bytes or _declared(scope) > most_bytes:
            if message.get("more_body"):
                await _throw_away(receive)
            raise Refused(413, "too_large", f"The body has more than {most_bytes} bytes.")
        if not message.get("more_body"):
            return content


def _declared(scope: dict[str, Any]) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


async def _throw_away(receive: Receive) -> None:
    taken = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(OVERRUN_S):
            while taken < OVERRUN_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                if not message.get("more_body"):
                    return


async def _while_client_stays(work: Awaitable[None], receive: Receive) -> None:
    """Do something as long as its client is there.

    Raises:
        ClientGone: it left.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return
        raise ClientGone
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
