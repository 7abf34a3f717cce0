"""The rows of a file as bytes with their line ends, so that those nobody changes can be copied as they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from core.data.blocks import Block, blocks, rows_in
from core.data.files import file_error, open_file
from core.data.formats import Format, format_of
from core.data.framing import value_of
from core.data.problems import DataError, Place, Problem
from core.data.sources import stamp
from core.data.unpack import Cancelled, unpacked

BLANKS = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_PIECE_BYTES = 1 << 20


class RawRow(NamedTuple):
    """A row as it stands in the file; `ending` is its line end, `position` the byte after it."""

    place: Place
    raw: bytes
    ending: bytes
    position: int

    @property
    def blank(self) -> bool:
        return not self.raw.strip(BLANKS)


class Source:
    """A data file to take rows from; a packed one is unpacked first.

    Args:
        path: the file.
        name: what it was called, where `path` is a copy of it.
        columns: the mapping of its columns.
        cancelled: asked after each block.

    Raises:
        DataError: it can't be read.
        Cancelled: as asked.
    """

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        columns: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.path = path
        self.title = name or str(path)
        self.columns: Mapping[str, str] = columns or {}
        self._cancelled = cancelled or (lambda: False)
        self.plain = unpacked(path, cancelled=cancelled)
        self.format: Format = format_of(self.plain, name or self.plain.name)
        self.size = self.plain.stat().st_size
        self._stamp = stamp(path)

    @property
    def opening(self) -> bytes:
        """What a file of its rows begins with."""
        return _BOM if self.format.start and self.format.kind == "jsonl" else b""

    def rows(self) -> Iterator[RawRow]:
        """Every row, blank lines too.

        Raises:
            DataError: the file can't be read.
            Cancelled: as asked.
        """
        try:
            file = open_file(self.plain)
        except OSError as error:
            raise file_error(self.path, error) from error
        try:
            for block in blocks(self.plain, self.format, cancelled=self._cancelled):
                if self._cancelled():
                    raise Cancelled
                yield from self._rows_in(file, block)
        finally:
            os.close(file)

    def _rows_in(self, file: int, block: Block) -> Iterator[RawRow]:
        if block.spans:
            for place, raw in rows_in(file, self.plain, block):
                yield RawRow(replace(place, path=self.title), raw, b"\n", block.end)
            return
        position = block.start
        for number, line in enumerate(_lines(_bytes(file, self.plain, block)), block.line):
            raw = line.removesuffix(b"\n").removesuffix(b"\r")
            position += len(line)
            yield RawRow(Place(self.title, number, number), raw, line[len(raw) :], position)

    def value(self, row: RawRow) -> dict[str, Any]:
        """The object of a row.

        Raises:
            DataError: it has none.
        """
        return value_of(row.raw, self.format, row.place)

    def as_line(self, row: RawRow) -> bytes:
        """A row nobody changed as a line of JSON Lines: of such a file its own bytes.

        Raises:
            DataError: of another format, the row can't be read, so that it can't be written either.
        """
        if self.format.kind == "jsonl":
            return row.raw + row.ending
        value = self.value(row)
        if self.format.kind in ("array", "document"):  # line ends stand between values, never in texts
            return b" ".join(part.strip(BLANKS) for part in row.raw.split(b"\n")) + b"\n"
        return dumped(value) + b"\n"

    def sha256(self) -> str:
        """Of the file as it is, packed or not.

        Raises:
            DataError: it can't be read, or has changed since its rows were.
        """
        digest = hashlib.sha256()
        try:
            with os.fdopen(open_file(self.path), "rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
        except OSError as error:
            raise file_error(self.path, error) from error
        if stamp(self.path) != self._stamp:
            sentence, fix = "the file changes while it is read.", "Try again when it is at rest."
            raise DataError(Problem("unreadable", "error", self.title, 0, None, sentence, fix))
        return digest.hexdigest()


def dumped(value: Any) -> bytes:
    """A JSON value on one line."""
    import orjson

    return orjson.dumps(value)


def _bytes(file: int, path: Path, block: Block) -> bytes:
    pieces, position = [], block.start
    try:
        while position < block.end and (piece := os.pread(file, block.end - position, position)):
            pieces.append(piece)
            position += len(piece)
    except OSError as error:
        raise file_error(path, error) from error
    return b"".join(pieces)


def _lines(raw: bytes) -> Iterator[bytes]:
    """Lines with their ends; only a line feed ends one."""
    *whole, last = raw.split(b"\n")
    for line in whole:
        yield line + b"\n"
    if last:
        yield last
