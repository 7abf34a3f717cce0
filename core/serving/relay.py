"""One request's way: checked, handed to its model, and the reply back, piece by piece.

The model is always asked for a stream, whatever the client wants: so a client that leaves ends the work in both
cases, and the time to the first token is known in both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from core.serving.request_log import MOST_TEXT, Entry
from core.serving.safety import Blocked, Gate, Safety, SafetyError
from core.serving.upstreams import Upstreams
from core.serving.wire import Refused, Shape, StopTexts, Wanted, failed_stream

PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
MOST_EVENT_BYTES = 1 << 20
FILTERED = "content_filter"

Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClientGone(Exception):  # noqa: N818 - how a request may end
    """The client takes nothing any more."""


@dataclass
class Record:
    """What becomes of a request, for the log; times are those of time.perf_counter."""

    kind: str
    at: float = field(default_factory=time.time)
    began: float = field(default_factory=time.perf_counter)
    model: str = ""
    status: int = 200
    error: str = ""
    blocked: str = ""
    category: str = ""
    usage: dict[str, int] | None = None
    pieces: int = 0
    passed: float = 0.0
    first: float = 0.0
    last: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    streamed: bool = False
    prompt: str = ""
    messages: str = ""
    completion: list[str] = field(default_factory=list)

    def tokens(self) -> dict[str, int]:
        """The model's own counts; of a reply that broke off the pieces that came."""
        return self.usage or {
            "prompt_tokens": 0,
            "completion_tokens": self.pieces,
            "total_tokens": self.pieces,
        }

    def entry(self, keep_texts: bool) -> Entry:
        """For the log."""
        counts = self.tokens() if self.usage or self.pieces else {}
        written = counts.get("completion_tokens", 0)
        return Entry(
            at=self.at,
            model=self.model,
            kind=self.kind,
            status=self.status,
            error=self.error,
            blocked=self.blocked,
            category=self.category,
            prompt_tokens=self.usage["prompt_tokens"] if self.usage else None,
            completion_tokens=written if counts else None,
            first_token_ms=(self.passed - self.began) * 1000 if self.passed else None,
            per_token_ms=(self.last - self.first) * 1000 / (written - 1) if written > 1 else None,
            duration_ms=(time.perf_counter() - self.began) * 1000,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            streamed=self.streamed,
            prompt=self.prompt[:MOST_TEXT] if keep_texts else None,
            completion="".join(self.completion)[:MOST_TEXT] if keep_texts else None,
            messages=self.messages if keep_texts and 0 < len(self.messages) <= MOST_TEXT else None,
        )


class Answer:
    """The HTTP response, begun as late as can be: until then an error has a status of its own.

    Args:
        send: of ASGI.
        record: counts bytes.
        idle_s: seconds that the client has to take a piece.
    """

    def __init__(self, send: Send, record: Record, idle_s: float) -> None:
        self._send = send
        self._record = record
        self._idle_s = idle_s
        self.begun = False

    async def begin(self, status: int, kind: bytes, more: list[tuple[bytes, bytes]]) -> None:
        """Status and headers."""
        self.begun = True
        headers = [(b"content-type", kind), (b"cache-control", b"no-store"), *more]
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def stream(self, content: bytes, end: bool = False) -> None:
        """A piece of a stream of events."""
        if not self.begun:
            await self.begin(200, b"text/event-stream; charset=utf-8", [])
        await self.piece(content, end)

    async def piece(self, content: bytes, end: bool) -> None:
        """A piece of the body."""
        self._record.bytes_out += len(content)
        await self._put({"type": "http.response.body", "body": content, "more_body": not end})

    async def whole(self, status: int, content: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
        """All of it."""
        length = (b"content-length", str(len(content)).encode())
        await self.begin(status, b"application/json", [length, *(more or [])])
        await self.piece(content, end=True)

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._idle_s):
                await self._send(message)
        except TimeoutError as error:
            raise ClientGone from error

    async def refuse(self, refused: Refused) -> None:
        """An error, as status or, in a stream that has begun, as its last event."""
        if self.begun:
            await self.piece(failed_stream(refused), end=True)
        else:
            await self.whole(refused.status, refused.body(), refused.headers())


async def relay(
    wanted: Wanted, upstreams: Upstreams, safety: Safety | None, answer: Answer, record: Record
) -> None:
    """Answer a request.

    Raises:
        Refused: it can't be answered, or not to its end.
        ClientGone: nobody takes the answer.
    """
    try:
        if safety is not None:
            await safety.check(wanted.texts)
    except Blocked as blocked:
        record.blocked, record.category = "prompt", blocked.category
        raise Refused(400, FILTERED, "The prompt was blocked by this deployment's safety.") from blocked
    except SafetyError as error:
        raise _unsafe(error) from error
    async with upstreams.turn(wanted.model) as (client, name):
        asked = {"model": name, "stream": True, "stream_options": {"include_usage": True}}
        body = orjson.dumps({**wanted.body, **asked})
        headers = {"content-type": "application/json"}
        try:
            async with client.stream("POST", PATHS[wanted.kind], content=body, headers=headers) as response:
                if response.status_code != 200:
                    raise _refused_by_model(response.status_code, await response.aread())
                await _Reply(wanted, safety, answer, record).run(response)
        except httpx.TimeoutException as error:
            raise Refused(504, "model_silent", "The model has said nothing for too long.") from error
        except httpx.HTTPError as error:
            raise Refused(
                502, "model_failed", "The model's process ended in the middle.", retry_after=2
            ) from error


def _unsafe(error: SafetyError) -> Refused:
    return Refused(503, "safety_unavailable", error.what, retry_after=10)


def _refused_by_model(status: int, content: bytes) -> Refused:
    try:
        said = orjson.loads(content)
        detail = said.get("detail") or said.get("error", said).get("message")  # of transformers, of vLLM
    except (orjson.JSONDecodeError, AttributeError):
        detail = ""
    if 400 <= status < 500:
        return Refused(400, "invalid_request", str(detail or "The model refuses the request.")[:500])
    return Refused(502, "model_failed", "The model failed on the request.")


class _Reply:
    """One reply, from the model's events to the client's."""

    def __init__(self, wanted: Wanted, safety: Safety | None, answer: Answer, record: Record) -> None:
        self._wanted = wanted
        self._shape = Shape(wanted)
        self._gate: Gate | None = safety.gate() if safety is not None else None
        self._stops = StopTexts(wanted.stops)
        self._answer = answer
        self._record = record
        self._finish = "stop"
        self._text: list[str] = []

    async def run(self, response: httpx.Response) -> None:
        try:
            async for payloads in _events(response):
                await self._give("".join([self._read(payload) for payload in payloads]))
            await self._give(self._stops.end(), end=True)
        except Blocked as blocked:
            self._record.blocked, self._record.category = "completion", blocked.category
            self._finish = FILTERED
        except SafetyError as error:
            raise _unsafe(error) from error
        await self._end()

    def _read(self, payload: bytes) -> str:
        """The text of an event, as far as it is no part of a stop text."""
        try:
            event = orjson.loads(payload)
            choice = event["choices"][0] if event["choices"] else {}
            text = choice.get("text") or choice.get("delta", {}).get("content") or ""
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Refused(502, "model_failed", "The model failed in the middle of its reply.") from error
        if choice.get("finish_reason"):
            self._finish = str(choice["finish_reason"])
        if event.get("usage"):
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            self._record.usage = {name: int(event["usage"][name]) for name in names}
        if text:
            now = time.perf_counter()
            self._record.pieces += 1
            self._record.first = self._record.first or now
            self._record.last = now
        return self._stops.feed(text)

    async def _give(self, text: str, end: bool = False) -> None:
        """Let the client have what may pass."""
        if self._gate is not None:
            text = await self._gate.feed(text) if text else ""
            if end:
                text += await self._gate.end()
        if not text:
            return
        self._record.completion.append(text)
        self._text.append(text)
        first = not self._record.passed
        self._record.passed = self._record.passed or time.perf_counter()
        if self._wanted.stream:
            await self._answer.stream((self._shape.first() if first else b"") + self._shape.piece(text))

    async def _end(self) -> None:
        finish = "stop" if self._stops.stopped and self._finish != FILTERED else self._finish
        usage = self._record.tokens()
        if self._wanted.stream:
            begin = b"" if self._record.passed else self._shape.first()
            await self._answer.stream(begin + self._shape.last(finish, usage), end=True)
        else:
            await self._answer.whole(200, self._shape.whole("".join(self._text), finish, usage))


async def _events(response: httpx.Response) -> AsyncIterator[list[bytes]]:
    """The payloads of a stream of events, those that came together in one list."""
    buffer = b""
    async for data in response.aiter_bytes():
        *whole, buffer = (buffer + data).split(b"\n\n")
        if len(buffer) > MOST_EVENT_BYTES:
            raise Refused(502, "model_failed", "The model's process sends no events.")
        payloads = [event[6:] for event in whole if event.startswith(b"data: ") and event != b"data: [DONE]"]
        if payloads:
            yield payloads
