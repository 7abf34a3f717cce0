"""What a file's rows are like: how long, how many turns, which labels, how much they have in common."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.conversation import Conversation
from core.data.files import BLANKS, file_error, open_file
from core.data.framing import value_of
from core.data.index import RowIndex, open_index, read_span
from core.data.measuring import Measure, measure_many
from core.data.problems import DataError, Place
from core.data.sandbox import RenderingError
from core.data.shapes import convert
from core.data.split import split
from core.pipes import Request

if TYPE_CHECKING:
    from core.data.rendering import Renderer

BINS = 24
LABELS_KEPT = 20
_PREFIX_ROWS = 2000
"""Rows whose common beginnings are looked for: each is kept as tokens."""


def measure(
    path: Path,
    *,
    sample: int = 20_000,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    renderer: Renderer | None = None,
    sequence_length: int = 2048,
    request: Request | None = None,
) -> dict[str, Any]:
    """Figures of a plain file's rows.

    Args:
        path: the file.
        sample: at most so many rows are read, drawn with a fixed seed.
        columns: mapping of its columns.
        name: what the file was called, where `path` is a copy.
        renderer: the model; without one tokens are left out.
        sequence_length: what is cut off beyond it.
        request: asked now and then whether to go on.

    Returns:
        `rows`, `sampled`, `usable`; `turns` and with a model `tokens`, `trained_tokens` (see `spread`), `cut` and
        `lost` (rows that the sequence length cuts, and that train nothing within it), `total_tokens` and
        `total_trained` (of all rows, by the sample's mean), `refused`, `shared` (share of tokens in beginnings
        that rows have in common); `labels` and `shapes` with their counts.
    """
    rows, sampled, usable = _usable(path, sample, columns, name, request)
    answer: dict[str, Any] = {
        "rows": rows,
        "sampled": sampled,
        "usable": len(usable),
        "turns": spread([len(row.messages) for row in usable if row.messages]),
        "shapes": dict(Counter(row.shape for row in usable).most_common()),
        "labels": dict(_labels(usable).most_common(LABELS_KEPT)),
    }
    if renderer is not None:
        answer.update(_in_tokens(renderer, usable, sampled, rows, sequence_length, request))
    return answer


def _usable(
    path: Path,
    sample: int,
    columns: Mapping[str, str] | None,
    name: str | None,
    request: Request | None,
) -> tuple[int, int, list[Conversation]]:
    """(rows of the file, rows read, those of them that can be used)."""
    index = open_index(path, name)
    try:
        index.scan(cancelled=(lambda: request.cancelled) if request else None)
        if request:
            request.check()
        rows = len(index)
        chosen = range(rows) if rows <= sample else split(rows, sample / rows, 0)[1]
        usable = [row for row in _conversations(index, chosen, columns, request) if row is not None]
    finally:
        index.close()
    return rows, len(chosen), usable


def _conversations(
    index: RowIndex, numbers: Sequence[int], columns: Mapping[str, str] | None, request: Request | None
) -> Iterable[Conversation | None]:
    try:
        file = open_file(index.path)
    except OSError as error:
        raise file_error(index.path, error) from error
    with os.fdopen(file, "rb"):
        for number in numbers:
            if request:
                request.check()
            place = Place(str(index.path), index.line_number(number), number + 1)
            raw = read_span(file, index.path, *index.span(number)).strip(BLANKS)
            try:
                yield convert(value_of(raw, index.format, place), place, columns) if raw else None
            except DataError:
                yield None


def _labels(rows: Sequence[Conversation]) -> Counter[str]:
    labels: Counter[str] = Counter(row.label for row in rows if row.label is not None)
    labels.update("wanted" if row.wanted else "not wanted" for row in rows if row.wanted is not None)
    return labels


def _in_tokens(
    renderer: Renderer,
    usable: Sequence[Conversation],
    sampled: int,
    rows: int,
    sequence_length: int,
    request: Request | None,
) -> dict[str, Any]:
    good: list[Measure] = []
    for item in measure_many(renderer, usable):
        if request:
            request.check()
        if isinstance(item, Measure):
            good.append(item)
    tokens = [min(item.tokens, sequence_length) for item in good]
    trained = [item.trained_within(sequence_length) for item in good]
    scale = rows / sampled if sampled else 0.0
    return {
        "refused": len(usable) - len(good),
        "tokens": spread([item.tokens for item in good]),
        "trained_tokens": spread(trained),
        "cut": sum(item.tokens > sequence_length for item in good),
        "lost": sum(count == 0 for count in trained),
        "total_tokens": round(sum(tokens) * scale),
        "total_trained": round(sum(trained) * scale),
        "shared": shared_share(renderer, usable[:_PREFIX_ROWS], sequence_length),
    }


def shared_share(renderer: Renderer, rows: Sequence[Conversation], sequence_length: int) -> float:
    """Share of the rows' tokens that stand in beginnings which another row has too, after the first time."""
    ids = sorted(
        item.ids[:sequence_length]
        for item in renderer.render_many(rows)
        if not isinstance(item, RenderingError)
    )
    total = sum(map(len, ids))
    shared = sum(_common(one, two) for one, two in zip(ids, ids[1:], strict=False))
    return shared / total if total else 0.0


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    for place, (left, right) in enumerate(zip(one, two, strict=False)):
        if left != right:
            return place
    return min(len(one), len(two))


def spread(values: Sequence[int]) -> dict[str, Any] | None:
    """Smallest, median, 95th percentile, largest, mean, sum and a histogram; None of no values.

    The histogram is {"start", "width", "counts"} of equal bins, the last of which also holds what lies far out:
    it ends at the 99th percentile.
    """
    if not values:
        return None
    ordered = sorted(values)
    last = len(ordered) - 1
    low, high = ordered[0], ordered[int(last * 0.99)]
    width = max(1, -(-(high - low + 1) // BINS))
    counts = [0] * min(BINS, (high - low) // width + 1)
    for value in ordered:
        counts[min((value - low) // width, len(counts) - 1)] += 1
    return {
        "min": low,
        "median": ordered[last // 2],
        "p95": ordered[int(last * 0.95)],
        "max": ordered[-1],
        "mean": sum(ordered) / len(ordered),
        "sum": sum(ordered),
        "histogram": {"start": low, "width": width, "counts": counts},
    }
