"""Rows ready to train on: rendered, cut, without those that would teach nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from core.data.rendering import Rendered


@dataclass(frozen=True)
class Row:
    """One rendered conversation or text.

    Args:
        ids: token ids, int32, shape (tokens,).
        trained: which of them the loss is taken of, bool, shape (tokens,).
    """

    ids: np.ndarray
    trained: np.ndarray

    def inputs(self, whole: bool = False) -> np.ndarray:
        """The tokens that have to be computed: those before the last trained one, which is only predicted."""
        return self.ids if whole else self.ids[: np.flatnonzero(self.trained)[-1]]

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @cached_property
    def learned(self) -> int:
        """Trained tokens."""
        return int(self.trained.sum())

    @property
    def key(self) -> bytes:
        """Sorts as the tokens do: big-endian bytes sort as the numbers do."""
        return self.ids.astype(">u4").tobytes()


@dataclass(frozen=True)
class Pair:
    """A prompt with its chosen and its rejected answer; only the answers' tokens are trained.

    Args:
        chosen: prompt and wanted answer.
        rejected: prompt and unwanted answer.
        reference: log probability of either answer under the model that training starts from; None until it is known.
    """

    chosen: Row
    rejected: Row
    reference: tuple[float, float] | None = None

    @property
    def tokens(self) -> int:
        return self.chosen.tokens + self.rejected.tokens

    @property
    def learned(self) -> int:
        return self.chosen.learned + self.rejected.learned

    @property
    def key(self) -> bytes:
        return self.chosen.key

    def knowing(self, chosen: float, rejected: float) -> Pair:
        """The same pair with its reference."""
        return replace(self, reference=(chosen, rejected))


@dataclass(frozen=True)
class Labelled:
    """A text with its class.

    Args:
        ids: token ids, int32, shape (tokens,).
        label: number of the class.
    """

    ids: np.ndarray
    label: int

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def learned(self) -> int:
        return 1

    @property
    def key(self) -> bytes:
        return self.ids.astype(">u4").tobytes()


AnyRow = Row | Pair | Labelled


@dataclass(frozen=True)
class Example:
    """A row of a file as its task renders it.

    Args:
        rendered: one text; of a preference pair the chosen and the rejected one.
        label: of a text to classify, its class.
    """

    rendered: tuple[Rendered, ...]
    label: str | None = None


@dataclass(frozen=True)
class Rows:
    """A set of rows and what was lost in making it.

    Args:
        rows: all of one kind, each with something to learn within the sequence length.
        dropped: rows left out because nothing was left to train.
        cut: rows that were longer than the sequence length.
    """

    rows: tuple[AnyRow, ...]
    dropped: int
    cut: int

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows)

    @property
    def learned(self) -> int:
        return sum(row.learned for row in self.rows)


def make_rows(
    examples: Iterable[Example], sequence_length: int, labels: Mapping[str, int] | None = None
) -> Rows:
    """Cut rendered rows to the sequence length and leave out those with nothing to train.

    The first token of a row is never trained: nothing predicts it. Of a pair both answers must be within the length,
    at least in part.

    Args:
        examples: of one task.
        sequence_length: in tokens.
        labels: number of each class, where there are classes.
    """
    kept: list[AnyRow] = []
    dropped, cut = 0, 0
    for example in examples:
        items = [item.cut(sequence_length) for item in example.rendered]
        cut += any(len(one.ids) < len(full.ids) for one, full in zip(items, example.rendered, strict=True))
        row = _row(items, example.label, labels or {})
        if row is None:
            dropped += 1
        else:
            kept.append(row)
    return Rows(tuple(kept), dropped, cut)


def _row(items: list[Rendered], label: str | None, labels: Mapping[str, int]) -> AnyRow | None:
    ids = [np.asarray(item.ids, dtype=np.int32) for item in items]
    if label is not None:
        return Labelled(ids[0], labels[label]) if len(ids[0]) else None
    rows = []
    for one, item in zip(ids, items, strict=True):
        trained = np.asarray(item.trained, dtype=bool)
        trained[:1] = False
        if not trained.any():
            return None
        rows.append(Row(one, trained))
    return rows[0] if len(rows) == 1 else Pair(rows[0], rows[1])
