"""The problems that a check has found so far, by row."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable
from typing import Any

from core.data.problems import Problem
from tui.format import count

PROBLEMS_KEPT = 20_000


class ProblemBook:
    """Problems by row, in order, as the check finds them. All are counted, the first `PROBLEMS_KEPT` are kept."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nothing is known yet."""
        self._by_row: dict[int, list[Problem]] = {}
        self._rows: list[int] = []
        self.whole_file: list[Problem] = []
        self.codes: Counter[str] = Counter()
        self.total = 0
        self.done = False
        self.share = 0.0
        self.tiers: dict[str, dict[str, Any]] = {}

    @property
    def words(self) -> str:
        """How many there are, in words."""
        words = f"{count(self.total)} problems" if self.total != 1 else "1 problem"
        if self.total > PROBLEMS_KEPT:
            words += f" (the first {count(PROBLEMS_KEPT)} are shown)"
        return words if self.done else f"{words}, checking {100 * self.share:.0f} %"

    @property
    def rows(self) -> list[int]:
        """Rows with a problem, ascending."""
        return self._rows

    def rows_of(self, code: str) -> list[int]:
        """Rows with this problem, ascending."""
        return [row for row in self._rows if any(item.code == code for item in self._by_row[row])]

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Take in problems as the data worker sends them (rows from 1, 0 for the file)."""
        for record in records:
            problem = Problem(**record)
            self.total += 1
            self.codes[problem.code] += 1
            if self.total > PROBLEMS_KEPT:
                continue
            if not problem.row:
                self.whole_file.append(problem)
                continue
            row = problem.row - 1
            if row not in self._by_row:
                bisect.insort(self._rows, row)
            self._by_row.setdefault(row, []).append(problem)

    def of(self, row: int) -> list[Problem]:
        return list(self._by_row.get(row, ()))

    def worst(self, row: int) -> str:
        """The mark of a row: `✗` for an error, `!` for a warning, a space for none known."""
        problems = self._by_row.get(row)
        if not problems:
            return " "
        return "✗" if any(problem.severity == "error" for problem in problems) else "!"

    def after(self, row: int) -> int | None:
        """The next row with a problem."""
        place = bisect.bisect_right(self._rows, row)
        return self._rows[place] if place < len(self._rows) else None

    def before(self, row: int) -> int | None:
        """The previous row with a problem."""
        place = bisect.bisect_left(self._rows, row)
        return self._rows[place - 1] if place else None
