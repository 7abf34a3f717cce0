"""Where each record of a CSV file stands.

A record ends at a line end outside of quotes; the csv module then reads it cell by cell, alone.
"""

from __future__ import annotations

from array import array

from core.data.index import RowIndex

_QUOTE, _NEWLINE, _RETURN = 0x22, 0x0A, 0x0D


class CsvIndex(RowIndex):
    """Each record after the header is a row; a quoted cell may hold line ends. Blank lines are none."""

    def _forget(self) -> None:
        self._starts = array("q", [self.format.start])
        self._lines = array("q", [0])
        """Line ends before each start."""
        self._in_quotes = False
        self._newlines = 0

    def _take(self, chunk: memoryview) -> None:
        import numpy as np

        codes = np.frombuffer(chunk, dtype=np.uint8)
        quotes = np.flatnonzero(codes == _QUOTE)
        newlines = np.flatnonzero(codes == _NEWLINE)
        inside = (np.searchsorted(quotes, newlines) + self._in_quotes) % 2 == 1
        ends = newlines[~inside]
        counts = np.flatnonzero(~inside) + 1 + self._newlines
        starts = ends + self._scanned + 1
        if len(starts):
            before = np.concatenate([[self._starts[-1]], starts[:-1]])
            blank = starts - before <= 2  # "\n" or "\r\n" alone: the start moves on, no record is made
            blank &= (starts - before == 1) | (codes[ends - 1] == _RETURN)
            self._add(starts, counts, blank)
        self._newlines += len(newlines)
        self._in_quotes = bool((len(quotes) + self._in_quotes) % 2)

    def _add(self, starts: object, counts: object, blank: object) -> None:
        """Take in record starts; where the record before is blank its start is replaced."""
        for start, count, is_blank in zip(starts.tolist(), counts.tolist(), blank.tolist(), strict=True):  # type: ignore[attr-defined]
            if is_blank:
                self._starts[-1], self._lines[-1] = start, count
            else:
                self._starts.append(start)
                self._lines.append(count)

    def __len__(self) -> int:
        records = len(self._starts) - 1
        if self.complete and self._scanned > self._starts[-1]:
            records += 1
        return max(0, records - 1)  # the first one is the header

    def _span(self, number: int) -> tuple[int, int]:
        record = number + 1
        after = record + 1
        return self._starts[record], self._starts[after] if after < len(self._starts) else self._scanned

    def _bounds(self) -> array[int]:
        end = [self._scanned] if self._scanned > self._starts[-1] else []
        return self._starts[1:] + array("q", end)

    def _line(self, number: int) -> int:
        return 1 + self._lines[number + 1]

    def _finish(self) -> None:
        pass
