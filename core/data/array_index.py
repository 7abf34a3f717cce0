"""Where each element of one JSON array stands, pretty-printed or not, without parsing it.

Each chunk is looked at with numpy: quotes that no backslash escapes part strings from the rest, and outside of
strings brackets give the depth. Broken JSON only makes broken rows: nothing is lost and nothing crashes.
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import TYPE_CHECKING, Any

from core.data.files import BLANKS
from core.data.index import RowIndex, read_span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_QUOTE, _BACKSLASH, _NEWLINE = 0x22, 0x5C, 0x0A
_COMMA = 2
_LOOK_BYTES = 4096


class ArrayIndex(RowIndex):
    """Each element of the outermost array is a row, and what is left behind the array is one, a broken one."""

    def _forget(self) -> None:
        self._edges = array("q")
        """The opening bracket, the commas between rows, the closing bracket: a row lies between two."""
        self._lines = array("q")
        """Line ends before each edge."""
        self._depth = 0
        self._newlines = 0
        self._in_string = False
        self._escapes = 0
        """Backslashes that the last chunk ended with."""

    def _take(self, chunk: memoryview) -> None:
        import numpy as np

        codes = np.frombuffer(chunk, dtype=np.uint8)
        quotes = self._quotes(codes)
        places = np.flatnonzero(_kinds()[codes])
        inside = (np.searchsorted(quotes, places) + self._in_string) % 2 == 1
        places = places[~inside]
        kinds = _kinds()[codes[places]]
        depths = self._depth + np.cumsum(np.where(kinds == _COMMA, 0, kinds))
        is_edge = ((kinds == _COMMA) & (depths == 1)) | ((kinds == -1) & (depths == 0))
        if not len(self._edges):
            is_edge[np.flatnonzero((kinds == 1) & (depths == 1))[:1]] = True
        edges = places[is_edge]
        newlines = np.flatnonzero(codes == _NEWLINE)
        self._edges.frombytes((edges + self._scanned).astype(np.int64).tobytes())
        before = np.searchsorted(newlines, edges) + self._newlines
        self._lines.frombytes(before.astype(np.int64).tobytes())
        self._newlines += len(newlines)
        self._in_string = bool((len(quotes) + self._in_string) % 2)
        if len(depths):
            self._depth = int(depths[-1])

    def _quotes(self, codes: Any) -> Any:
        """Places of the quotes that begin or end a string: those behind an even number of backslashes."""
        import numpy as np

        quotes = np.flatnonzero(codes == _QUOTE)
        slashes = np.flatnonzero(codes == _BACKSLASH)
        carried, self._escapes = self._escapes, _run_at_end(slashes, len(codes), self._escapes)
        if not len(slashes):
            return quotes[1:] if carried % 2 and len(quotes) and quotes[0] == 0 else quotes
        breaks = np.concatenate([[True], np.diff(slashes) != 1])
        first = np.maximum.accumulate(np.where(breaks, np.arange(len(slashes)), 0))
        runs = np.arange(len(slashes)) - first + 1 + np.where(slashes[first] == 0, carried, 0)
        last = np.searchsorted(slashes, quotes) - 1  # the slash nearest before each quote
        touches = (last >= 0) & (slashes[last] == quotes - 1)
        length = np.where(touches, runs[last], np.where(quotes == 0, carried, 0))
        return quotes[length % 2 == 0]

    def _finish(self) -> None:
        if not self._edges:
            return
        start = self._edges[-1] + 1
        while start < self._scanned:
            piece = read_span(self._file, self.path, start, min(start + _LOOK_BYTES, self._scanned))
            if piece.strip(BLANKS):
                self._edges.append(self._scanned)
                self._lines.append(self._newlines)
                return
            start += _LOOK_BYTES

    def __len__(self) -> int:
        rows = max(0, len(self._edges) - 1)
        return 0 if rows == 1 and self.complete and self._is_blank(0) else rows

    def _is_blank(self, number: int) -> bool:
        return not self._beginning(number).strip(BLANKS)

    def _beginning(self, number: int) -> bytes:
        return read_span(self._file, self.path, *self._span(number), _LOOK_BYTES)

    def _span(self, number: int) -> tuple[int, int]:
        return self._edges[number] + 1, self._edges[number + 1]

    def _bounds(self) -> array[int]:
        return self._edges

    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each row, in order, without the commas between them."""
        return super().lengths() - 1

    def _line(self, number: int) -> int:
        head = self._beginning(number)
        blank = len(head) - len(head.lstrip(BLANKS))
        return 1 + self._lines[number] + head[:blank].count(b"\n")

    def raw(self, number: int, limit: int = 64 << 20) -> bytes:
        """A row without the blanks around it; see RowIndex.raw."""
        return super().raw(number, limit).strip(BLANKS)

    def _may_grow(self) -> bool:
        return False


def _run_at_end(slashes: Any, length: int, carried: int) -> int:
    """How many backslashes in a row a chunk ends with."""
    run = 0
    while run < len(slashes) and slashes[-1 - run] == length - 1 - run:
        run += 1
    return run + carried if run == length else run


@cache
def _kinds() -> Any:
    """For each byte: 1 opens, -1 closes, 2 is a comma, 0 is none of these."""
    import numpy as np

    kinds = np.zeros(256, dtype=np.int8)
    kinds[list(b"[{")] = 1
    kinds[list(b"]}")] = -1
    kinds[ord(",")] = _COMMA
    return kinds
