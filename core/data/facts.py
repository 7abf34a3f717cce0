"""What a split or a sample has to know of a file's rows: which belong together, and of which class each is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.check.scan import Scanner
from core.data.check.seen import Seen
from core.data.repair.source import RawRow, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

Progress = Callable[[int, int], None]
_AT_ONCE = 4096
_REPORT_BYTES = 1 << 20


@dataclass
class Facts:
    """What is known of the usable rows, in order: 32 bytes each.

    `numbers` are theirs in the file, from 1. Rows with the same `unit` may not be parted: they say the same, or are
    of one group. `labels` are numbers of classes.
    """

    rows: int
    numbers: Numbers
    units: Numbers
    labels: Numbers
    names: list[str]


def gather(
    source: Source,
    group: str | None,
    label: str | None,
    pairs: Sequence[tuple[int, int]],
    on_progress: Progress | None,
) -> Facts:
    """One pass over the rows."""
    import numpy as np
    from xxhash import xxh3_64_intdigest

    scanner = Scanner(source.title, source.format, source.columns or None)
    numbers: list[Numbers] = []
    firsts: list[Numbers] = []
    groups: list[NDArray[np.uint64]] = []
    labels: list[Numbers] = []
    names: dict[str, int] = {}
    seen, rows = Seen(), 0
    for batch in _batches(source, on_progress):
        rows += len(batch)
        by_row = {row.place.row: row for row in batch}
        raws = ((row.place.row, row.place.line, row.raw) for row in batch)
        usable = [row for row in scanner.rows(raws, False, []) if row.usable]
        values = [source.value(by_row[row.row]) if group or label else {} for row in usable]
        own = np.array([row.row for row in usable], np.int64)
        keys = np.array([xxh3_64_intdigest(row.key) for row in usable], np.uint64)
        first = seen.add(keys, own.astype(np.uint64))
        numbers.append(own)
        firsts.append(np.where(first < 0, own, first))
        if group:
            texts = [_text(_under(value, group)) for value in values]
            groups.append(np.array([xxh3_64_intdigest(text) for text in texts], np.uint64))
        classes = [
            _class(value, label, row.conversation.label if row.conversation else None) if label else ""
            for row, value in zip(usable, values, strict=True)
        ]
        labels.append(np.array([names.setdefault(name, len(names)) for name in classes], np.int64))
    all_numbers = np.concatenate(numbers) if numbers else np.empty(0, np.int64)
    units = np.searchsorted(all_numbers, np.concatenate(firsts)) if numbers else all_numbers
    if group and numbers:
        units = _joined(units, _first_of(np.concatenate(groups)))
    if pairs:
        units = _joined(units, _with_pairs(all_numbers, units, pairs))
    return Facts(rows, all_numbers, units, np.concatenate(labels) if labels else units, list(names))


def _batches(source: Source, on_progress: Progress | None) -> Iterator[list[RawRow]]:
    """Rows that are not blank, some thousands at a time."""
    batch: list[RawRow] = []
    told = 0
    for row in source.rows():
        if not row.blank:
            batch.append(row)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
        if on_progress and row.position - told >= _REPORT_BYTES:
            told = row.position
            on_progress(told, source.size)
    if batch:
        yield batch


def _under(value: Any, key: str) -> Any:
    """What stands under a key; a dot looks inside."""
    if isinstance(value, dict) and key in value:
        return value[key]
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _class(value: dict[str, Any], key: str, label: str | None) -> str:
    found = _under(value, key)
    if found is None and key == "label":
        found = label
    return found if isinstance(found, str) else _text(found).decode()


def _first_of(values: NDArray[np.uint64]) -> Numbers:
    """For each value the place where it is found first."""
    import numpy as np

    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    answer: Numbers = first[inverse].astype(np.int64)
    return answer


def _with_pairs(numbers: Numbers, units: Numbers, pairs: Sequence[tuple[int, int]]) -> Numbers:
    """Units in which the two rows of a pair are one; a row stays alone otherwise."""
    import numpy as np

    places = np.searchsorted(numbers, np.array(pairs, np.int64))
    answer = np.arange(len(units))
    answer[places[:, 0]] = places[:, 1]
    return answer


def _joined(one: Numbers, other: Numbers) -> Numbers:
    """Units that hold together what either of two partings holds together: the least place of each.

    Args:
        one: for each place another one, at most as large, that it belongs to.
        other: a second such relation.
    """
    import numpy as np

    units = np.minimum(one, other)
    while True:
        before = units.copy()
        for relation in (one, other):
            np.minimum.at(units, relation, units)
            units = np.minimum(units, units[relation])
        units = units[units]
        if (units == before).all():
            return units


def near_pairs(
    path: Path, columns: Mapping[str, str] | None, cancelled: Callable[[], bool] | None
) -> list[tuple[int, int]]:
    """(row, earlier row that it is nearly the same as), from 1."""
    from core.data.check import Check, Options

    check = Check(path, Options(frozenset({"near"}), full=True, columns=columns), cancelled=cancelled)
    for _ in check:
        pass
    return check.near_pairs
