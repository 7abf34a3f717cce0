"""JSON text to values; text that is none is explained by line, column and cause."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from core.data.files import MAX_LINE_BYTES
from core.data.problems import Place

_BLANKS = b" \t\r\n"

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
    import orjson

    if len(raw) >= MAX_LINE_BYTES:
        raise place.error("line-too-long", "the line is longer than 64 MiB.", "Cut the row or drop it.")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        _explain_json(raw, place, error)


def _explain_json(raw: bytes, place: Place, error: json.JSONDecodeError) -> NoReturn:
    """Raise the error of a line that is not JSON: where it breaks, in words."""
    fix = "Fix the line or drop it."
    try:
        text = raw.strip(_BLANKS).decode("utf-8")
    except UnicodeDecodeError as problem:
        _explain_encoding(raw.strip(_BLANKS), place, problem)
    if not text:
        raise place.error("blank-line", "the line is blank.", "Drop it.")
    if text in ("{", "[", "[{"):
        raise place.error(
            "json-document",
            "this is one JSON document over several lines, not JSON Lines (one object a line).",
            f"Convert it: jq -c 'if type == \"array\" then .[] else . end' {place.path} > rows.jsonl",
        )
    indent = len(raw.decode("utf-8")) - len(raw.decode("utf-8").lstrip(" \t\r\n"))
    sentence, position = _json_words(text, error)
    column = indent + position + 1
    raise place.error("broken-json", f"{sentence} (column {column}).", fix, column)


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


def _explain_encoding(raw: bytes, place: Place, error: UnicodeDecodeError) -> NoReturn:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        sentence, column = "the file is UTF-16, not UTF-8.", 1
        fix = f"Convert it: iconv -f UTF-16 -t UTF-8 {place.path} > rows.jsonl"
    else:
        column = len(raw[: error.start].decode("utf-8")) + 1
        sentence = f"byte 0x{raw[error.start]:02X} is not UTF-8 (column {column})."
        fix = f"Convert the file: iconv -f LATIN1 -t UTF-8 {place.path} > rows.jsonl"
    raise place.error("not-utf-8", sentence, fix, column)


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
