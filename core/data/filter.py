"""Rows of a file that a filter lets through, found in one streaming pass."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.blocks import Block, blocks, rows_in
from core.data.check.rows import row_problems
from core.data.check.scan import Row, Scanner
from core.data.codes import CODES, Tier
from core.data.files import BLANKS, file_error, open_file
from core.data.formats import Format, format_of
from core.data.framing import value_of
from core.data.index import read_span
from core.data.measuring import Measure, measure_many
from core.data.problems import DataError, Place
from core.data.query import BETWEEN_ROWS, COMPARE, Query, QueryError, Term
from core.data.sandbox import RenderingError

if TYPE_CHECKING:
    from core.data.rendering import Renderer

_LOWERS_TO_ASCII = (b"\xe2\x84\xaa", b"\xc4\xb0")
"""The Kelvin sign and the dotted I: the characters beyond ASCII whose small letters hold an ASCII one."""

_JSON_SAFE = re.compile(r"[ !#-.0-\[\]-~]+")
"""ASCII that JSON writes as it is, if it does not write it as \\u00XX."""


class Filter:
    """A filter on the rows of one file.

    Args:
        path: a plain file.
        query: what to let through.
        name: what the file was called, where `path` is a copy.
        columns: mapping of its columns.
        renderer: the model, for conditions on tokens and its problems.
        sequence_length: for problems of length.

    Raises:
        QueryError: it asks for what a look at single rows or a missing model can't tell.
        DataError: the file can't be read.
    """

    def __init__(
        self,
        path: Path,
        query: Query,
        name: str | None = None,
        columns: Mapping[str, str] | None = None,
        renderer: Renderer | None = None,
        sequence_length: int = 2048,
    ) -> None:
        self.path = path
        self.query = query
        self.columns = columns
        self.renderer = renderer
        self.sequence_length = sequence_length
        self.scanned = 0
        self.format: Format = format_of(path, name)
        self.tiers: frozenset[Tier] = frozenset(CODES[code].tier for code in query.codes)
        self._scanner = Scanner(str(path), self.format, columns)
        self._needs_rows = any(_needs_row(term) for term in query.terms)
        self._required = _required_texts(query) if self.format.kind in ("jsonl", "array") else ()
        self._refuse()

    def _refuse(self) -> None:
        between = sorted(self.query.codes & BETWEEN_ROWS)
        if between:
            raise QueryError(
                "The filter can't be answered row by row.",
                f"{between[0]} compares rows with one another.",
                "Go through the rows it was found in with n, or list them with `finetui data check`.",
            )
        if self.renderer is None and self.query.needs_model:
            raise QueryError(
                "The filter needs a model.",
                "Tokens are a model's.",
                "Choose a model that is on this machine.",
            )

    def rows(self, cancelled: Callable[[], bool] | None = None) -> Iterator[list[int]]:
        """Row numbers (from 0, ascending) a block at a time; `scanned` counts the bytes done."""
        try:
            file = open_file(self.path)
        except OSError as error:
            raise file_error(self.path, error) from error
        try:
            for block in blocks(self.path, self.format, cancelled=cancelled):
                if cancelled and cancelled():
                    return
                found = self._in_block(file, block)
                self.scanned = block.end
                yield found
        finally:
            os.close(file)

    def _in_block(self, file: int, block: Block) -> list[int]:
        if self._required and not block.spans:
            raw = read_span(file, self.path, block.start, block.end, block.end - block.start)
            if not self._may_match(raw):
                return []
        placed = [
            (place, raw)
            for place, raw in rows_in(file, self.path, block)
            if raw.strip(BLANKS) and (not self._required or self._may_match(raw))
        ]
        looks = self._read(placed) if self._needs_rows else [Look(self, *item, None) for item in placed]
        if self.query.needs_tokens:
            self._measure(looks)
        return [look.place.row - 1 for look in looks if look.matches()]

    def _read(self, placed: list[tuple[Place, bytes]]) -> list[Look]:
        raws = ((place.row, place.line, raw) for place, raw in placed)
        rows = self._scanner.rows(raws, doubtful=False, found=[])
        return [Look(self, place, raw, row) for (place, raw), row in zip(placed, rows, strict=True)]

    def _may_match(self, raw: bytes) -> bool:
        """False only where a text that is required is surely not in these bytes."""
        if b"\\u" in raw or (not raw.isascii() and any(mark in raw for mark in _LOWERS_TO_ASCII)):
            return True
        lower = raw.lower()
        return all(text in lower for text in self._required)

    def _measure(self, looks: list[Look]) -> None:
        assert self.renderer is not None
        usable = [look for look in looks if look.row is not None and look.row.usable]
        rows = [look.row.as_conversation(str(self.path)) for look in usable if look.row is not None]
        for look, measure in zip(usable, measure_many(self.renderer, rows), strict=True):
            if not isinstance(measure, RenderingError):
                look.measure = measure


class Look:
    """One row; `row` is None where the filter does not ask for anything in it."""

    def __init__(self, filter: Filter, place: Place, raw: bytes, row: Row | None) -> None:
        self._filter = filter
        self.place = place
        self.raw = raw
        self.row = row
        self.measure: Measure | None = None

    def matches(self) -> bool:
        """Whether the filter lets the row through."""
        return any(
            all(self._holds(term) != term.negated for term in group) for group in self._filter.query.groups
        )

    def _holds(self, term: Term) -> bool:
        if term.kind == "text":
            return any(term.text in content.lower() for content in self.contents)
        if term.kind == "pattern":
            return any(map(re.compile(term.text).search, self.contents))
        if term.kind == "number":
            number = self._number(term.name)
            return number is not None and COMPARE[term.sign](number, float(term.text))
        if term.kind == "name":
            return term.text in self._names(term.name)
        return any(term.text in text.lower() for text in _at(self.value, term.name.split(".")))

    @cached_property
    def value(self) -> dict[str, Any] | None:
        try:
            return value_of(self.raw, self._filter.format, self.place)
        except DataError:
            return None

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """The row's texts; of one that can't be read its bytes."""
        found = self.row.contents if self.row is not None else ()
        return found or (self.raw.decode("utf-8", "replace"),)

    def _number(self, name: str) -> float | None:
        if name in ("line", "row"):
            return self.place.line if name == "line" else self.place.row
        if name in ("tokens", "trained"):
            return None if self.measure is None else float(getattr(self.measure, name))
        if name == "chars":
            return sum(map(len, self.contents))
        if self.row is None or not self.row.usable:
            return None
        return len(self.row.conversation.messages if self.row.conversation else self.row.roles)

    def _names(self, name: str) -> set[str]:
        if name == "code":
            return self._codes()
        if self.row is None:
            return set()
        if name == "role":
            return {role.lower() for role in self.row.roles}
        if name == "shape":
            return {self.row.shape}
        conversation = self.row.conversation
        return {conversation.label.lower()} if conversation and conversation.label is not None else set()

    def _codes(self) -> set[str]:
        filter = self._filter
        if self.value is None:
            try:
                value_of(self.raw, filter.format, self.place)
            except DataError as error:
                return {error.problem.code}
            return set()
        problems = row_problems(
            self.value, self.place, filter.tiers, filter.columns, filter.renderer, filter.sequence_length
        )
        return {problem.code for problem in problems}


def _needs_row(term: Term) -> bool:
    """Whether a condition is on what is in a row, as its shape says."""
    if term.kind == "number":
        return term.name not in ("line", "row")
    return term.kind != "field" and term.name != "code"


def _at(value: Any, path: list[str]) -> Iterator[str]:
    """The texts at a path of keys; a list is looked at item by item."""
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif path and isinstance(value, dict):
        if path[0] in value:
            yield from _at(value[path[0]], path[1:])
    elif not path and not isinstance(value, dict) and value is not None:
        yield (
            value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        )


def _required_texts(query: Query) -> tuple[bytes, ...]:
    """Texts that every row let through holds in its bytes, small letters; only those JSON does not rewrite."""
    if len(query.groups) > 1:
        return ()
    return tuple(
        term.text.encode()
        for term in query.groups[0]
        if term.kind == "text" and not term.negated and _JSON_SAFE.fullmatch(term.text)
    )
