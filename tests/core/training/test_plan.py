"""The plan: every row as often as asked, steps of exactly the asked size, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.training.plan import epoch_order, make_plan, report_interval


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
