"""A data file as the Data screen sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.conversation import Conversation
from core.data.problems import DataError
from tui.problembook import ProblemBook
from tui.rowfile import LIST_BYTES, RowFile

ROW = '{"messages":[{"role":"user","content":"hi\\tthere"},{"role":"assistant","content":"hello"}]}\n'


def record(row: int, severity: str = "error") -> dict[str, object]:
    return {
        "code": "x", "severity": severity, "path": "f", "line": row * 3, "column": None, "sentence": "s.",
        "fix": "f.", "row": row,
    }  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    path = tmp_path / "rows.jsonl"
    long = ROW.replace("hello", "x" * LIST_BYTES)
    path.write_text(ROW + "{broken\n" + long)
    opened = RowFile(path)
    opened.index.scan()
    return opened


def test_rows_are_shown_with_turns_mark_and_first_message(file: RowFile) -> None:
    assert len(file) == 3
    view = file.view(0)
    assert (view.turns, view.mark, view.first) == ("2", " ", "hi there")
    assert file.view(1).mark == "✗"


def test_a_huge_row_is_not_read_for_the_list_but_can_be_opened(file: RowFile) -> None:
    assert "262 kB" in file.view(2).first
    assert isinstance(file.row(2), Conversation)


def test_a_broken_row_has_its_problem_before_any_check(file: RowFile) -> None:
    assert isinstance(file.row(1), DataError)
    assert [problem.line for problem in file.problems_of(1)] == [2]
    assert file.pretty(1) == "{broken\n"
    assert file.pretty(0).startswith('{\n  "messages"')


def test_problems_are_found_forwards_and_backwards_and_the_worst_marks_the_row() -> None:
    book = ProblemBook()
    book.add([record(3), record(9, "warning"), record(0)])
    assert (book.total, len(book.whole_file)) == (3, 1)
    assert [book.after(0), book.after(2), book.after(8)] == [2, 8, None]
    assert [book.before(8), book.before(2)] == [2, None]
    assert [book.worst(2), book.worst(8), book.worst(5)] == ["✗", "!", " "]
