"""Rows ready to train on: rendered, cut, without those that would teach nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.data.rendering import Rendered


@dataclass(frozen=True)
class Row:
    """One rendered conversation.

    Args:
        ids: token ids, int32, shape (tokens,).
        trained: which of them the loss is taken of, bool, shape (tokens,).
    """

    ids: np.ndarray
    trained: np.ndarray

    def inputs(self, whole: bool = False) -> np.ndarray:
        """The tokens that have to be computed: those before the last trained one, which is only predicted."""
        return self.ids if whole else self.ids[: np.flatnonzero(self.trained)[-1]]


@dataclass(frozen=True)
class Rows:
    """A set of rows and what was lost in making it.

    Args:
        rows: rows with at least one trained token within the sequence length.
        dropped: rows left out because nothing was left to train.
        cut: rows that were longer than the sequence length.
    """

    rows: tuple[Row, ...]
    dropped: int
    cut: int

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.rows]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def trained_tokens(self) -> int:
        return sum(int(row.trained.sum()) for row in self.rows)


def make_rows(rendered: Iterable[Rendered], sequence_length: int) -> Rows:
    """Cut rendered conversations to the sequence length and leave out those with nothing to train.

    The first token of a row is never trained: nothing predicts it.
    """
    kept, dropped, cut = [], 0, 0
    for full in rendered:
        item = full.cut(sequence_length)
        cut += len(item.ids) < len(full.ids)
        row = Row(np.asarray(item.ids, dtype=np.int32), np.asarray(item.trained, dtype=bool))
        row.trained[:1] = False
        if row.trained.any():
            kept.append(row)
        else:
            dropped += 1
    return Rows(tuple(kept), dropped, cut)
