"""How the rows of a step are cut into what is computed at once, by their kind. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.training.rows import AnyRow, Labelled, Pair, Row
from core.training.tree import Pack, balanced, common_prefix, make_pack, packs


@dataclass(frozen=True)
class PairPack:
    """Pairs computed together; chosen and rejected answer share their prompt in the tree.

    Args:
        pairs: in order.
        packs: of their rows: first all chosen, then all rejected ones. Two where some are long for LongRoPE.
        places: for each pack the numbers of its rows in that order.
    """

    pairs: tuple[Pair, ...]
    packs: tuple[Pack, ...]
    places: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> int:
        return len(self.pairs)

    @property
    def computed(self) -> int:
        return sum(pack.computed for pack in self.packs)

    @property
    def predicting(self) -> int:
        return max(pack.predicting for pack in self.packs)

    @property
    def row_tokens(self) -> int:
        return sum(pack.row_tokens for pack in self.packs)


@dataclass(frozen=True)
class Padded:
    """Texts to classify, filled up to the longest of them.

    Args:
        texts: in order.
    """

    texts: tuple[Labelled, ...]

    @property
    def rows(self) -> int:
        return len(self.texts)

    @property
    def computed(self) -> int:
        return self.rows * max(text.tokens for text in self.texts)

    @property
    def predicting(self) -> int:
        return 0

    @property
    def row_tokens(self) -> int:
        return sum(text.tokens for text in self.texts)


AnyPack = Pack | PairPack | Padded


def long_from(config: Mapping[str, Any]) -> int | None:
    """From how many tokens on a model with LongRoPE scales its positions otherwise (128k Phi-3 and its kin).

    Args:
        config: of the model, as config.json or transformers has it; its own key comes before that of its parameters.
    """
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "longrope" not in (parameters.get("rope_type"), parameters.get("type")):
        return None
    key = "original_max_position_embeddings"
    return int(config.get(key) or parameters.get(key) or config["max_position_embeddings"])


def cut(rows: Sequence[AnyRow], budget: int, long_from: int | None = None) -> Iterator[AnyPack]:
    """Rows of one kind in packs of at most `budget` tokens; a longer row is a pack of its own.

    Args:
        rows: those of one step, or of an evaluation.
        budget: tokens computed at once.
        long_from: see `tree.packs`, and the function of that name.
    """
    texts = [row for row in rows if isinstance(row, Labelled)]
    pairs = [row for row in rows if isinstance(row, Pair)]
    if texts:
        yield from _padded(texts, budget, long_from)
    if pairs:
        yield from _pair_packs(pairs, budget, long_from)
    yield from packs([row for row in rows if isinstance(row, Row)], budget, long_from)


def _padded(texts: Sequence[Labelled], budget: int, long_from: int | None) -> Iterator[Padded]:
    """Texts of similar length together, the longest first."""
    group: list[Labelled] = []
    for text in sorted(texts, key=lambda item: (-item.tokens, item.key)):
        parted = group and long_from is not None and text.tokens <= long_from < group[0].tokens
        if parted or (group and (len(group) + 1) * group[0].tokens > budget):
            yield Padded(tuple(group))
            group = []
        group.append(text)
    yield Padded(tuple(group))


def _pair_packs(pairs: Sequence[Pair], budget: int, long_from: int | None) -> Iterator[PairPack]:
    ordered = sorted(pairs, key=lambda pair: (pair.key, pair.rejected.key))
    chosen = [pair.chosen.inputs() for pair in ordered]
    sizes = [
        len(one) + len(two) - common_prefix(one, two)
        for one, two in ((pair.chosen.inputs(), pair.rejected.inputs()) for pair in ordered)
    ]
    shared = [0, *(common_prefix(one, two) for one, two in zip(chosen, chosen[1:], strict=False))]
    for part in balanced(sizes, shared, budget):
        yield _pair_pack(tuple(ordered[part]), long_from)


def _pair_pack(pairs: tuple[Pair, ...], long_from: int | None) -> PairPack:
    rows = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
    is_long = np.array([long_from is not None and row.tokens > long_from for row in rows])
    places = [tuple(np.flatnonzero(is_long == long).tolist()) for long in (False, True)]
    made = [
        (numbers, make_pack([rows[number] for number in numbers], whole=long))
        for long, numbers in zip((False, True), places, strict=True)
        if numbers
    ]
    return PairPack(pairs, tuple(pack for _, pack in made), tuple(numbers for numbers, _ in made))
