"""A data file as the Data screen sees it: rows by number, and the problems found so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from core.data.conversation import Conversation
from core.data.files import BLANKS, file_error
from core.data.formats import Format
from core.data.framing import value_of
from core.data.index import open_index
from core.data.problems import DataError, Place, Problem
from core.data.shapes import convert
from core.data.tasks import fitting
from tui.format import one_line, size
from tui.problembook import ProblemBook
from tui.widgets.records import RowView

LIST_BYTES = 1 << 18
"""Longer rows are not read for the list: a screenful of them would make the keys wait."""

FIRST_CHARACTERS = 300

HEAD_BYTES = 64 << 10
"""Read at once, so that the first rows are there before numpy is, which the index needs."""


class RowFile:
    """An open file.

    Args:
        path: the file as the user named it.
        plain: its unpacked copy, where it is compressed or Parquet.
        columns: names of the parts in this file, where they are not the usual ones.

    Raises:
        DataError: it can't be opened.
    """

    def __init__(
        self, path: Path, plain: Path | None = None, columns: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        self.plain = plain or path
        self.name = path.name
        self.columns = dict(columns) if columns else None
        self.index = open_index(self.plain, self.name)
        self.problems = ProblemBook()
        self._packed = _stamp(path)
        self._parsed = lru_cache(maxsize=256)(self._parse)
        by_lines = self.format.kind in ("jsonl", "text")
        self._head = _head_lines(self.plain, self.format.start) if by_lines else []

    @property
    def format(self) -> Format:
        return self.index.format

    @property
    def request(self) -> dict[str, object]:
        """What every request to the data worker says of the file."""
        return {"path": str(self.plain), "name": str(self.path), "columns": self.columns}

    def __len__(self) -> int:
        return max(len(self.index), len(self._head))

    def packed_state(self) -> Literal["same", "replaced"]:
        """Whether the packed file is still the one that was unpacked.

        Raises:
            DataError: it is gone.
        """
        return "same" if _stamp(self.path) == self._packed else "replaced"

    def line(self, number: int) -> bytes:
        """A row's bytes, without its line end."""
        return self.index.raw(number) if number < len(self.index) else self._head[number]

    def line_number(self, number: int) -> int:
        """The line a row starts in, from 1."""
        return self.index.line_number(number) if number < len(self.index) else number + 1

    def row(self, number: int) -> Conversation | DataError:
        """The conversation of a row (from 0), or why it has none."""
        return self._parsed(number)

    def _parse(self, number: int) -> Conversation | DataError:
        place = Place(self.name, self.line_number(number), number + 1)
        try:
            return convert(value_of(self.line(number).strip(BLANKS), self.format, place), place, self.columns)
        except DataError as error:
            return error

    def view(self, number: int) -> RowView:
        """A row as the list shows it."""
        known = self.problems.worst(number)
        if number < len(self.index):
            start, end = self.index.span(number)
            if end - start > LIST_BYTES:
                return RowView(number, "", known, f"(a row of {size(end - start)}; enter shows it)")
        row = self.row(number)
        if isinstance(row, DataError):
            mark = known if row.problem.code == "blank-line" else "✗"
            return RowView(number, "", mark, one_line(row.problem.sentence))
        turns = str(len(row.messages)) if row.messages else ""
        return RowView(number, turns, known, one_line(_first_text(row)[:FIRST_CHARACTERS]))

    def problems_of(self, number: int) -> list[Problem]:
        """What is known to be wrong with a row, found by the check or by reading it just now."""
        known = self.problems.of(number)
        row = self.row(number)
        if not isinstance(row, DataError) or row.problem.code == "blank-line":
            return known
        if not any(item.severity == "error" for item in known):
            known = [row.problem, *known]
        return known

    def fitting(self, number: int) -> str:
        """The task that a row's shape is for; empty of a row that can't be read."""
        row = self.row(number)
        return "" if isinstance(row, DataError) else fitting(row)

    def pretty(self, number: int) -> str:
        """The row's JSON, indented; a row that isn't JSON as it is."""
        place = Place(self.name, self.line_number(number), number + 1)
        try:
            value = value_of(self.line(number).strip(BLANKS), self.format, place)
        except DataError:
            return self.raw(number) + "\n"
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"

    def keys(self, number: int) -> list[str]:
        """The keys of a row, or the columns of the file; none of a row that can't be read."""
        if self.format.columns:
            return list(self.format.columns)
        place = Place(self.name, self.line_number(number), number + 1)
        try:
            return list(value_of(self.line(number).strip(BLANKS), self.format, place))
        except DataError:
            return []

    def raw(self, number: int) -> str:
        """The row as it is in the file."""
        return self.line(number).decode("utf-8", "backslashreplace")

    def close(self) -> None:
        self.index.close()


def _first_text(row: Conversation) -> str:
    """What the list shows of a row: its first question, or its text."""
    users = (message.content for message in row.messages if message.role == "user")
    first = row.messages[0].content if row.messages else row.text or ""
    return next(users, first) or first


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        facts = path.stat()
    except OSError as error:
        raise file_error(path, error) from error
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _head_lines(path: Path, start: int) -> list[bytes]:
    """The complete lines of a file's beginning, from byte `start`."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise file_error(path, error) from error
    lines = head[start:].split(b"\n")
    if len(head) == HEAD_BYTES or not lines[-1]:
        lines.pop()  # cut, or nothing after the last line end
    return [line.removesuffix(b"\r") for line in lines]
