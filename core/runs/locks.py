"""File locks that the kernel releases when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from weakref import WeakSet

POLL_S = 0.05


class Lock:
    """An exclusive `flock` on a file. Forked children let go of it, so it lives and dies with one process."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.path = path
        self._descriptor = descriptor
        _HELD.add(self)

    def write(self, content: bytes) -> None:
        """Replace the lock file's content: a note for those who wait."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_HELD: WeakSet[Lock] = WeakSet()


def _let_go_in_child() -> None:
    # A child's copy of the descriptor would keep the lock after its parent's death.
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)


def take(path: Path, timeout_s: float = 0.0) -> Lock | None:
    """The lock on a file (made with mode 0600 if missing), or None when another holds it for `timeout_s`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(descriptor)
                return None
            time.sleep(POLL_S)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return Lock(descriptor, path)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock. Looking takes a shared lock for an instant, so takers retry."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
