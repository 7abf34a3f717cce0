"""One line of a file becomes one conversation, or an error that names the line, the column and the cause.

Rows are data, never code: values are read as JSON and kept as plain strings. Files are read line by line.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from core.errors import FinetuiError

MAX_LINE_BYTES = 64 << 20
_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_ROLES = ("system", "user", "assistant")
_TOOL_ROLES = ("tool", "function", "observation", "function_call")
_MEANT = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
}

# What the standard library's parser says, in words for people.
_JSON_WORDS = {
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Expecting ':' delimiter": "a colon is missing after a key",
    "Expecting value": "a value is missing",
    "Expecting property name enclosed in double quotes": "a key in double quotes is missing",
    "Illegal trailing comma before end of object": "a comma stands before the closing bracket",
    "Illegal trailing comma before end of array": "a comma stands before the closing bracket",
    "Extra data": "more text follows the end of the JSON object",
    "Invalid control character at": "a raw control character in a string; write \\n, \\t or \\u00XX",
    "Invalid \\escape": "a backslash inside a string starts no known escape; write it twice",
    "Invalid \\uXXXX escape": "\\u inside a string is not followed by four hexadecimal digits",
}


@dataclass(frozen=True)
class Problem:
    """Something wrong with a row (`line` from 1) or, with line 0, with the whole file.

    `code` is stable; `column` counts characters from 1, None where a column says nothing; `fix` says what to
    do.
    """

    code: str
    severity: Literal["error", "warning"]
    path: str
    line: int
    column: int | None
    sentence: str
    fix: str

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
class Message:
    """One turn. Weight 0 on an assistant turn: read, not trained."""

    role: str
    content: str
    weight: int = 1


@dataclass(frozen=True)
class Conversation:
    """The turns of one row and where it came from (`line` from 1)."""

    messages: tuple[Message, ...]
    path: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


class _Row:
    """The place of the row being read: makes its errors."""

    def __init__(self, path: str, line: int) -> None:
        self.path = path
        self.line = line

    def error(self, code: str, sentence: str, fix: str, column: int | None = None) -> DataError:
        return DataError(Problem(code, "error", self.path, self.line, column, sentence, fix))


def parse_line(raw: bytes, path: str, line: int) -> Conversation:
    """The conversation of one line.

    Accepted: `{"messages": [{"role", "content", "weight"?}, ...]}` and `{"prompt", "completion"}`; content is
    a string or a list of text parts. Other keys are passed over.

    Args:
        raw: the line's bytes, with or without its line end.
        path: the file's name for messages.
        line: its number, from 1.

    Raises:
        DataError: the line is not such a conversation.
    """
    row = _Row(path, line)
    value = _parse_json(raw.removeprefix(_BOM) if line == 1 else raw, row)
    if isinstance(value, list):
        raise row.error(
            "json-document",
            "this is a JSON array, not JSON Lines (one object a line).",
            f"Convert it: jq -c '.[]' {path} > rows.jsonl",
        )
    if not isinstance(value, dict):
        raise row.error(
            "not-an-object", f"the line is {_kind(value)}, not a JSON object.", "Fix or drop the line."
        )
    if "messages" in value:
        return Conversation(_messages(value["messages"], row), path, line)
    if "prompt" in value and "completion" in value:
        turns = [
            Message("user", _text(value["prompt"], row, "prompt")),
            Message("assistant", _text(value["completion"], row, "completion")),
        ]
        return Conversation(tuple(turns), path, line)
    keys = ", ".join(list(value)[:6]) or "no keys"
    raise row.error(
        "unknown-shape",
        f'the row has neither "messages" nor "prompt" and "completion" (it has {keys[:80]}).',
        'Write it as {"messages": [{"role": "user", "content": ...}, ...]}.',
    )


def read_rows(path: Path) -> Iterator[Conversation | Problem]:
    """One item for every line that is not blank: its conversation, or what is wrong with it.

    Raises:
        DataError: the file can't be opened or read.
    """
    for line, raw in raw_lines(path):
        if not raw.strip(_BLANKS):
            continue
        try:
            yield parse_line(raw, str(path), line)
        except DataError as error:
            yield error.problem


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, bytes with the line end). A line over 64 MiB gives its first 64 MiB.

    Raises:
        DataError: the file can't be opened or read.
    """
    try:
        with os.fdopen(open_file(path), "rb") as file:
            number = 0
            while piece := file.readline(MAX_LINE_BYTES):
                number += 1
                yield number, piece
                while not piece.endswith(b"\n") and (piece := file.readline(MAX_LINE_BYTES)):
                    pass
    except OSError as error:
        raise file_error(path, error) from error


def open_file(path: Path) -> int:
    """A descriptor to read a data file by. Pipes and devices are refused, which might be read for ever.

    Raises:
        DataError: this is no ordinary file.
        OSError: it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    sentence, fix = "this is a pipe or a device, not a file.", "Write its rows to a file first."
    raise DataError(Problem("unreadable", "error", str(path), 0, None, sentence, fix))


def file_error(path: Path, error: OSError) -> DataError:
    """An operating system's error on a data file, in words."""
    if isinstance(error, FileNotFoundError):
        sentence, fix = "the file does not exist.", "Check the path; it is relative to the recipe's folder."
    elif isinstance(error, IsADirectoryError):
        sentence, fix = "this is a folder, not a file.", "Name one file in it."
    elif isinstance(error, PermissionError):
        sentence, fix = "the file can't be read by this user.", "Change its permissions (chmod u+r)."
    else:
        sentence, fix = "the file can't be read.", "Check the disk it is on, then try again."
    return DataError(
        Problem("unreadable", "error", str(path), 0, None, sentence, fix), error.strerror or str(error)
    )


def _parse_json(raw: bytes, row: _Row) -> Any:
    import orjson

    if len(raw) >= MAX_LINE_BYTES:
        raise row.error("line-too-long", "the line is longer than 64 MiB.", "Cut the row or drop it.")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        _explain_json(raw, row, error)


def _explain_json(raw: bytes, row: _Row, error: json.JSONDecodeError) -> NoReturn:
    """Raise the error of a line that is not JSON: where it breaks, in words."""
    fix = "Fix the line or drop it."
    try:
        text = raw.strip(_BLANKS).decode("utf-8")
    except UnicodeDecodeError as problem:
        _explain_encoding(raw.strip(_BLANKS), row, problem)
    if not text:
        raise row.error("blank-line", "the line is blank.", "Drop it.")
    if text in ("{", "[", "[{"):
        raise row.error(
            "json-document",
            "this is one JSON document over several lines, not JSON Lines (one object a line).",
            f"Convert it: jq -c 'if type == \"array\" then .[] else . end' {row.path} > rows.jsonl",
        )
    indent = len(raw.decode("utf-8")) - len(raw.decode("utf-8").lstrip(" \t\r\n"))
    sentence, position = _json_words(text, error)
    column = indent + position + 1
    raise row.error("broken-json", f"{sentence} (column {column}).", fix, column)


def _json_words(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """What is wrong with JSON text and at which character, as the standard library's finer parser sees it."""
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as finer:
        if finer.msg.startswith("Unterminated string"):
            return "JSON ends inside a string", len(text) - 1
        if finer.pos >= len(text):
            return "JSON ends before its closing bracket", len(text) - 1
        words = _JSON_WORDS.get(finer.msg.removesuffix(" at") if finer.msg not in _JSON_WORDS else finer.msg)
        return f"broken JSON: {words or finer.msg}", finer.pos
    except RecursionError:
        return "the JSON is nested too deeply", 0
    except ValueError as constant:
        name = str(constant)
        return f"broken JSON: {name} is not a JSON number", max(text.find(name), 0)
    return f"broken JSON: {error.msg}", min(error.pos, len(text) - 1)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _explain_encoding(raw: bytes, row: _Row, error: UnicodeDecodeError) -> NoReturn:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        sentence, column = "the file is UTF-16, not UTF-8.", 1
        fix = f"Convert it: iconv -f UTF-16 -t UTF-8 {row.path} > rows.jsonl"
    else:
        column = len(raw[: error.start].decode("utf-8")) + 1
        sentence = f"byte 0x{raw[error.start]:02X} is not UTF-8 (column {column})."
        fix = f"Convert the file: iconv -f LATIN1 -t UTF-8 {row.path} > rows.jsonl"
    raise row.error("not-utf-8", sentence, fix, column)


def _messages(value: Any, row: _Row) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        found = "empty" if value == [] else _kind(value)
        raise row.error("no-messages", f'"messages" is {found}, not a list of turns.', "Fix or drop the row.")
    messages = tuple(_message(item, number, row) for number, item in enumerate(value, 1))
    for number, message in enumerate(messages, 1):
        if message.role == "system" and number > 1:
            raise row.error(
                "system-not-first",
                f"message {number} is a system turn; only the first may be one.",
                "Move its text into the first message.",
            )
    if not any(message.role == "assistant" for message in messages):
        raise row.error(
            "no-assistant-turn",
            "the conversation has no assistant turn, so nothing in it can be trained.",
            "Add the answer or drop the row.",
        )
    return messages


def _message(value: Any, number: int, row: _Row) -> Message:
    if not isinstance(value, dict):
        raise row.error(
            "not-a-message", f"message {number} is {_kind(value)}, not an object.", "Fix or drop the row."
        )
    role = _role(value, number, row)
    if value.get("tool_calls") or value.get("function_call"):
        raise row.error(
            "tool-calls", f"message {number} calls a tool; tool calls can't be trained yet.", "Drop the row."
        )
    content = _text(value.get("content"), row, f"the content of message {number} ({role})")
    return Message(role, content, _weight(value.get("weight"), number, row))


def _role(value: dict[str, Any], number: int, row: _Row) -> str:
    role = value.get("role")
    if role in _ROLES:
        return str(role)
    if role in _TOOL_ROLES:
        raise row.error(
            "tool-calls",
            f"message {number} has the role {role!r}; tool turns can't be trained yet.",
            "Drop the row, or its tool turns.",
        )
    if role is None:
        raise row.error(
            "no-role", f"message {number} has no role.", "Give it one of: system, user, assistant."
        )
    meant = _meant(str(role))
    raise row.error(
        "unknown-role",
        f"message {number} has the unknown role {str(role)[:40]!r}.",
        f"Write {meant!r} instead." if meant else "Roles are: system, user, assistant.",
    )


def _meant(role: str) -> str | None:
    """The role that a wrong one was probably meant to be."""
    from difflib import get_close_matches

    return _MEANT.get(role) or next(iter(get_close_matches(role.lower(), _ROLES, 1, 0.7)), None)


def _text(value: Any, row: _Row, name: str) -> str:
    """Content as one string; parts of a list are joined as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, row, name) for part in value)
    code = "null-content" if value is None else "not-text"
    raise row.error(code, f"{name} is {_kind(value)}, not text.", "Write the text, or drop the row.")


def _part(part: Any, row: _Row, name: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else None
    what = f"of type {str(kind)[:40]!r}" if kind not in (None, "text") else "without text"
    raise row.error(
        "not-text", f"{name} has a part {what}; only text can be trained.", "Drop the part or the row."
    )


def _weight(value: Any, number: int, row: _Row) -> int:
    if value is None:
        return 1
    if value in (0, 1) and isinstance(value, int | float):
        return int(value)
    raise row.error(
        "weight", f"message {number} has the weight {str(value)[:40]}.", "Weights are 0 (not trained) or 1."
    )


def _kind(value: Any) -> str:
    """A JSON value's kind in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names: dict[type, str] = {
        str: "a string",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]
