"""Every line is a conversation or an error that says where and why."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import files, jsontext
from core.data.conversation import Conversation, Message
from core.data.index import LineIndex
from core.data.problems import DataError, Problem
from core.data.rows import parse_line, read_rows
from core.data.sources import freeze

GOOD = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}'
TURNS = (Message("user", "Hi"), Message("assistant", "Hello"))


def row(*messages: object) -> str:
    return json.dumps({"messages": messages})


USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (GOOD, TURNS),
        (GOOD + "\r\n", TURNS),
        ('{"prompt": "Hi", "completion": "Hello", "id": 3}', TURNS),
        (row({**USER, "content": [{"type": "text", "text": "H"}, "i"]}, ANSWER), TURNS),
        (row(USER, {**ANSWER, "weight": 0}), (TURNS[0], Message("assistant", "Hello", 0))),
        (row(USER, {**ANSWER, "weight": None, "tool_calls": None}), TURNS),
    ],
)
def test_accepted_shapes(text: str, messages: tuple[Message, ...]) -> None:
    read = parse_line(text.encode(), "a.jsonl", 4)
    assert (read.messages, read.path, read.line, read.row) == (messages, "a.jsonl", 4, 4)


def test_bom_is_tolerated_on_the_first_line_only() -> None:
    raw = b"\xef\xbb\xbf" + GOOD.encode()
    assert parse_line(raw, "a.jsonl", 1).messages == TURNS
    with pytest.raises(DataError):
        parse_line(raw, "a.jsonl", 2)


@pytest.mark.parametrize(
    ("text", "code", "column", "sentence"),
    [
        (GOOD[:68], "broken-json", 68, "JSON ends inside a string (column 68)."),
        (GOOD[:-2], "broken-json", len(GOOD) - 2, "JSON ends before its closing bracket"),
        ('  {"messages": [1 2]}', "broken-json", 19, "a comma or a closing bracket is missing (column 19)."),
        ('{"messages": NaN}', "broken-json", 14, "NaN is not a JSON number (column 14)."),
        ('{"messages": Infinity}', "broken-json", 14, "Infinity is not a JSON number"),
        ('{"a": "x\ty"}', "broken-json", 9, "a raw control character in a string"),
        ("{'a': 1}", "broken-json", 2, "a key in double quotes is missing (column 2)."),
        (GOOD + GOOD, "broken-json", len(GOOD) + 1, "more text follows the end of the JSON object"),
        ('{"a": "\\ud800"}', "broken-json", None, "broken JSON"),
        ("[" * 100_000, "broken-json", 1, "the JSON is nested too deeply"),
        ('"text"', "not-an-object", None, "the row is a string, not a JSON object."),
        ("   ", "blank-line", None, "blank"),
        ('{"a": "a", "b": "b"}', "unknown-shape", None, "(it has a, b)"),
        ('{"messages": []}', "no-messages", None, '"messages" is empty'),
        ('{"messages": "Hi"}', "no-messages", None, '"messages" is a string'),
        (row(USER, "Hello"), "not-a-message", None, "message 2 is a string"),
        (row(USER, {"content": "Hello"}), "no-role", None, "message 2 has no role"),
        (row(USER, {**ANSWER, "role": "asistant"}), "unknown-role", None, "unknown role 'asistant'"),
        (row(USER, {**ANSWER, "role": ["x"]}), "unknown-role", None, "unknown role"),
        (row(USER, {**ANSWER, "tool_calls": [1]}), "tool-call", None, "message 2 calls a tool"),
        (row(USER, {**ANSWER, "content": None}), "null-content", None, "message 2 (assistant) is null"),
        (row(USER, {**ANSWER, "content": 7}), "not-text", None, "message 2 (assistant) is a number"),
        (row(USER, {**ANSWER, "content": [{"type": "image"}]}), "not-text", None, "part of type 'image'"),
        (row(USER, {**ANSWER, "weight": 0.5}), "weight", None, "weight 0.5"),
        (row(USER, ANSWER, {"role": "system", "content": "x"}), "system-not-first", None, "message 3"),
        (row(USER), "no-assistant-turn", None, "no assistant turn"),
        ('{"prompt": "Hi", "completion": null}', "null-content", None, "completion is null"),
    ],
)
def test_errors_name_place_cause_and_fix(text: str, code: str, column: int | None, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_line(text.encode(), "train.jsonl", 7)
    problem = caught.value.problem
    assert problem.code == code
    assert (problem.path, problem.line, problem.severity) == ("train.jsonl", 7, "error")
    assert column is None or problem.column == column
    assert sentence in problem.sentence
    assert caught.value.what.startswith("train.jsonl:7: ")
    assert caught.value.next_step == problem.fix != ""


def test_a_role_close_to_a_known_one_is_suggested() -> None:
    for wrong, right in (
        ("asistant", "assistant"),
        ("human", "user"),
        ("gpt", "assistant"),
        ("User", "user"),
    ):
        with pytest.raises(DataError) as caught:
            parse_line(row({"role": wrong, "content": "x"}).encode(), "a", 1)
        assert caught.value.next_step == f"Write '{right}' instead."


def test_other_encodings_are_named() -> None:
    for raw, sentence in (
        (
            GOOD.replace("Hello", "é").encode("latin-1"),
            f"byte 0xE9 is not UTF-8 (column {GOOD.index('Hello') + 1}).",
        ),
    ):
        with pytest.raises(DataError) as caught:
            parse_line(raw, "a.jsonl", 1)
        assert caught.value.problem.code == "not-utf-8"
        assert caught.value.problem.sentence == sentence


def test_reading_gives_one_item_for_each_line_that_is_not_blank(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n\r\n{{\n \n{GOOD}".encode())
    items = list(read_rows(path))
    assert [item.line for item in items] == [1, 3, 5]
    assert isinstance(items[1], Problem)
    assert items[0] == Conversation(TURNS, str(path), 1, 1)


def test_a_line_beyond_the_limit_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 200)
    monkeypatch.setattr(jsontext, "MAX_LINE_BYTES", 200)
    path = tmp_path / "a.jsonl"
    path.write_text(f"{GOOD}\n{'x' * 1000}\n{GOOD}\n")
    first, long, last = read_rows(path)
    assert isinstance(long, Problem)
    assert (long.code, long.line) == ("line-too-long", 2)
    assert (first.line, last.line) == (1, 3)


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_files_that_cannot_be_read_are_explained(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / name))
    assert caught.value.problem.code == "unreadable"
    assert caught.value.next_step


@given(st.binary(max_size=200))
def test_random_bytes_never_crash(raw: bytes) -> None:
    with pytest.raises(DataError):
        parse_line(raw, "a.jsonl", 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "prompt", "completion", "weight"]), inner
        )
    ),
    max_leaves=12,
)


@given(json_values | st.fixed_dictionaries({"messages": st.lists(json_values, max_size=3)}))
def test_random_json_is_a_conversation_or_an_error(value: object) -> None:
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        conversation = parse_line(raw, "a.jsonl", 1)
    except DataError as error:
        assert error.problem.sentence  # noqa: PT017 - either outcome is right
        return
    assert any(message.role == "assistant" for message in conversation.messages)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_could_be_read_for_ever_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/zero")
    for read in (lambda: list(read_rows(path)), lambda: LineIndex(path), lambda: freeze(path)):
        with pytest.raises(DataError, match="not a file"):
            read()
