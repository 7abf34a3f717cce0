"""Where each row of a file starts and ends, found by reading the file once in chunks; rows are then read by `pread`.

No mmap is held, so a file cut short underneath gives shorter rows and no crash. Memory: 8 bytes a line (24 a row
in JSON arrays and CSV) and one chunk.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.data.files import MAX_LINE_BYTES, file_error, open_file
from core.data.formats import Format, format_of
from core.data.problems import DataError, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK_BYTES = 1 << 20
_FIRST_CHUNK_BYTES = 64 << 10
_HEAD_BYTES = 4096

Progress = Callable[[int, int], None]


class RowIndex(ABC):
    """The rows of a file, by number from 0. One thread may scan while another reads.

    Args:
        path: the file.
        format: what it holds.

    Raises:
        DataError: it can't be opened.
    """

    def __init__(self, path: Path, format: Format) -> None:
        self.path = path
        self.format = format
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
        self._scanned = 0
        self._modified_ns = os.fstat(file).st_mtime_ns
        self._head = os.pread(file, _HEAD_BYTES, 0)
        self.complete = False
        self._forget()

    @abstractmethod
    def _forget(self) -> None:
        """Start anew: no row is known."""

    @abstractmethod
    def _take(self, chunk: memoryview) -> None:
        """Find the rows in the bytes that follow those scanned."""

    @abstractmethod
    def _finish(self) -> None:
        """The end of the file is reached."""

    @abstractmethod
    def __len__(self) -> int:
        """Rows known so far; an unfinished last one counts once the scan has reached the end."""

    @abstractmethod
    def _span(self, number: int) -> tuple[int, int]:
        """(first byte, byte after the last) of a known row."""

    @abstractmethod
    def _bounds(self) -> array[int]:
        """Where each known row begins, and where the last one ends."""

    @abstractmethod
    def _line(self, number: int) -> int:
        """The line a known row starts in, from 1."""

    def scan(self, on_progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> None:
        """Index the file from where the last scan ended to its present end.

        Args:
            on_progress: called after each chunk with (bytes scanned, bytes in all).
            cancelled: asked before each chunk; a cancelled scan can be taken up again.
        """
        self._modified_ns = os.fstat(self._file).st_mtime_ns
        chunk = bytearray(CHUNK_BYTES)
        while not (cancelled and cancelled()):
            wanted = CHUNK_BYTES if self._scanned else _FIRST_CHUNK_BYTES  # first rows at once
            view = memoryview(chunk)[:wanted]
            count = self._read_into(view)
            if count == 0:
                self._finish()
                self.complete = True
                return
            self._take(view[:count])
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

    def span(self, number: int) -> tuple[int, int]:
        """(first byte, byte after the last) of a row, its line end included.

        Raises:
            IndexError: no such row is known yet.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._span(number)

    def line_number(self, number: int) -> int:
        """The line a row starts in, from 1.

        Raises:
            IndexError: no such row is known yet.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._line(number)

    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each row, in order."""
        import numpy as np

        return np.diff(np.array(self._bounds()))[: len(self)]

    def raw(self, number: int, limit: int = MAX_LINE_BYTES) -> bytes:
        """A row without its line end, at most `limit` bytes of it; what is left of it in a file cut short.

        Raises:
            IndexError: no such row is known yet.
            DataError: the file can't be read any more.
        """
        return read_span(self._file, self.path, *self.span(number), limit)

    def refresh(self) -> Literal["same", "grown", "replaced"]:
        """What has become of the file. Call `scan` next unless it is the same.

        Appended rows keep the index; a file that was replaced, cut or rewritten is opened and indexed anew.

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
        if same_file and there.st_size > self._scanned and head == self._head and self._may_grow():
            self.complete = False
            return "grown"
        self._open()
        return "replaced"

    def _may_grow(self) -> bool:
        """Bytes that are appended leave the known rows as they are."""
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class LineIndex(RowIndex):
    """Every line is a row, blank ones too: the row's number is the line's."""

    def __init__(self, path: Path, format: Format | None = None) -> None:
        super().__init__(path, format or Format("jsonl"))

    def _forget(self) -> None:
        self._starts = array("q", [0])

    def _take(self, chunk: memoryview) -> None:
        import numpy as np

        ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == 10)
        self._starts.frombytes((ends + (self._scanned + 1)).astype(np.int64).tobytes())

    def __len__(self) -> int:
        open_line = self.complete and self._scanned > self._starts[-1]
        return len(self._starts) - 1 + open_line

    def _span(self, number: int) -> tuple[int, int]:
        after = number + 1
        start = max(self._starts[number], self.format.start)  # the first line begins after the mark
        return start, self._starts[after] if after < len(self._starts) else self._scanned

    def _bounds(self) -> array[int]:
        return self._starts + array("q", [self._scanned] if self._scanned > self._starts[-1] else [])

    def _line(self, number: int) -> int:
        return number + 1

    def _finish(self) -> None:
        pass


class WholeIndex(RowIndex):
    """One JSON object over the whole file: one row."""

    def _forget(self) -> None:
        pass

    def _take(self, chunk: memoryview) -> None:
        pass

    def __len__(self) -> int:
        return int(self.complete and self._scanned > self.format.start)

    def _span(self, number: int) -> tuple[int, int]:
        return self.format.start, self._scanned

    def _bounds(self) -> array[int]:
        return array("q", self._span(0))

    def _line(self, number: int) -> int:
        return 1

    def _finish(self) -> None:
        pass

    def _may_grow(self) -> bool:
        return False


def open_index(path: Path, name: str | None = None) -> RowIndex:
    """The index of a plain file's rows, not scanned yet.

    Args:
        path: the file.
        name: what it was called, where `path` is a copy of it.

    Raises:
        DataError: it can't be read, or has to be unpacked first.
    """
    from core.data.array_index import ArrayIndex
    from core.data.csv_index import CsvIndex

    format = format_of(path, name)
    if format.packed:
        raise DataError(
            Problem(
                "packed",
                "error",
                name or path.name,
                0,
                None,
                f"the file is {format.name}.",
                "Unpack it first.",
            )
        )
    kinds: dict[str, Callable[[Path, Format], RowIndex]] = {
        "jsonl": LineIndex,
        "text": LineIndex,
        "array": ArrayIndex,
        "document": WholeIndex,
        "csv": CsvIndex,
    }
    return kinds[format.kind](path, format)


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
