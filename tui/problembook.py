"""The problems that a check has found so far, by row."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable
from typing import Any

from core.data.problems import Problem

PROBLEMS_KEPT = 20_000


class ProblemBook:
    """Problems by row, in order, as the check finds them. All are counted, the first `PROBLEMS_KEPT` are kept."""

    def __init__(self) -> None:
        self._by_row: dict[int, list[Problem]] = {}
        self._rows: list[int] = []
        self.whole_file: list[Problem] = []
        self.codes: Counter[str] = Counter()
        self.total = 0
        self.done = False
        self.share = 0.0

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
