"""Line-JSON over pipes: how the app talks to its helper processes (data worker, chat worker).

Frames, one JSON object a line:

    app -> worker   {"id": 7, "op": "render", ...}      {"id": 8, "op": "cancel", "target": 7}
    worker -> app   {"id": 7, "chunk": ...}*  then  {"id": 7, "result": ...}  or  {"id": 7, "error": {...}}

Requests are served one at a time, in order; `cancel` alone is seen at once. When its standard input closes the
worker gives up what it does and ends, within seconds whatever it does, so it never outlives the app. Its stray
prints go to stderr, which the app keeps in a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from core.errors import FinetuiError

MAX_LINE_BYTES = 64 << 20
LEAVE_S = 5.0
"""A worker whose app has gone ends after this long at the latest."""
CLOSE_S = 2.0
"""How long a closed worker has to leave before it is killed."""

Handler = Callable[..., Any]


class PipeError(FinetuiError):
    """A helper process failed or went away; also carries the errors it reports."""


class Cancelled(Exception):  # noqa: N818 - a signal, not an error
    """Raised in the worker by `Request.check` when the app has given the request up."""


class Request:
    """Handed to every handler: lets a long one find out that nobody waits any more."""

    def __init__(self, identity: int, given_up: Callable[[int], bool]) -> None:
        self._identity = identity
        self._given_up = given_up

    @property
    def cancelled(self) -> bool:
        return self._given_up(self._identity)

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled


class _Inbox:
    """Requests from stdin, read by a thread of its own so that a cancel is seen while a handler works."""

    def __init__(self, stdin: BinaryIO) -> None:
        self.requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._stdin = stdin
        self._cancelled: set[int] = set()
        self._closed = False
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self._stdin:
                frame = orjson.loads(line)
                if frame["op"] == "cancel":
                    self._cancelled.add(frame["target"])
                else:
                    self.requests.put(frame)
        finally:
            self._closed = True
            self.requests.put(None)
        time.sleep(LEAVE_S)  # a daemon thread: not reached when the main thread leaves by itself
        os._exit(1)

    def given_up(self, identity: int) -> bool:
        return self._closed or identity in self._cancelled

    def forget(self, identity: int) -> None:
        self._cancelled.discard(identity)


def serve(handlers: dict[str, Handler]) -> None:
    """Serve requests from stdin until it closes; the worker's main loop.

    Args:
        handlers: op -> function(request, **arguments). It returns a JSON-able result, or is a generator
            whose yields are sent as chunks and whose return value is the result.
    """
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not break the framing
    inbox = _Inbox(sys.stdin.buffer)
    while (frame := inbox.requests.get()) is not None:
        identity = frame.pop("id")
        handler = handlers.get(frame.pop("op"))
        with contextlib.closing(_answers(handler, Request(identity, inbox.given_up), frame)) as answers:
            for answer in answers:
                try:
                    out.write(b'{"id":%d,%b\n' % (identity, answer[1:]))
                except BrokenPipeError:
                    return
        inbox.forget(identity)


def _answers(
    handler: Handler | None, request: Request, arguments: dict[str, Any]
) -> Generator[bytes, None, None]:
    """The encoded answers to one request, ids left out; whatever goes wrong becomes the last of them."""
    if handler is None:
        yield _error("The helper process does not know this request.")
        return
    try:
        request.check()
        result = handler(request, **arguments)
        if isinstance(result, Generator):
            result = yield from _chunks(result, request)
        yield _encode({"result": result})
    except Cancelled:
        yield _error("Cancelled.")
    except FinetuiError as error:
        yield _error(error.what, error.cause, error.next_step)
    except Exception as error:  # noqa: BLE001 - the app must live on; it shows this as the error it is
        traceback.print_exc()
        yield _error(f"{type(error).__name__}: {error}", "An unexpected error in the helper process.")


def _chunks(generator: Generator[Any, None, Any], request: Request) -> Generator[bytes, None, Any]:
    with contextlib.closing(generator):
        while True:
            try:
                chunk = next(generator)
            except StopIteration as end:
                return end.value
            yield _encode({"chunk": chunk})
            request.check()


def _encode(answer: dict[str, Any]) -> bytes:
    """One answer as JSON.

    Raises:
        TypeError: a handler answered with what JSON has no form for, or with too much.
    """
    line = orjson.dumps(answer)
    if len(line) > MAX_LINE_BYTES - 64:
        raise TypeError(f"an answer of {len(line)} bytes is too long")
    return line


def _error(what: str, cause: str = "", next_step: str = "") -> bytes:
    """An error's three parts as JSON; a file name in it may be no Unicode."""
    parts = {"what": what, "cause": cause, "next_step": next_step}
    return _encode({"error": {k: v.encode("utf-8", "replace").decode() for k, v in parts.items()}})


class PipeClient:
    """The app's end: starts `python -P -m <module>` on first use and multiplexes requests over it.

    Args:
        module: the worker's module.
        log: file for the worker's stderr.
    """

    def __init__(self, module: str, log: Path) -> None:
        self.module = module
        self.log = log
        self._worker: _Worker | None = None
        self._next = 0
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

    async def stream(self, op: str, **arguments: Any) -> AsyncGenerator[tuple[str, Any], None]:
        """("chunk", value) as they come, then ("result", value); leaving the loop early cancels it.

        Raises:
            PipeError: as in `call`.
        """
        async with contextlib.aclosing(self._frames(op, arguments)) as frames:
            async for frame in frames:
                yield frame

    async def _frames(self, op: str, arguments: dict[str, Any]) -> AsyncGenerator[tuple[str, Any], None]:
        worker = await self._start()
        self._next += 1
        identity = self._next
        answers = worker.waiting[identity] = asyncio.Queue()
        complete = False
        try:
            await worker.send({"id": identity, "op": op, **arguments})
            while True:
                frame = await answers.get()
                if "chunk" in frame:
                    yield "chunk", frame["chunk"]
                    continue
                complete = True
                if "error" in frame:
                    if worker.closed:
                        raise asyncio.CancelledError  # given up by this very process: not an error to show
                    raise PipeError(**frame["error"])
                yield "result", frame["result"]
                return
        finally:
            del worker.waiting[identity]
            if not complete:
                with contextlib.suppress(PipeError):  # a worker that is gone needs no cancel
                    await worker.send({"id": 0, "op": "cancel", "target": identity})

    async def _start(self) -> _Worker:
        async with self._starting:
            if self._worker is None or self._worker.gone:
                self._worker = await _Worker.start(self.module, self.log)
            return self._worker

    async def close(self) -> None:
        """End the worker: close its input, then insist. What waits for it ends as cancelled.

        A later request starts another.
        """
        async with self._starting:
            worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()


class _Worker:
    """One helper process and the requests that wait for its answers."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.waiting: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self.gone = False
        self.closed = False
        self._process = process
        self._stdin = process.stdin
        self._log = log
        self._reader = asyncio.create_task(self._read(process.stdout))

    @classmethod
    async def start(cls, module: str, log: Path) -> _Worker:
        """Start `python -P -m <module>`.

        Raises:
            PipeError: the log can't be written, or no process started.
        """
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as errors:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", module,
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                    limit=MAX_LINE_BYTES,
                )  # fmt: skip
        except OSError as error:
            raise PipeError(
                "A helper process can't be started.",
                str(error),
                "Free what is missing (disk, processes, memory), then try again.",
            ) from error
        return cls(process, log)

    async def send(self, frame: dict[str, Any]) -> None:
        """Write one frame.

        Raises:
            PipeError: the process is gone, or the frame can't be written as JSON.
        """
        try:
            line = orjson.dumps(frame) + b"\n"
        except TypeError as error:  # a file name that is no Unicode
            raise PipeError("This can't be sent to the helper process.", str(error)) from error
        if self.gone:
            raise self._ended()
        try:
            self._stdin.write(line)
            await self._stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._ended() from error

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        try:
            while line := await stdout.readline():
                frame = orjson.loads(line)
                answers = self.waiting.get(frame["id"])
                if answers is not None:
                    answers.put_nowait(frame)
        except (ValueError, TypeError, KeyError):  # not a frame: nothing it says can be trusted any more
            self._kill()
        self.gone = True
        for answers in self.waiting.values():
            answers.put_nowait({"error": self._ended().as_dict()})
        await self._process.wait()

    def _ended(self) -> PipeError:
        return PipeError(
            "The helper process ended.",
            f"Its last words are in {self._log}.",
            "Try again: it is started anew.",
        )

    async def close(self) -> None:
        """Close its input, then insist; returns when the process is gone."""
        self.closed = True
        self._stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._reader), CLOSE_S)
        except TimeoutError:
            self._kill()
            await self._reader

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just gone by itself
            self._process.kill()
