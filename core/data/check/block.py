"""One block of rows through all tiers: the part of a check that runs in several processes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from core.data.blocks import Block, rows_in
from core.data.check.scan import Row, Scanner, may_have_control
from core.data.codes import Tier
from core.data.files import MAX_LINE_BYTES, file_error, open_file
from core.data.formats import Format
from core.data.index import read_span
from core.data.problems import Problem

if TYPE_CHECKING:
    from core.data.check.near import Signatures
    from core.data.conversation import Conversation
    from core.data.rendering import Renderer

MANY_LABELS = 1000
"""Labels beyond so many kinds are values, not classes."""


@dataclass(frozen=True)
class Job:
    """What a block's rows are checked for; the same for all blocks of a file.

    Attributes:
        every: the tiers beyond structure look at every so-many-th row.
    """

    file: int
    path: Path
    title: str
    format: Format
    tiers: frozenset[Tier]
    columns: tuple[tuple[str, str], ...] | None = None
    every: int = 1
    model_folder: str = ""
    chat_template: str | None = None
    sequence_length: int = 0


@dataclass
class Result:
    """What was found in a block; `problems` are in order of row.

    Attributes:
        hashes: of the usable rows, 64 bits each; `places` has row and line of each, 32 bits each.
        shapes: of each shape the number of rows and its first row and line.
        near: signatures of sampled rows; their numbers count usable rows.
        sampled: rows that the tiers beyond structure looked at, and their bytes.
    """

    file: int
    size: int
    problems: list[Problem] = field(default_factory=list)
    rows: int = 0
    usable: int = 0
    hashes: bytes = b""
    places: bytes = b""
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    near: Signatures | None = None
    sampled: tuple[int, int] = (0, 0)
    tokens: int = 0
    seconds: dict[Tier, float] = field(default_factory=dict)


def check_block(job: Job, block: Block) -> Result:
    """Everything that can be told of a block's rows without the file's other rows.

    Raises:
        DataError: the file can't be read.
    """
    result = Result(job.file, block.end - block.start)
    started = perf_counter()
    rows = _structure(job, block, result)
    started = _spent(result, "structure", started)
    sample = [row for row in rows if (row.row - 1) % job.every == 0] if job.every > 1 else rows
    result.sampled = len(sample), sum(row.size for row in sample)
    if "text" in job.tiers:
        from core.data.check.text import text_problems

        result.problems += text_problems(sample, job.title)
        started = _spent(result, "text", started)
    if "near" in job.tiers:
        _near(job, rows, result)
        started = _spent(result, "near", started)
    if "tokens" in job.tiers:
        from core.data.check.tokens import token_problems

        usable = [row for row in sample if row.usable]
        problems, result.tokens = token_problems(usable, job.title, _renderer_of(job), job.sequence_length)
        result.problems += problems
        _spent(result, "tokens", started)
    result.problems.sort(key=lambda problem: problem.row)
    return result


def _structure(job: Job, block: Block, result: Result) -> list[Row]:
    import numpy as np
    from xxhash import xxh3_64_intdigest

    raws, doubtful = _raws(job, block)
    rows = list(_scanner(job).rows(raws, doubtful, result.problems))
    usable = [row for row in rows if row.usable]
    result.rows, result.usable = len(rows), len(usable)
    result.hashes = np.array([xxh3_64_intdigest(row.key) for row in usable], np.uint64).tobytes()
    places = np.empty((len(usable), 2), np.uint32)
    places[:, 0] = [row.row for row in usable]
    places[:, 1] = [row.line for row in usable]
    result.places = places.tobytes()
    for shape, number in Counter([row.shape for row in rows]).items():
        if shape:
            first = next(row for row in rows if row.shape == shape)
            result.shapes[shape] = number, first.row, first.line
    for row in usable:
        if row.conversation is not None:
            _count_label(row.conversation, result.labels)
    return rows


def _raws(job: Job, block: Block) -> tuple[Iterator[tuple[int, int, bytes]], bool]:
    """(row, line, bytes) of a block's rows, and whether there may be control characters in them."""
    try:
        file = open_file(job.path)
    except OSError as error:
        raise file_error(job.path, error) from error
    try:
        if block.spans:
            placed = list(rows_in(file, job.path, block))
            doubtful = any(may_have_control(raw) for _, raw in placed)
            return ((place.row, place.line, raw) for place, raw in placed), doubtful
        limit = max(block.end - block.start, MAX_LINE_BYTES)
        raw = read_span(file, job.path, block.start, block.end, limit)
    finally:
        os.close(file)
    return zip(count(block.row), count(block.line), raw.split(b"\n")), may_have_control(raw)


def _count_label(conversation: Conversation, labels: Counter[str]) -> None:
    label = conversation.label
    if label is None and conversation.wanted is not None:
        label = "wanted" if conversation.wanted else "not wanted"
    if label is not None and (label in labels or len(labels) <= MANY_LABELS):
        labels[label] += 1


def _near(job: Job, rows: Sequence[Row], result: Result) -> None:
    from core.data.check.near import signatures

    usable = enumerate(row for row in rows if row.usable)
    chosen = [(number, row) for number, row in usable if (row.row - 1) % job.every == 0]
    if chosen:
        import numpy as np

        found = signatures([row for _, row in chosen])
        numbers = np.array([number for number, _ in chosen], np.uint32)[found.numbers]
        result.near = found._replace(numbers=numbers)


def _spent(result: Result, tier: Tier, since: float) -> float:
    now = perf_counter()
    result.seconds[tier] = now - since
    return now


@lru_cache(maxsize=8)
def _scanner(job: Job) -> Scanner:
    columns = dict(job.columns) if job.columns is not None else None
    return Scanner(job.title, job.format, columns, "azure" in job.tiers)


def _renderer_of(job: Job) -> Renderer:
    return _renderer(job.model_folder, job.chat_template)


@lru_cache(maxsize=2)
def _renderer(folder: str, chat_template: str | None) -> Renderer:
    from core.data.rendering import Renderer

    return Renderer.from_folder(Path(folder), chat_template)


def forget() -> None:
    """Read models anew at the next block; their folders may have changed since the last check."""
    _scanner.cache_clear()
    _renderer.cache_clear()


def as_array(raw: bytes, kind: Any) -> Any:
    """The numbers of `Result.hashes` or `Result.places`."""
    import numpy as np

    return np.frombuffer(raw, kind)
