"""A data file as the Data screen sees it: rows by number, and the problems found so far."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.data.conversation import Conversation
from core.data.files import file_error
from core.data.index import LineIndex
from core.data.problems import DataError, Problem
from core.data.rows import parse_line
from tui.format import one_line, size
from tui.widgets.records import RowView

LIST_BYTES = 1 << 18
"""Longer rows are not read for the list: a screenful of them would make the keys wait."""

FIRST_CHARACTERS = 300

HEAD_BYTES = 64 << 10
"""Read at once, so that the first rows are there before numpy is, which the index needs."""


class RowFile:
    """An open file.

    Args:
        path: the file.

    Raises:
        DataError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = LineIndex(path)
        self.problems = ProblemBook()
        self._head = _head_lines(path)
        self._parsed = lru_cache(maxsize=256)(self._parse)

    def __len__(self) -> int:
        return max(len(self.index), len(self._head))

    def line(self, number: int) -> bytes:
        """A row's bytes, without its line end."""
        return self.index.line(number) if number < len(self.index) else self._head[number]

    def row(self, number: int) -> Conversation | DataError:
        """The conversation of a row (from 0), or why it has none."""
        return self._parsed(number)

    def _parse(self, number: int) -> Conversation | DataError:
        try:
            return parse_line(self.line(number), self.path.name, number + 1)
        except DataError as error:
            return error

    def view(self, number: int) -> RowView:
        """A row as the list shows it."""
        known = self.problems.worst(number)
        if number < len(self.index):
            start, end = self.index.span(number)
            if end - start > LIST_BYTES:
                return RowView("", known, f"(a row of {size(end - start)}; enter shows it)")
        row = self.row(number)
        if isinstance(row, DataError):
            return RowView("", "✗", one_line(row.problem.sentence))
        users = (message.content for message in row.messages if message.role == "user")
        first = next(users, row.messages[0].content if row.messages else "")
        return RowView(str(len(row.messages)), known, one_line(first[:FIRST_CHARACTERS]))

    def problems_of(self, number: int) -> list[Problem]:
        """What is known to be wrong with a row, found by the check or by reading it just now."""
        known = self.problems.of(number)
        row = self.row(number)
        if isinstance(row, DataError) and not any(item.severity == "error" for item in known):
            known = [row.problem, *known]
        return known

    def pretty(self, number: int) -> str:
        """The row's JSON, indented; a row that isn't JSON as it is."""
        raw = self.line(number).decode("utf-8", "backslashreplace")
        try:
            return json.dumps(json.loads(raw), indent=2, ensure_ascii=False) + "\n"
        except ValueError:
            return raw + "\n"

    def raw(self, number: int) -> str:
        """The row's line as it is in the file."""
        return self.line(number).decode("utf-8", "backslashreplace")

    def close(self) -> None:
        self.index.close()


def _head_lines(path: Path) -> list[bytes]:
    """The complete lines of a file's beginning."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise file_error(path, error) from error
    lines = head.split(b"\n")
    if len(head) == HEAD_BYTES or not lines[-1]:
        lines.pop()  # cut, or nothing after the last line end
    return [line.removesuffix(b"\r") for line in lines]


PROBLEMS_KEPT = 20_000


class ProblemBook:
    """Problems by row, in order, as the check finds them. All are counted, the first `PROBLEMS_KEPT` are kept."""

    def __init__(self) -> None:
        self._by_row: dict[int, list[Problem]] = {}
        self._rows: list[int] = []
        self.whole_file: list[Problem] = []
        self.total = 0
        self.done = False
        self.share = 0.0

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Take in problems as the data worker sends them (lines from 1, 0 for the file)."""
        for record in records:
            problem = Problem(**record)
            self.total += 1
            if self.total > PROBLEMS_KEPT:
                continue
            if not problem.line:
                self.whole_file.append(problem)
                continue
            row = problem.line - 1
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
