"""Rows and positions of the list are each other's inverse, whatever is filtered and sorted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tui.roworder import RowOrder


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.data())
def test_positions_and_rows(lengths: list[int], data: st.DataObject) -> None:
    rows = sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1))))
    order = RowOrder()
    assert_inverse(order, len(lengths), list(range(len(lengths))))
    order.filter()
    assert order.count(len(lengths)) == 0
    order.find(rows)
    assert_inverse(order, len(lengths), rows)
    order.sort(np.array(lengths))
    assert_inverse(order, len(lengths), sorted(rows, key=lambda row: (-lengths[row], row)))
    order.unsort()
    assert_inverse(order, len(lengths), rows)
    order.unfilter()
    assert not order.filtered and not order.sorted
    order.sort(np.array(lengths))
    assert_inverse(order, len(lengths), sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)))


def assert_inverse(order: RowOrder, rows: int, expected: list[int]) -> None:
    assert [order.row(position) for position in range(order.count(rows))] == expected
    assert [order.position(row) for row in expected] == list(range(len(expected)))
    assert all(order.position(row) is None for row in range(rows) if row not in expected)
