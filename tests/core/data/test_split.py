"""No row on both sides, none lost, sizes as asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.data.split import split


@given(rows=st.integers(0, 3000), fraction=st.floats(0, 0.99), seed=st.integers(0, 2**31))
def test_parts_are_disjoint_whole_and_sized(rows: int, fraction: float, seed: int) -> None:
    train, validation = split(rows, fraction, seed)
    assert sorted(train + validation) == list(range(rows))
    assert train == sorted(train)
    assert validation == sorted(validation)
    assert abs(len(validation) - rows * fraction) <= 1
    assert not (fraction > 0 and rows > 1) or (train and validation)
    assert (train, validation) == split(rows, fraction, seed)


def test_known_answer_and_seed() -> None:
    assert split(10, 0.2, 0)[1] == [4, 6]
    assert len({tuple(split(100, 0.1, seed)[1]) for seed in range(20)}) == 20
