"""Prompt-tree packing: rows that begin alike are merged, so that a shared token is computed once.

Rows are sorted; the tokens that neighbours begin with become one segment, and what follows in each row its
children. A row attends to its own path from the root only and is scored at its own tokens, so losses and
gradients are those of the rows one by one (prompt trees, scaledcognition.com/blog/prompt-trees, 2025; prefix
sharing for preferences, arXiv 2410.20305; packing, arXiv 2407.09105). Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.training.rows import Row

MIN_SHARED = 16
"""Shorter common beginnings are computed for each row anew: a segment of its own costs more than they do."""


@dataclass(frozen=True)
class Segment:
    """Tokens that the same rows have at the same place.

    Args:
        start: its first token in the pack.
        end: after its last one.
        parent: number of the segment before it in its rows, -1 for a root.
        depth: position of its first token in its rows.
    """

    start: int
    end: int
    parent: int
    depth: int


@dataclass(frozen=True)
class Pack:
    """Rows computed in one forward pass.

    Args:
        ids: token ids, int64, shape (tokens,).
        positions: each token's place in its row, int64, shape (tokens,).
        segments: in the order of their tokens; a parent comes before its children.
        predictors: tokens whose hidden state predicts a trained token, int64, shape (targets,), ascending.
        targets: the tokens they predict, int64, shape (targets,).
        weights: how many rows learn each of them, float32, shape (targets,).
        row_of: for each token that a row learns the row, as given, int64, shape (learned tokens of the rows,).
        target_of: and the number of its target.
        rows: how many there are.
        row_tokens: tokens of the rows one by one, as against `len(ids)` that are computed.
    """

    ids: np.ndarray
    positions: np.ndarray
    segments: tuple[Segment, ...]
    predictors: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    row_of: np.ndarray
    target_of: np.ndarray
    rows: int
    row_tokens: int

    @property
    def computed(self) -> int:
        return len(self.ids)

    @property
    def predicting(self) -> int:
        return len(self.predictors)

    def row_lengths(self) -> np.ndarray:
        """For each token how long its row is, the longest where it has several; float32, shape (tokens,)."""
        longest = [item.depth + item.end - item.start for item in self.segments]
        for number in range(len(self.segments) - 1, -1, -1):
            parent = self.segments[number].parent
            if parent >= 0:
                longest[parent] = max(longest[parent], longest[number])
        sizes = [item.end - item.start for item in self.segments]
        return np.repeat(np.array(longest, dtype=np.float32), sizes)

    def path(self, segment: int) -> list[int]:
        """The segments from the root to a segment, itself included."""
        path = [segment]
        while (parent := self.segments[path[-1]].parent) >= 0:
            path.append(parent)
        return path[::-1]


def packs(
    rows: Sequence[Row], budget: int, long_from: int | None = None, share: bool = True
) -> Iterator[Pack]:
    """Cut rows into packs of at most `budget` tokens; a longer row is a pack of its own.

    Args:
        rows: those of one step, or of an evaluation.
        budget: tokens computed at once.
        long_from: rows of more tokens than this never share a pack with shorter ones: LongRoPE scales all
            positions of a forward pass by the longest one.
        share: merge common beginnings.
    """
    short = [row for row in rows if long_from is None or len(row.ids) <= long_from]
    long = [row for row in rows if long_from is not None and len(row.ids) > long_from]
    yield from (make_pack(group, share) for group in _groups(short, budget, share, whole=False))
    # cut short, a long row might end within the shorter scale
    yield from (make_pack(group, share, whole=True) for group in _groups(long, budget, share, whole=True))


def _groups(rows: Sequence[Row], budget: int, share: bool, whole: bool) -> list[list[Row]]:
    """Neighbours in sorted order, in as few groups as the budget allows, of much the same size.

    Each row adds what it does not share with the one before. Of what it shares, fewer than MIN_SHARED tokens may have
    to be computed again where the tree branches.
    """
    if not rows:
        return []
    ordered = _sorted(rows, whole)
    inputs = [row.inputs(whole) for row in ordered]
    pairs = zip(inputs, inputs[1:], strict=False)
    shared = [0, *(max(0, common_prefix(one, two) - (MIN_SHARED - 1)) if share else 0 for one, two in pairs)]
    sizes = [len(ids) for ids in inputs]
    return [ordered[part] for part in balanced(sizes, shared, budget)]


def balanced(sizes: Sequence[int], shared: Sequence[int], budget: int) -> list[slice]:
    """Parts of a sequence, as few as the budget allows, of much the same size.

    Args:
        sizes: tokens of each item.
        shared: how many of them the item before has too.
        budget: tokens of a part at most; an item of more is a part of its own.
    """
    starts = _cut(sizes, shared, budget)
    fewest, least = len(starts), 0
    while least + 1 < budget:
        middle = (least + budget) // 2
        tried = _cut(sizes, shared, middle)
        if len(tried) > fewest:
            least = middle
        else:
            starts, budget = tried, middle
    ends = [*starts[1:], len(sizes)]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def _cut(sizes: Sequence[int], shared: Sequence[int], budget: int) -> list[int]:
    """The first row of each group when every group takes as many rows as fit."""
    starts: list[int] = []
    used = 0
    for row, (size, common) in enumerate(zip(sizes, shared, strict=True)):
        used += size - common
        if not starts or used > budget:
            starts.append(row)
            used = size
    return starts


def _sorted(rows: Sequence[Row], whole: bool) -> list[Row]:
    """Rows in the order of their tokens: big-endian bytes sort as the numbers do."""
    return [rows[number] for number in _order(rows, whole)]


def _order(rows: Sequence[Row], whole: bool) -> list[int]:
    def key(number: int) -> list[bytes]:
        row = rows[number]
        return [row.inputs(whole).astype(">u4").tobytes(), row.key]

    return sorted(range(len(rows)), key=key)


def common_prefix(one: np.ndarray, two: np.ndarray) -> int:
    """How many tokens two rows have in common from the start."""
    length = min(len(one), len(two))
    differ = np.flatnonzero(one[:length] != two[:length])
    return int(differ[0]) if len(differ) else length


def make_pack(rows: Sequence[Row], share: bool = True, whole: bool = False) -> Pack:
    """The tree of some rows, laid out parent before child.

    Args:
        rows: at least one.
        share: merge common beginnings.
        whole: compute what follows the last trained token too, though nothing is learned from it.
    """
    return _Builder(rows, _order(rows, whole), share, whole).pack()


class _Builder:
    """Lays out one pack: `_place` walks the sorted rows from common beginnings to single rows."""

    def __init__(self, rows: Sequence[Row], order: list[int], share: bool, whole: bool) -> None:
        self.order = order
        self.rows = [rows[number] for number in order]
        self.inputs = [row.inputs(whole) for row in self.rows]
        pairs = zip(self.inputs, self.inputs[1:], strict=False)
        self.common = [common_prefix(one, two) if share else 0 for one, two in pairs]
        self.segments: list[Segment] = []
        self.ids: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        self.length = 0

    def pack(self) -> Pack:
        self._place(0, len(self.rows), 0, -1, np.zeros(0, dtype=np.int64))
        positions = [np.arange(item.depth, item.depth + item.end - item.start) for item in self.segments]
        pairs, row_of = self._learned()
        unique, target_of, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
        return Pack(
            ids=np.concatenate(self.ids).astype(np.int64),
            positions=np.concatenate(positions).astype(np.int64),
            segments=tuple(self.segments),
            predictors=unique[:, 0],
            targets=unique[:, 1],
            weights=counts.astype(np.float32),
            row_of=row_of,
            target_of=target_of.reshape(-1),
            rows=len(self.rows),
            row_tokens=sum(len(row.ids) for row in self.rows),
        )

    def _place(self, first: int, after: int, depth: int, parent: int, path: np.ndarray) -> None:
        """Place rows `first` to `after`, whose first `depth` tokens stand at the pack's tokens `path`."""
        start = first
        for row in range(first, after):
            ends = row + 1 == after or self.common[row] - depth < MIN_SHARED
            if not ends:
                continue
            if row == start:
                self._place_row(row, depth, parent, path)
            else:
                shared = min(self.common[start:row])
                number, longer = self._add(self.inputs[row][depth:shared], depth, parent, path)
                self._place(start, row + 1, shared, number, longer)
            start = row + 1

    def _place_row(self, row: int, depth: int, parent: int, path: np.ndarray) -> None:
        rest = self.inputs[row][depth:]
        if len(rest):
            _, path = self._add(rest, depth, parent, path)
        self.places.append(path)

    def _add(self, ids: np.ndarray, depth: int, parent: int, path: np.ndarray) -> tuple[int, np.ndarray]:
        """A new segment; its number, and the path that ends with it."""
        end = self.length + len(ids)
        self.segments.append(Segment(self.length, end, parent, depth))
        self.ids.append(ids)
        longer = np.concatenate([path, np.arange(self.length, end)])
        self.length = end
        return len(self.segments) - 1, longer

    def _learned(self) -> tuple[np.ndarray, np.ndarray]:
        """Each (predicting token, token to learn) of each row, and the row as it was given."""
        pairs, row_of = [], []
        for number, row, place in zip(self.order, self.rows, self.places, strict=True):
            learned = np.flatnonzero(row.trained[1:]) + 1
            pairs.append(np.stack([place[learned - 1], row.ids[learned].astype(np.int64)], axis=1))
            row_of.append(np.full(len(learned), number, dtype=np.int64))
        return np.concatenate(pairs), np.concatenate(row_of)
