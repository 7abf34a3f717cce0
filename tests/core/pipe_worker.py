"""A worker with every habit a helper process may have; started by test_pipes as `python -m tests.core.pipe_worker`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from core import pipes
from core.errors import FinetuiError


def echo(request: pipes.Request, value: Any = None) -> Any:
    return value


def count(request: pipes.Request, to: int) -> Generator[int, None, str]:
    yield from range(to)
    return "counted"


def endless(request: pipes.Request, trace: str) -> Generator[int, None, None]:
    """Counts for ever, checking for itself; says in a file how it ended."""
    try:
        number = 0
        while True:
            request.check()
            yield number
            number += 1
            time.sleep(0.002)
    except pipes.Cancelled:
        Path(trace).write_text("cancelled")
        raise
    except GeneratorExit:
        Path(trace).write_text("closed")
        raise


def careless(request: pipes.Request, trace: str) -> Generator[int, None, None]:
    """Never checks; its last words show that it was closed."""
    try:
        while True:
            yield 0
    finally:
        Path(trace).write_text("closed")


def wait_for(request: pipes.Request, file: str) -> str:
    while not Path(file).exists():
        request.check()
        time.sleep(0.005)
    return "there"


def until_given_up(request: pipes.Request, target: int) -> str:
    """Busy until the app has given up another request, the one that waits behind this one."""
    while not request._given_up(target):
        request.check()
        time.sleep(0.002)
    return "given up"


def deaf(request: pipes.Request) -> Generator[str, None, None]:
    yield "I hear nothing from now on"
    while True:
        time.sleep(0.01)


def told(request: pipes.Request) -> None:
    raise FinetuiError("What went wrong.", "Why \udcff it did.", "What to do.")


def bug(request: pipes.Request) -> None:
    raise ZeroDivisionError("oh")


def odd(request: pipes.Request, what: str) -> Any:
    return {
        "object": object(),
        "surrogate": "\udcff",
        "huge": "x" * pipes.MAX_LINE_BYTES,
        "nan": float("nan"),
    }[what]


def chatter(request: pipes.Request) -> Generator[str, None, str]:
    """Prints by every way there is, between its answers."""
    print('{"id": 1, "result": "forged"}')  # noqa: T201
    yield "a"
    os.write(1, b'{"id": 1, "chunk": "forged"}\n')
    subprocess.run(["echo", '{"id": 1, "chunk": "forged"}'], check=True)
    sys.stdout.write("no newline")
    sys.stdout.flush()
    yield "b"
    return "done"


def die(request: pipes.Request) -> Generator[str, None, None]:
    yield "last words"
    os._exit(7)


def pid(request: pipes.Request) -> int:
    return os.getpid()


HANDLERS: dict[str, pipes.Handler] = {
    "echo": echo, "count": count, "endless": endless, "careless": careless, "wait_for": wait_for,
    "until_given_up": until_given_up, "deaf": deaf,
    "told": told, "bug": bug, "odd": odd, "chatter": chatter, "die": die, "pid": pid,
}  # fmt: skip

if __name__ == "__main__":
    if os.environ.get("PIPE_WORKER_SHOUTS"):
        print("before the first frame", flush=True)  # noqa: T201
    pipes.serve(HANDLERS)
