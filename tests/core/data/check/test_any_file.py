"""Whatever is in a file: nothing crashes, and every line is a conversation or has an error of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.check import Check, Options
from core.data.conversation import Conversation
from core.data.problems import DataError
from core.data.rows import read_rows
from tests.core.data.check.making import clean

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
KEYS = st.sampled_from(
    ["messages", "conversations", "role", "from", "content", "value", "prompt", "chosen", "rejected", "label"]
    + ["instruction", "output", "text", "completion", "tools", "weight", "history", "input_ids"]
)
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6) | ROLES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
TURN = st.fixed_dictionaries({"role": ROLES | VALUES, "content": st.text(max_size=6) | VALUES})
ROW = st.fixed_dictionaries({"messages": st.lists(TURN, max_size=4)}) | VALUES
BYTES = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))
LINES = st.lists(
    ROW.map(lambda value: json.dumps(value).encode())
    | BYTES
    | st.integers(0, 9).map(lambda number: json.dumps(clean(number)).encode()),
    max_size=12,
)


@SAME_FOLDER
@given(LINES, st.sampled_from([b"\n", b"\r\n"]))
def test_every_line_is_a_conversation_or_a_problem(tmp_path: Path, lines: list[bytes], end: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"messages": []}\n' + b"".join(line + end for line in lines))
    try:
        rows = list(read_rows(path))
    except DataError as error:  # no file of lines: UTF-16, an archive, Parquet
        assert error.problem.sentence  # noqa: PT017 - either outcome is right
        return
    filled = [number for number, line in enumerate(lines, 2) if line.strip(b" \t\r\n")]
    good = {row.line for row in rows if isinstance(row, Conversation)}
    bad = {row.line for row in rows if not isinstance(row, Conversation)}
    assert sorted(good | bad) == [1, *filled]
    assert not good & bad

    check = Check(path, Options(cores=1))
    errors = {problem.line for problem in check if problem.severity == "error"}
    assert errors - {0} == bad
    assert (check.rows, check.conversations) == (len(good | bad), len(good))


@SAME_FOLDER
@given(
    st.binary(max_size=300)
    | LINES.map(b"\n".join)
    | VALUES.map(lambda value: json.dumps(value, indent=1).encode()),
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.txt", "a.gz", "a.zst", "a.parquet", "a"]),
)
def test_no_file_crashes_the_check(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        problems = list(Check(path, Options(cores=1, azure=True)))
    except DataError as error:
        problems = [error.problem]
    assert all(problem.sentence and problem.fix and problem.code for problem in problems)
    if not content.strip():
        assert [problem.code for problem in problems if problem.severity == "error"]
