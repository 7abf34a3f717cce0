"""The check of a file: every kind of problem once, at its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.check import Check, check_file
from core.data.problems import DataError

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps({"messages": row}) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_clean_file_has_no_problem(tmp_path: Path) -> None:
    check = Check(write(tmp_path / "a.jsonl", [USER, ANSWER], [{**USER, "content": "Hey"}, ANSWER]))
    assert list(check) == []
    assert check.counts() == {"rows": 2, "conversations": 2, "errors": 0, "warnings": 0, "codes": {}}
    assert check.bytes_read == (tmp_path / "a.jsonl").stat().st_size


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ([USER, {**ANSWER, "content": " \n"}], "empty-answer"),
        ([USER, USER, ANSWER], "repeated-role"),
        ([ANSWER], "no-user-turn"),
        ([USER, ANSWER, USER], "no-last-answer"),
        ([USER, {"role": "assistant", "content": "Hm", "weight": 0}], "nothing-trained"),
        ([USER, ANSWER], "duplicate"),
    ],
)
def test_warnings_by_line(tmp_path: Path, row: list[dict[str, object]], code: str) -> None:
    (problem,) = check_file(write(tmp_path / "a.jsonl", [USER, ANSWER], "", row))
    assert (problem.code, problem.severity, problem.line) == (code, "warning", 3)
    assert problem.fix


def test_errors_and_warnings_are_counted_by_code(tmp_path: Path) -> None:
    check = Check(write(tmp_path / "a.jsonl", "{x}", [USER, ANSWER], [USER], [USER, ANSWER], [USER, ANSWER]))
    assert [(problem.line, problem.code) for problem in check] == [
        (1, "broken-json"), (3, "no-assistant-turn"), (4, "duplicate"), (5, "duplicate"),
    ]  # fmt: skip
    codes = {"broken-json": 1, "no-assistant-turn": 1, "duplicate": 2}
    assert check.counts() == {"rows": 5, "conversations": 3, "errors": 2, "warnings": 2, "codes": codes}


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    for content in ("", "\n \n"):
        (tmp_path / "a.jsonl").write_text(content)
        (problem,) = check_file(tmp_path / "a.jsonl")
        assert (problem.code, problem.line) == ("empty-file", 0)


def test_a_json_document_is_one_problem_not_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps([{"messages": [USER, ANSWER]}] * 50, indent=2))
    (problem,) = check_file(path)
    assert problem.code == "json-document"
    assert str(path) in problem.fix


def test_limit(tmp_path: Path) -> None:
    assert len(check_file(write(tmp_path / "a.jsonl", *["{x}"] * 50), limit=3)) == 3


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_file(tmp_path / "none.jsonl")
