"""Line-JSON over pipes: how the app talks to its helper processes (data worker, chat worker).

Frames, one JSON object a line:

    app -> worker   {"id": 7, "op": "render", ...}      {"id": 8, "op": "cancel", "target": 7}
    worker -> app   {"id": 7, "chunk": ...}*  then  {"id": 7, "result": ...}  or  {"id": 7, "error": {...}}

Requests are served one at a time, in order; `cancel` alone is seen at once. The worker ends when its standard
input closes, so it never outlives the app. Its stray prints go to stderr, which the app keeps in a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from core.errors import FinetuiError

MAX_LINE_BYTES = 64 << 20

Handler = Callable[..., Any]


class PipeError(FinetuiError):
    """A helper process failed or went away; also carries the errors it reports."""


class Cancelled(Exception):  # noqa: N818 - a signal, not an error
    """Raised in the worker by `Request.check` when the app has given the request up."""


class Request:
    """Handed to every handler: lets a long one find out that nobody waits any more."""

    def __init__(self, identity: int, cancelled: set[int]) -> None:
        self._identity = identity
        self._cancelled = cancelled

    @property
    def cancelled(self) -> bool:
        return self._identity in self._cancelled

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled


def serve(handlers: dict[str, Handler]) -> None:
    """Serve requests from stdin until it closes; the worker's main loop.

    Args:
        handlers: op -> function(request, **arguments). It returns a JSON-able result, or is a generator
            whose yields are sent as chunks and whose return value is the result.
    """
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not break the framing
    cancelled: set[int] = set()
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=1024)
    threading.Thread(target=_read_requests, args=(sys.stdin.buffer, requests, cancelled), daemon=True).start()
    while (frame := requests.get()) is not None:
        identity = frame.pop("id")
        handler = handlers.get(frame.pop("op"))
        for answer in _answers(handler, Request(identity, cancelled), frame):
            try:
                out.write(orjson.dumps({"id": identity, **answer}) + b"\n")
            except BrokenPipeError:
                return
        cancelled.discard(identity)


def _read_requests(
    stdin: BinaryIO, requests: queue.Queue[dict[str, Any] | None], cancelled: set[int]
) -> None:
    for line in stdin:
        frame = orjson.loads(line)
        if frame["op"] == "cancel":
            cancelled.add(frame["target"])
        else:
            requests.put(frame)
    requests.put(None)


def _answers(
    handler: Handler | None, request: Request, arguments: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if handler is None:
        yield {"error": {"what": "The helper process does not know this request."}}
        return
    try:
        result = handler(request, **arguments)
        if isinstance(result, Iterator):
            result = yield from _chunks(result)
        yield {"result": result}
    except Cancelled:
        yield {"error": {"what": "Cancelled."}}
    except FinetuiError as error:
        yield {"error": error.as_dict()}
    except Exception as error:  # noqa: BLE001 - the app must live on; it shows this as the error it is
        import traceback

        traceback.print_exc()
        yield {
            "error": {
                "what": f"{type(error).__name__}: {error}",
                "cause": "An unexpected error in the helper process.",
            }
        }


def _chunks(generator: Iterator[Any]) -> Generator[dict[str, Any], None, Any]:
    while True:
        try:
            yield {"chunk": next(generator)}
        except StopIteration as end:
            return end.value


class PipeClient:
    """The app's end: starts `python -P -m <module>` on first use and multiplexes requests over it.

    Args:
        module: the worker's module.
        log: file for the worker's stderr.
    """

    def __init__(self, module: str, log: Path) -> None:
        self.module = module
        self.log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._next = 0
        self._waiting: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._starting = asyncio.Lock()

    async def call(self, op: str, **arguments: Any) -> Any:
        """The result of one request; chunks are dropped.

        Raises:
            PipeError: the worker reported an error, or ended.
        """
        result = None
        async for kind, value in self._frames(op, arguments):
            if kind == "result":
                result = value
        return result

    async def stream(self, op: str, **arguments: Any) -> AsyncIterator[tuple[str, Any]]:
        """("chunk", value) as they come, then ("result", value); leaving the loop early cancels it."""
        frames = self._frames(op, arguments)
        try:
            async for frame in frames:
                yield frame
        finally:
            await frames.aclose()

    async def _frames(self, op: str, arguments: dict[str, Any]) -> Any:
        process = await self._start()
        self._next += 1
        identity = self._next
        answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._waiting[identity] = answers
        complete = False
        try:
            await self._send(process, {"id": identity, "op": op, **arguments})
            while True:
                frame = await answers.get()
                if "chunk" in frame:
                    yield "chunk", frame["chunk"]
                    continue
                complete = True
                if "error" in frame:
                    raise PipeError(**frame["error"])
                yield "result", frame["result"]
                return
        finally:
            self._waiting.pop(identity, None)
            if not complete:
                with contextlib.suppress(OSError):
                    await self._send(process, {"id": 0, "op": "cancel", "target": identity})

    async def _send(self, process: asyncio.subprocess.Process, frame: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(orjson.dumps(frame) + b"\n")
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._gone() from error

    async def _start(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                with self.log.open("ab") as log:
                    self._process = await asyncio.create_subprocess_exec(
                        sys.executable, "-P", "-m", self.module,
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                        limit=MAX_LINE_BYTES,
                    )  # fmt: skip
                self._reader = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            frame = orjson.loads(line)
            answers = self._waiting.get(frame["id"])
            if answers is not None:
                answers.put_nowait(frame)
        await process.wait()
        for answers in self._waiting.values():
            answers.put_nowait({"error": self._gone().as_dict()})

    def _gone(self) -> PipeError:
        return PipeError(
            "The helper process ended.",
            f"Its last words are in {self.log}.",
            "Try again: it is started anew.",
        )

    async def close(self) -> None:
        """End the worker: close its input, then insist."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 2.0)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader
