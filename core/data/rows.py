"""One line of a file becomes one conversation, or an error that names the line, the column and the cause.

Rows are data, never code: values are read as JSON and kept as plain strings. Files are read line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.data.conversation import Conversation
from core.data.files import raw_lines
from core.data.jsontext import kind_of, parse_json
from core.data.problems import DataError, Place, Problem
from core.data.shapes import convert

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"


def parse_line(raw: bytes, path: str, line: int) -> Conversation:
    """The conversation of one line of JSON Lines.

    Args:
        raw: the line's bytes, with or without its line end.
        path: the file's name for messages.
        line: its number, from 1.

    Raises:
        DataError: the line is not such a conversation.
    """
    place = Place.of_line(path, line)
    value = parse_json(raw.removeprefix(_BOM) if line == 1 else raw, place)
    if isinstance(value, list):
        raise place.error(
            "json-document",
            "this is a JSON array, not JSON Lines (one object a line).",
            f"Convert it: jq -c '.[]' {path} > rows.jsonl",
        )
    if not isinstance(value, dict):
        raise place.error(
            "not-an-object", f"the line is {kind_of(value)}, not a JSON object.", "Fix or drop the line."
        )
    return convert(value, place)


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
