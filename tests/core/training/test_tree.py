"""Packs hold every row once, share what rows begin with, and keep to their budget."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.training.rows import Row
from core.training.tree import MIN_SHARED, Pack, common_prefix, make_pack, packs

TOKENS = 50


def row(ids: list[int], trained: set[int]) -> Row:
    marks = np.array([number in trained for number in range(len(ids))])
    marks[:1] = False
    return Row(np.array(ids, dtype=np.int32), marks)


@st.composite
def row_sets(draw: st.DrawFn) -> list[Row]:
    """Rows that often begin with parts of one common text, and sometimes are one another."""
    common = draw(st.lists(st.integers(0, 3), min_size=60, max_size=60))
    rows = []
    for _ in range(draw(st.integers(1, 9))):
        head = common[: draw(st.integers(0, 60))]
        tail = draw(st.lists(st.integers(0, TOKENS - 1), min_size=0 if len(head) > 1 else 2, max_size=30))
        ids = head + tail
        rows.append(row(ids, draw(st.sets(st.integers(1, len(ids) - 1), min_size=1))))
    return rows


def rows_in(pack: Pack) -> Counter[bytes]:
    """The token sequences of all ends of segments: each row of the pack is among them."""
    found: Counter[bytes] = Counter()
    for number in range(len(pack.segments)):
        parts = [pack.ids[pack.segments[item].start : pack.segments[item].end] for item in pack.path(number)]
        found[np.concatenate(parts).astype(np.int32).tobytes()] += 1
    return found


def learned(rows: list[Row]) -> Counter[tuple[bytes, int]]:
    """How often each token is learned after each beginning."""
    counts: Counter[tuple[bytes, int]] = Counter()
    for item in rows:
        for place in np.flatnonzero(item.trained):
            counts[item.ids[:place].tobytes(), int(item.ids[place])] += 1
    return counts


def learned_in(pack: Pack) -> Counter[tuple[bytes, int]]:
    counts: Counter[tuple[bytes, int]] = Counter()
    for predictor, target, weight in zip(pack.predictors, pack.targets, pack.weights, strict=True):
        number = next(n for n, item in enumerate(pack.segments) if item.start <= predictor < item.end)
        before = [pack.ids[pack.segments[i].start : pack.segments[i].end] for i in pack.path(number)[:-1]]
        own = pack.ids[pack.segments[number].start : predictor + 1]
        counts[np.concatenate([*before, own]).astype(np.int32).tobytes(), int(target)] += int(weight)
    return counts


@settings(deadline=None)
@given(rows=row_sets(), budget=st.integers(1, 400), share=st.booleans())
def test_what_is_learned_is_what_the_rows_say(rows: list[Row], budget: int, share: bool) -> None:
    made = list(packs(rows, budget, share=share))
    total: Counter[tuple[bytes, int]] = Counter()
    for pack in made:
        total += learned_in(pack)
        assert np.all(np.diff(pack.predictors) >= 0)
    assert total == learned(rows)
    assert sum(pack.row_tokens for pack in made) == sum(len(item.ids) for item in rows)


@settings(deadline=None)
@given(rows=row_sets(), budget=st.integers(1, 400))
def test_packs_keep_to_the_budget_unless_one_row_is_longer(rows: list[Row], budget: int) -> None:
    for pack in packs(rows, budget):
        assert len(pack.ids) <= budget or len(pack.segments) == 1


@settings(deadline=None)
@given(rows=row_sets())
def test_a_pack_has_each_row_and_positions_count_from_its_root(rows: list[Row]) -> None:
    pack = make_pack(rows)
    ends = rows_in(pack)
    assert all(ends[item.inputs().tobytes()] >= 1 for item in rows)
    for number, segment in enumerate(pack.segments):
        assert segment.parent < number
        assert segment.depth == sum(
            pack.segments[i].end - pack.segments[i].start for i in pack.path(number)[:-1]
        )
        wanted = np.arange(segment.depth, segment.depth + segment.end - segment.start)
        assert np.array_equal(pack.positions[segment.start : segment.end], wanted)


@settings(deadline=None)
@given(rows=row_sets())
def test_without_sharing_every_row_is_computed_up_to_its_last_trained_token(rows: list[Row]) -> None:
    pack = make_pack(rows, share=False)
    assert len(pack.ids) == sum(int(np.flatnonzero(item.trained)[-1]) for item in rows)
    assert len(pack.segments) == len(rows)
    assert len(make_pack(rows, share=False, whole=True).ids) == pack.row_tokens


def test_a_common_instruction_is_computed_once() -> None:
    instruction = list(range(40))
    rows = [row([*instruction, 40 + number, 7], {40, 41}) for number in range(5)]
    pack = make_pack(rows)
    assert len(pack.ids) == 40 + 5
    assert [item.parent for item in pack.segments] == [-1, 0, 0, 0, 0, 0]
    assert pack.row_tokens == 5 * 42


def test_trees_nest_where_rows_share_more() -> None:
    one, two = list(range(20)), list(range(20, 20 + MIN_SHARED))
    rows = [row([*one, *two, 49, 1], {37}), row([*one, *two, 48, 1], {37}), row([*one, 47, 1], {21})]
    pack = make_pack(rows)
    assert len(pack.ids) == 20 + MIN_SHARED + 3
    assert max(len(pack.path(number)) for number in range(len(pack.segments))) == 3


def test_short_common_beginnings_are_left_alone() -> None:
    rows = [row([*range(MIN_SHARED - 1), 40 + number, 1], {MIN_SHARED}) for number in range(3)]
    assert len(make_pack(rows).ids) == 3 * MIN_SHARED


def test_equal_rows_are_computed_once_and_count_twice() -> None:
    rows = [row([*range(30)], {20, 21})] * 2
    pack = make_pack(rows)
    assert len(pack.ids) == 21
    assert pack.weights.tolist() == [2.0, 2.0]


def test_long_rows_never_share_a_pack_with_short_ones() -> None:
    rows = [row([1] * length, {length - 1}) for length in (10, 30, 20, 40)]
    assert [sorted({int(pack.positions.max()) + 1}) for pack in packs(rows, 1000, long_from=25)] == [
        [19],
        [40],
    ]


def test_the_order_of_the_rows_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    rows = [row(generator.integers(0, 4, 50).tolist(), {5}) for _ in range(6)]
    one, two = make_pack(rows), make_pack(rows[::-1])
    assert np.array_equal(one.ids, two.ids)


@pytest.mark.parametrize(
    ("one", "two", "common"), [([1, 2], [1, 2, 3], 2), ([], [1], 0), ([1, 2], [2, 2], 0)]
)
def test_common_prefix(one: list[int], two: list[int], common: int) -> None:
    assert common_prefix(np.array(one), np.array(two)) == common
