"""A file in pieces of whole rows, for those who go through all of it: checks, repairs, filters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from core.data.files import BLANKS, MAX_LINE_BYTES, file_error, open_file
from core.data.formats import Format
from core.data.index import RowIndex, open_index, read_span
from core.data.problems import Place

BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Block:
    """Whole rows that follow one another.

    Args:
        start: first byte.
        end: byte after the last.
        row: number of the first row, from 1.
        line: line the first row starts in, from 1.
        spans: (first byte, byte after the last, line) of each row; empty where every line is a row.
    """

    start: int
    end: int
    row: int
    line: int
    spans: tuple[tuple[int, int, int], ...] = ()


def blocks(
    path: Path, format: Format, size: int = BLOCK_BYTES, cancelled: Callable[[], bool] | None = None
) -> Iterator[Block]:
    """All rows of a plain file in blocks of about `size` bytes; a longer row is a block of its own.

    Raises:
        DataError: the file can't be read.
    """
    if format.kind in ("jsonl", "text"):
        yield from _line_blocks(path, format, size)
        return
    index = open_index(path, f"rows.{format.kind}" if format.kind == "csv" else None)
    try:
        index.scan(cancelled=cancelled)
        yield from _span_blocks(index, size)
    finally:
        index.close()


def _line_blocks(path: Path, format: Format, size: int) -> Iterator[Block]:
    start, line = format.start, 1
    try:
        file = open_file(path)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        while True:
            end, lines = _line_end(file, path, start, size)
            if end == start:
                return
            yield Block(start, end, line, line)
            start, line = end, line + lines
    finally:
        os.close(file)


def _line_end(file: int, path: Path, start: int, size: int) -> tuple[int, int]:
    """(byte after the last line that ends within `size`, or after one long line; lines up to there)."""
    position = start
    while True:
        try:
            piece = os.pread(file, size, position)
        except OSError as error:
            raise file_error(path, error) from error
        if not piece:
            return position, int(position > start)
        last = piece.rfind(b"\n")
        if last >= 0 and position == start:
            return position + last + 1, piece.count(b"\n", 0, last + 1)
        if last >= 0:
            first = piece.find(b"\n")
            return position + first + 1, 1
        position += len(piece)


def _span_blocks(index: RowIndex, size: int) -> Iterator[Block]:
    spans: list[tuple[int, int, int]] = []
    row = 1
    for number in range(len(index)):
        start, end = index.span(number)
        if spans and end - spans[0][0] > size:
            yield Block(spans[0][0], spans[-1][1], row, spans[0][2], tuple(spans))
            row, spans = number + 1, []
        spans.append((start, end, index.line_number(number)))
    if spans:
        yield Block(spans[0][0], spans[-1][1], row, spans[0][2], tuple(spans))


def rows_in(file: int, path: Path, block: Block) -> Iterator[tuple[Place, bytes]]:
    """(place, bytes) of each row of a block, blank lines too.

    Args:
        file: descriptor of the open file.
        path: its name for messages.
        block: one of `blocks`.

    Raises:
        DataError: the file can't be read.
    """
    name = str(path)
    if block.spans:
        for number, (start, end, line) in enumerate(block.spans, block.row):
            yield Place(name, line, number), read_span(file, path, start, end).strip(BLANKS)
        return
    raw = read_span(file, path, block.start, block.end, max(block.end - block.start, MAX_LINE_BYTES))
    for line, row in zip(count(block.line), raw.split(b"\n"), strict=False):
        yield Place(name, line, line), row
