"""Wrapping of long text: nothing is lost, nothing is wider than the pane."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.widgets.reading import wrap_spans

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from(" \n你 "), max_size=200
)


@given(TEXTS, st.integers(2, 40))
def test_every_character_stays_and_every_line_fits(text: str, width: int) -> None:
    spans = wrap_spans(text, width)
    lines = [text[start:end] for start, end in spans]
    assert "".join(lines) == text.replace("\n", "")
    assert all(cell_len(line) <= width or len(line) == 1 for line in lines)
    assert len(lines) >= text.count("\n") + 1


def test_lines_break_after_spaces_where_there_are_any() -> None:
    text = "one two three"
    assert [text[start:end] for start, end in wrap_spans(text, 8)] == ["one two ", "three"]
    assert wrap_spans("abcdefghij", 4) == [(0, 4), (4, 8), (8, 10)]
    assert wrap_spans("", 4) == [(0, 0)]
