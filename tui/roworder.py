"""Which rows the list shows, and in which order: all of the file, those a filter let through, or by length."""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RowOrder:
    """Positions in the list and rows of the file, both from 0.

    Without rows of its own it shows the whole file, which may still grow.
    """

    def __init__(self) -> None:
        self._found: array[int] | None = None
        self._sorted: NDArray[np.int32] | None = None
        self._positions: NDArray[np.int32] | None = None

    @property
    def filtered(self) -> bool:
        return self._found is not None

    @property
    def sorted(self) -> bool:
        return self._sorted is not None

    def count(self, rows: int) -> int:
        """Positions of a file of so many rows."""
        if self._sorted is not None:
            return len(self._sorted)
        return rows if self._found is None else len(self._found)

    def row(self, position: int) -> int:
        """The row at a position."""
        if self._sorted is not None:
            return int(self._sorted[position])
        return position if self._found is None else self._found[position]

    def position(self, row: int) -> int | None:
        """Where a row is; None if it isn't shown."""
        if self._sorted is not None:
            assert self._positions is not None
            place = int(self._positions[row]) if row < len(self._positions) else -1
            return place if place >= 0 else None
        if self._found is None:
            return row
        place = bisect.bisect_left(self._found, row)
        return place if place < len(self._found) and self._found[place] == row else None

    def filter(self) -> None:
        """Show none of the rows, until some are found."""
        self.unsort()
        self._found = array("l")

    def find(self, rows: Iterable[int]) -> None:
        """These rows, ascending and after all found before, are let through too."""
        assert self._found is not None
        self._found.extend(rows)

    def unfilter(self) -> None:
        """Show the whole file."""
        self.unsort()
        self._found = None

    def sort(self, lengths: NDArray[np.int64]) -> None:
        """Longest first.

        Args:
            lengths: of every row of the file.
        """
        import numpy as np

        rows = np.arange(len(lengths)) if self._found is None else np.array(self._found)
        order = rows[np.argsort(-lengths[rows], kind="stable")].astype(np.int32)
        positions = np.full(len(lengths), -1, np.int32)
        positions[order] = np.arange(len(order), dtype=np.int32)
        self._positions, self._sorted = positions, order

    def unsort(self) -> None:
        """Back to the order of the file."""
        self._sorted = self._positions = None
