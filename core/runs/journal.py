"""A run's journal: one JSON line an event, one writer, any number of readers.

The writer is the run's worker (or, for a run without one, whoever holds its `run.lock`). A line is written with
one `write`, so a crash can tear the last line only; readers pass over it. A full disk doesn't stop the training:
events wait in memory until they can be written.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from pathlib import Path
from types import TracebackType

from core.events import Checkpointed, Event, Failed, Finished, Paused, Status, Step, Stopped, decode, encode

BACKLOG_EVENTS = 20_000
READ_BYTES = 1 << 20

DURABLE = (Checkpointed, Paused, Stopped, Finished, Failed)
"""Events after which the journal is fsynced: what a power cut must not take back."""

WAITABLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE, errno.ETIMEDOUT}
)
"""What a disk says when it is full or away: worth waiting for. Any other error is ours and is raised."""


class Journal:
    """The writer.

    Args:
        path: the journal; made with mode 0600 when it is missing. A torn last line of an earlier writer is
            closed, so that new events start on a line of their own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._end = os.fstat(self._descriptor).st_size
        self._torn = self._end > 0 and os.pread(self._descriptor, 1, self._end - 1) != b"\n"
        self._backlog: deque[Event] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Events that could not be written yet."""
        return len(self._backlog)

    def append(self, event: Event) -> bool:
        """Write an event and whatever waits before it; from any thread.

        Returns:
            Whether everything is written. If not (disk full, disk away), the event is kept and tried again
            with the next one.
        """
        with self._lock:
            self._backlog.append(event)
            if len(self._backlog) > BACKLOG_EVENTS:
                self._thin()
            return self._drain()

    def flush(self) -> bool:
        """Try once more to write what waits, and fsync; returns whether everything is on the disk."""
        with self._lock:
            return self._drain() and self._sync()

    def close(self) -> None:
        """Flush and let go of the file."""
        self.flush()
        os.close(self._descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drain(self) -> bool:
        durable = False
        while self._backlog:
            if not self._write(encode(self._backlog[0])):
                return False
            durable = isinstance(self._backlog.popleft(), DURABLE) or durable
        return self._sync() if durable else True

    def _write(self, line: bytes) -> bool:
        """One line, whole or not at all."""
        content = b"\n" + line if self._torn else line
        done = 0
        try:
            while done < len(content):
                done += os.write(self._descriptor, content[done:])
        except OSError as error:
            self._take_back(done)
            if error.errno not in WAITABLE:
                raise
            return False
        self._torn = False
        self._end += len(content)
        return True

    def _take_back(self, done: int) -> None:
        """Remove the part of a line that a failed write left, or remember that it is there."""
        if done == 0:
            return
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError:
            self._torn = True
            self._end += done

    def _sync(self) -> bool:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in WAITABLE:
                raise
            return False
        return True

    def _thin(self) -> None:
        """Make room in a full backlog: progress lines go first, then every second step; nothing else ever."""
        kept = [event for event in self._backlog if not isinstance(event, Status)]
        if len(kept) > BACKLOG_EVENTS * 3 // 4:
            steps = 0
            thinned: list[Event] = []
            for event in kept:
                steps += isinstance(event, Step)
                if not isinstance(event, Step) or steps % 2:
                    thinned.append(event)
            kept = thinned
        self._backlog = deque(kept)


class JournalReader:
    """Follows a journal: each `read` gives what is new.

    Args:
        path: the journal; it may not exist yet.
        offset: bytes already seen by an earlier reader, the end of a whole line.
        inode: the file those bytes were seen in (0: not known).

    Attributes:
        offset: bytes consumed, always the end of a whole line.
        skipped: lines passed over because they are not valid events (corrupt, torn).
        restarted: the last `read` found another or a shorter file and began anew: forget what was read before.
    """

    def __init__(self, path: Path, offset: int = 0, inode: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.inode = inode
        self.skipped = 0
        self.restarted = False

    def read(self, limit_bytes: int | None = None) -> list[Event]:
        """The events of the lines completed since the last call; an empty list when there is nothing new.

        Args:
            limit_bytes: stop after about so many bytes (at least one whole line): for reading long journals
                piece by piece. Call again until the list is empty.
        """
        self.restarted = False
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return []
        try:
            status = os.fstat(descriptor)
            if status.st_size < self.offset or (self.inode and self.inode != status.st_ino):
                self.offset, self.skipped, self.restarted = 0, 0, True
            self.inode = status.st_ino
            return self._events(_whole_lines(descriptor, self.offset, status.st_size, limit_bytes))
        finally:
            os.close(descriptor)

    def _events(self, content: bytes) -> list[Event]:
        self.offset += len(content)
        events = []
        for line in content.split(b"\n"):
            if not line:
                continue
            try:
                event = decode(line)
            except (ValueError, TypeError, AttributeError):  # the latter two: JSON of another shape
                self.skipped += 1
                continue
            if event is not None:
                events.append(event)
        return events


def _whole_lines(descriptor: int, start: int, size: int, limit_bytes: int | None) -> bytes:
    """The bytes from `start` to the last newline before `size`, read up to the piece that reaches the limit."""
    parts: list[bytes] = []
    last = -1  # index of the last part that holds a newline
    total = 0
    while start + total < size:
        part = os.pread(descriptor, min(READ_BYTES, size - start - total), start + total)
        if not part:
            break
        parts.append(part)
        total += len(part)
        if b"\n" in part:
            last = len(parts) - 1
            if limit_bytes is not None and total >= limit_bytes:
                break
    if last < 0:
        return b""
    whole = b"".join(parts[: last + 1])
    return whole[: whole.rindex(b"\n") + 1]
