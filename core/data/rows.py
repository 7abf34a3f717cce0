"""The rows of a file, one by one: each is a conversation, or a problem that names line, column and cause.

Rows are data, never code: values are read as JSON and kept as plain strings. Files are never loaded whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.data.blocks import blocks, rows_in
from core.data.conversation import Conversation
from core.data.files import BLANKS, file_error, open_file
from core.data.formats import Format, format_of
from core.data.framing import value_of
from core.data.problems import DataError, Place, Problem
from core.data.shapes import convert

_BOM = b"\xef\xbb\xbf"
_LINES = Format("jsonl")


def parse_line(raw: bytes, path: str, line: int) -> Conversation:
    """The conversation of one line of JSON Lines.

    Args:
        raw: the line's bytes, with or without its line end.
        path: the file's name for messages.
        line: its number, from 1.

    Raises:
        DataError: the line is not such a conversation.
    """
    return parse_row(raw.removeprefix(_BOM) if line == 1 else raw, _LINES, Place.of_line(path, line))


def parse_row(
    raw: bytes, format: Format, place: Place, columns: Mapping[str, str] | None = None
) -> Conversation:
    """The conversation of one row.

    Args:
        raw: the row's bytes.
        format: of its file.
        place: where it is.
        columns: names of the parts in this file, where they are not the usual ones.

    Raises:
        DataError: the row is no conversation of a known shape.
    """
    return convert(value_of(raw, format, place), place, columns)


def read_rows(
    path: Path, columns: Mapping[str, str] | None = None, title: str | None = None
) -> Iterator[Conversation | Problem]:
    """One item for every row of a plain file: its conversation, or what is wrong with it.

    Args:
        path: the file; compressed ones have to be unpacked first.
        columns: see `parse_row`.
        title: what the user calls the file, where `path` is a copy of it.

    Raises:
        DataError: the file can't be opened or read.
    """
    for place, value in read_values(path, title):
        try:
            yield value if isinstance(value, Problem) else convert(value, place, columns)
        except DataError as error:
            yield error.problem


def read_values(path: Path, title: str | None = None) -> Iterator[tuple[Place, dict[str, Any] | Problem]]:
    """(place, object or problem) of every row of a plain file; blank lines are passed over.

    Raises:
        DataError: the file can't be opened or read.
    """
    format = format_of(path, title)
    try:
        file = open_file(path)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        for block in blocks(path, format):
            for place, raw in rows_in(file, path, block):
                if raw.strip(BLANKS):
                    yield _value(raw, format, replace(place, path=title) if title else place)
    finally:
        os.close(file)


def _value(raw: bytes, format: Format, place: Place) -> tuple[Place, dict[str, Any] | Problem]:
    try:
        return place, value_of(raw, format, place)
    except DataError as error:
        return place, error.problem


def count_rows(path: Path) -> int:
    """Rows of a plain file that are not blank.

    Raises:
        DataError: the file can't be opened or read.
    """
    format = format_of(path)
    try:
        file = open_file(path)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        return sum(
            1 for block in blocks(path, format) for _, raw in rows_in(file, path, block) if raw.strip(BLANKS)
        )
    finally:
        os.close(file)
