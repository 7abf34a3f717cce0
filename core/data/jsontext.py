"""JSON text to values; text that is none is explained by line, column and cause."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NoReturn

from core.data.files import MAX_LINE_BYTES
from core.data.problems import Place

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


def parse_json(raw: bytes, place: Place) -> Any:
    """The JSON value of a row's bytes.

    Raises:
        DataError: saying at which line and column it breaks and why. A row that starts in the middle of a line,
            in a JSON array, counts its columns from there.
    """
    import orjson

    if len(raw) >= MAX_LINE_BYTES:
        raise place.error("line-too-long", "the row is longer than 64 MiB.", "Cut the row or drop it.")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        _explain_json(raw, place, error)


def decode_text(raw: bytes, place: Place) -> str:
    """UTF-8 as text.

    Raises:
        DataError: it is not UTF-8; says which byte of which line is not.
    """
    if len(raw) >= MAX_LINE_BYTES:
        raise place.error("line-too-long", "the row is longer than 64 MiB.", "Cut the row or drop it.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        where, column = _in_lines(raw[: error.start].decode("utf-8"), place)
        sentence = f"byte 0x{raw[error.start]:02X} is not UTF-8 (column {column})."
        fix = f"If it is Windows' encoding: finetui data fix {place.path} --code not-utf-8"
        raise where.error("not-utf-8", sentence, fix, column) from error


def _in_lines(before: str, place: Place) -> tuple[Place, int]:
    """(place, column) of what follows some text of a row of several lines."""
    line = replace(place, line=place.line + before.count("\n"))
    return line, len(before) - (before.rfind("\n") + 1) + 1


def _explain_json(raw: bytes, place: Place, error: json.JSONDecodeError) -> NoReturn:
    """Raise the error of a row that is not JSON: where it breaks, in words."""
    whole = decode_text(raw, place)
    text = whole.strip(" \t\r\n")
    if not text:
        raise place.error("blank-line", "the line is blank.", "Drop it.")
    sentence, position = _json_words(text, error)
    where, column = _in_lines(whole[: whole.index(text) + position], place)
    raise where.error("broken-json", f"{sentence} (column {column}).", "Fix the row or drop it.", column)


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


def kind_of(value: Any) -> str:
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
