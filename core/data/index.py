"""Where each line of a file starts, found by reading the file once in chunks; lines are then read by `pread`.

No mmap is held, so a file cut short underneath gives shorter lines and no crash. Memory: 8 bytes a line and
one chunk.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from core.data.files import MAX_LINE_BYTES, file_error, open_file

CHUNK_BYTES = 1 << 20
_FIRST_CHUNK_BYTES = 64 << 10
_HEAD_BYTES = 4096


class LineIndex:
    """The lines of a file, by number from 0. One thread may scan while another reads.

    Args:
        path: the file.

    Raises:
        DataError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complete = False
        self._file = -1
        self._open()

    def _open(self) -> None:
        try:
            file = open_file(self.path)
            os.pread(file, 1, 0)  # a folder opens, but can't be read
        except OSError as error:
            raise file_error(self.path, error) from error
        old, self._file = self._file, file
        if old >= 0:
            os.close(old)
        self._starts = array("q", [0])
        self._scanned = 0
        self._modified_ns = os.fstat(file).st_mtime_ns
        self._head = os.pread(file, _HEAD_BYTES, 0)
        self.complete = False

    def scan(
        self,
        on_progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Index the file from where the last scan ended to its present end.

        Args:
            on_progress: called after each chunk with (bytes scanned, bytes in all).
            cancelled: asked before each chunk; a cancelled scan can be taken up again.
        """
        import numpy as np

        self._modified_ns = os.fstat(self._file).st_mtime_ns
        chunk = bytearray(CHUNK_BYTES)
        codes = np.frombuffer(chunk, dtype=np.uint8)
        while not (cancelled and cancelled()):
            wanted = CHUNK_BYTES if self._scanned else _FIRST_CHUNK_BYTES  # first lines at once
            count = self._read_into(memoryview(chunk)[:wanted])
            if count == 0:
                self.complete = True
                return
            ends = np.flatnonzero(codes[:count] == 10)
            self._starts.frombytes((ends + (self._scanned + 1)).astype(np.int64).tobytes())
            self._scanned += count
            if on_progress:
                on_progress(self._scanned, max(self.size, self._scanned))

    def _read_into(self, view: memoryview) -> int:
        try:
            return os.preadv(self._file, [view], self._scanned)
        except OSError as error:
            raise file_error(self.path, error) from error

    @property
    def size(self) -> int:
        """Bytes the file has now."""
        return os.fstat(self._file).st_size

    def __len__(self) -> int:
        """Lines known so far; one without a newline counts once the scan has reached the end."""
        open_line = self.complete and self._scanned > self._starts[-1]
        return len(self._starts) - 1 + open_line

    def span(self, number: int) -> tuple[int, int]:
        """(first byte, byte after the last) of a line, its line end included.

        Raises:
            IndexError: no such line is known yet.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        after = number + 1
        return self._starts[number], self._starts[after] if after < len(self._starts) else self._scanned

    def line(self, number: int, limit: int = MAX_LINE_BYTES) -> bytes:
        """A line without its line end, at most `limit` bytes of it; what is left of it in a file cut short.

        Raises:
            IndexError: no such line is known yet.
            DataError: the file can't be read any more.
        """
        return read_span(self._file, self.path, *self.span(number), limit)

    def refresh(self) -> Literal["same", "grown", "replaced"]:
        """What has become of the file. Call `scan` next unless it is the same.

        Appended lines keep the index; a file that was replaced, cut or rewritten is opened and indexed anew.

        Raises:
            DataError: the file is gone.
        """
        try:
            there = self.path.stat()
        except OSError as error:
            raise file_error(self.path, error) from error
        ours = os.fstat(self._file)
        same_file = (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)
        if same_file and there.st_size == self._scanned and there.st_mtime_ns == self._modified_ns:
            return "same"
        head = os.pread(self._file, len(self._head), 0)
        if same_file and there.st_size > self._scanned and head == self._head:
            self.complete = False
            return "grown"
        self._open()
        return "replaced"

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_span(file: int, path: Path, start: int, end: int, limit: int = MAX_LINE_BYTES) -> bytes:
    """Bytes `start` to `end` of an open file, at most `limit`, without a line end; fewer at its end."""
    pieces = []
    wanted = min(end - start, limit)
    try:
        while wanted > 0 and (piece := os.pread(file, wanted, start)):
            pieces.append(piece)
            start += len(piece)
            wanted -= len(piece)
    except OSError as error:
        raise file_error(path, error) from error
    return b"".join(pieces).removesuffix(b"\n").removesuffix(b"\r")
