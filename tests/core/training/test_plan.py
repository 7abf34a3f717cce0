"""The plan: every row as often as asked, steps of exactly the asked size, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.recipe import build
from core.training.plan import epoch_order, make_plan, report_interval, steps_of
from core.training.rows import Row
from core.training.tree import packs


@given(rows=st.integers(1, 60), size=st.integers(1, 20), epochs=st.integers(1, 4), seed=st.integers(0, 5))
def test_each_row_once_an_epoch_in_steps_of_one_size(rows: int, size: int, epochs: int, seed: int) -> None:
    plan = make_plan(rows, size, epochs, None, seed)
    assert Counter(row for step in plan.steps for row in step) == dict.fromkeys(range(rows), epochs)
    assert {len(step) for step in plan.steps[:-1]} <= {size}
    assert 1 <= len(plan.steps[-1]) <= size
    assert plan.epoch(len(plan.steps)) == pytest.approx(epochs)
    assert plan == make_plan(rows, size, epochs, None, seed)


@given(rows=st.integers(1, 60), size=st.integers(1, 20), steps=st.integers(1, 30))
def test_max_steps_wins_over_epochs(rows: int, size: int, steps: int) -> None:
    plan = make_plan(rows, size, 1.0, steps, 0)
    assert [len(step) for step in plan.steps] == [size] * steps


def test_half_an_epoch_uses_half_of_the_rows_once() -> None:
    plan = make_plan(40, 8, 0.5, None, 3)
    used = [row for step in plan.steps for row in step]
    assert len(used) == len(set(used)) == 20


def test_order_depends_on_seed_and_epoch() -> None:
    orders = {tuple(epoch_order(30, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize(("steps", "wanted", "expected"), [(24, None, 5), (3, None, 1), (100, 7, 7)])
def test_report_interval(steps: int, wanted: int | None, expected: int) -> None:
    assert report_interval(steps, wanted) == expected


@given(rows=st.integers(1, 60), size=st.integers(1, 20), epochs=st.integers(1, 4), seed=st.integers(0, 5))
def test_similar_rows_make_steps_and_each_row_is_used_as_often(
    rows: int, size: int, epochs: int, seed: int
) -> None:
    similar = list(range(rows))[::-1]
    plan = make_plan(rows, size, epochs, None, seed, similar)
    assert Counter(row for step in plan.steps for row in step) == dict.fromkeys(range(rows), epochs)
    assert {len(step) for step in plan.steps[:-1]} <= {size}
    whole = [step for step in plan.steps if len(step) == size]
    neighbours = sum((one - two) % rows == 1 for step in whole for one, two in pairwise(step))
    assert neighbours >= sum(len(step) - 1 for step in whole) - epochs  # but where two epochs meet


def test_similar_rows_share_more() -> None:
    beginnings = [np.arange(start, start + 40) for start in range(0, 400, 40)]
    rows = [
        Row(np.append(beginnings[i % 10], [i, 1]).astype(np.int32), np.arange(42) > 40) for i in range(80)
    ]

    def computed(row_order: str) -> int:
        recipe = build({"model": "m", "data": "d", "batch_size": 8, "epochs": 1, "row_order": row_order})
        steps = steps_of(recipe, rows).steps
        return sum(len(pack.ids) for step in steps for pack in packs([rows[row] for row in step], 10_000))

    assert computed("similar") < 0.5 * computed("shuffled")
