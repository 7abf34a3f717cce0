"""Stop strings: the reply ends before the first that is complete, however its text is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.serving.reply import Stops

LETTERS = st.text("abc\n", max_size=30)
STOPS = st.lists(st.text("abc\n", max_size=4), max_size=4)


def in_pieces(text: str, stops: list[str], sizes: list[int]) -> tuple[str, bool]:
    reader, shown, rest = Stops(stops), "", text
    for size in [*sizes, len(text)]:
        shown += reader.feed(rest[:size])
        rest = rest[size:]
    stopped = reader.stopped
    return shown + reader.rest(), stopped


@given(LETTERS, STOPS, st.lists(st.integers(1, 5), max_size=30))
def test_pieces_make_no_difference(text: str, stops: list[str], sizes: list[int]) -> None:
    ends = [(end, end - len(stop)) for stop in stops if stop for end in range(len(text) + 1)
            if end >= len(stop) and text[end - len(stop) : end] == stop]  # fmt: skip
    expected = (text[: min(ends)[1]], True) if ends else (text, False)
    assert in_pieces(text, stops, sizes) == expected


@given(LETTERS, STOPS)
def test_no_more_is_held_back_than_could_become_a_stop(text: str, stops: list[str]) -> None:
    reader = Stops(stops)
    shown = reader.feed(text)
    if not reader.stopped:
        held = text[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)
