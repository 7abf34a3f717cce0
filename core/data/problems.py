"""What can be wrong with data, and where: a `Problem` names file, line, column, cause and fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.errors import FinetuiError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a row or, with line 0, with the whole file.

    `code` is stable (core.data.codes); `line` and `column` (in characters) count from 1, the column is None
    where it says nothing; `fix` says what to do. `row` counts the file's rows from 1: in JSON Lines it is the
    line, in a JSON array or a CSV file it is not.
    """

    code: str
    severity: Severity
    path: str
    line: int
    column: int | None
    sentence: str
    fix: str
    row: int = 0

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class DataError(FinetuiError):
    """A row or a data file can't be used; `problem` has the parts by name."""

    def __init__(self, problem: Problem, cause: str = "") -> None:
        super().__init__(str(problem), cause, problem.fix)
        self.problem = problem


@dataclass(frozen=True)
class Place:
    """Where a row is: its file's name for messages, its line and its number among the rows, both from 1."""

    path: str
    line: int
    row: int

    @classmethod
    def of_line(cls, path: str, line: int) -> Place:
        """The place of a row that is one line."""
        return cls(path, line, line)

    def problem(
        self, code: str, sentence: str, fix: str, column: int | None = None, severity: Severity = "error"
    ) -> Problem:
        return Problem(code, severity, self.path, self.line, column, sentence, fix, self.row)

    def error(self, code: str, sentence: str, fix: str, column: int | None = None) -> DataError:
        return DataError(self.problem(code, sentence, fix, column))
