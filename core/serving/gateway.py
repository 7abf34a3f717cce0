"""A deployment's gateway: the detached process that keeps a server, and starts it again when it crashes.

    python -P -m core.serving.gateway DIRECTORY

Exit status: 0 stopped; 1 the server crashes again and again; 2 an error that the deployment names; 3 another gateway
has the deployment already.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from core.runs import locks
from core.runs.process import Identity
from core.serving.deployments import record_gateway
from core.serving.status import Status

LOCK_TIMEOUT_S = 10.0
STEADY_S = 60.0
"""A server that lived so long had no reason to fail."""
MOST_CRASHES = 5
LEAVE_S = 2.0

Serve = Callable[[Path, Status, int], int]
"""Serves a deployment until it is stopped: its directory, its status, and a pipe that closes when the keeper is gone.
Returns the exit status."""


def main() -> int:
    """The command line: one argument, the deployment's directory."""
    if len(sys.argv) != 2:
        print("usage: python -P -m core.serving.gateway DIRECTORY", file=sys.stderr)  # noqa: T201
        return 2
    os.umask(0o077)
    faulthandler.enable()  # a crash below Python leaves its trace in gateway.log
    directory = Path(sys.argv[1]).absolute()
    lock = locks.take(directory / "gateway.lock", LOCK_TIMEOUT_S)
    if lock is None:
        print("Another gateway has this deployment already.", file=sys.stderr)  # noqa: T201
        return 3
    with lock:
        record_gateway(directory, Identity.current())
        return keep(directory, serve)


def serve(directory: Path, status: Status, keeper: int) -> int:
    """The real server; imported in the child alone, so that the keeper stays small."""
    from core.serving.server import run

    return run(directory, status, keeper)


class _Keeper:
    """Hands signals on to the server of the moment."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.child = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._come)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _come(self, *_: object) -> None:
        self.asked.set()
        if self.child:
            os.kill(self.child, signal.SIGTERM)


def keep(directory: Path, serving: Serve) -> int:
    """Serve until a stop is asked for; returns the exit status.

    Args:
        directory: the deployment's.
        serving: runs in a child process.
    """
    keeper = _Keeper()
    status = Status(directory)
    crashes = 0
    while not keeper.asked.is_set():
        began = time.monotonic()
        code = _one_server(keeper, directory, status, serving)
        if keeper.asked.is_set() or code in (0, 2):
            return code if code in (0, 2) else 0
        crashes = 1 if time.monotonic() - began >= STEADY_S else crashes + 1
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        print(f"The server ended {how}.", file=sys.stderr, flush=True)  # noqa: T201
        if crashes > MOST_CRASHES:
            status.fail(f"Its server ended {how}, {crashes} times in a row; see gateway.log.")
            return 1
        status.set("unhealthy", f"Its server ended {how} and is started again.")
        keeper.asked.wait(min(2.0 ** (crashes - 1), 30.0))
    return 0


def _one_server(keeper: _Keeper, directory: Path, status: Status, serving: Serve) -> int:
    """Run a server in a child; returns its exit status, negative for a signal."""
    theirs, ours = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os._exit(_child(directory, status, theirs, serving))
    os.close(theirs)
    keeper.child = child
    if keeper.asked.is_set():  # the signal came between the fork and here
        os.kill(child, signal.SIGTERM)
    _, ended = os.waitpid(child, 0)
    keeper.child = 0
    os.close(ours)
    return os.waitstatus_to_exitcode(ended)


def _child(directory: Path, status: Status, pipe: int, serving: Serve) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    code = 1
    try:
        code = serving(directory, status, pipe)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001 - the child must end here, whatever happens, and never return into the keeper
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
