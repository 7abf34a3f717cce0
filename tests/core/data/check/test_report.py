"""A check's figures in words, and the checks of one row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.data.check import Check, Options, row_problems, run
from core.data.check.report import report_lines
from core.data.conversation import Conversation, Message
from core.data.problems import Place
from tests.core.data.check.making import chat, clean, write, write_with

PLACE = Place("a.jsonl", 4, 4)


def test_every_tier_prints_its_figure(tmp_path: Path) -> None:
    check = Check(write_with(tmp_path / "a.jsonl", "{x}", clean(1)))
    list(check)
    lines = report_lines(check)
    assert lines[0].split() == [
        "1",
        "error",
        "broken-json:",
        *["Text", "that", "is", "not", "JSON,", "with", "line", "and", "column."],
    ]
    assert "duplicate" in lines[1]
    assert [line.partition(":")[0] for line in lines[2:]] == [
        "structure",
        "text",
        "near duplicates",
        "tokens",
    ]
    assert re.match(r"structure: 14 rows, 0\.00\d+ MB in \S+ s, \S+ MB/s \(one process\)$", lines[2])
    assert "--model" in lines[-1]


def test_a_sample_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", *map(clean, range(44)))
    monkeypatch.setattr(run, "IN_FULL_BYTES", path.stat().st_size // 22 + 1)
    check = Check(path, Options(tiers=frozenset({"text"})))
    list(check)
    lines = report_lines(check)
    assert "44 rows, " in lines[0]
    assert "2 rows (a sample, every 22nd; --full checks all)" in lines[1]


def test_one_row_as_an_object() -> None:
    assert row_problems(clean(1), PLACE) == []
    problems = row_problems(chat("bob@acme.org", "a\x07"), PLACE)
    assert [(item.code, item.line) for item in problems] == [("control-characters", 4), ("email", 4)]
    assert row_problems(chat("bob@acme.org", "Yes."), PLACE, frozenset({"structure"})) == []
    assert [item.code for item in row_problems({"messages": []}, PLACE)] == ["no-messages"]


def test_one_row_as_a_conversation() -> None:
    conversation = Conversation(
        (Message("user", "bob@acme.org"), Message("assistant", "Yes")), "a.jsonl", 4, 4
    )
    assert [item.code for item in row_problems(conversation, PLACE)] == ["email"]
