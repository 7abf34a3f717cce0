"""Numbers, times, and foreign text made visible."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui import format as f


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (f.count(178_125), "178 125"),
        (f.short(950), "950"),
        (f.short(41_000), "41k"),
        (f.short(1_240_000), "1.2M"),
        (f.short(5000), "5k"),
        (f.short(0.4), "0.4"),
        (f.size(71_000_000), "71 MB"),
        (f.size(5_120_000_000), "5.1 GB"),
        (f.size(999), "999 B"),
        (f.loss(0.87312), "0.8731"),
        (f.loss(None), "—"),
        (f.loss(math.nan), "not a number"),
        (f.rate(1.314e-4), "1.31e-4"),
        (f.rate(0.0), "0"),
        (f.duration(12), "12 s"),
        (f.duration(185), "3 min 5 s"),
        (f.duration(3600 * 4 + 23 * 60), "4 h 23 min"),
        (f.duration(90_000), "1 d 1 h"),
        (f.ago(1000.0, 1000.0 + 4 * 3600), "4 h ago"),
        (f.ago(0.0, 1000.0), "—"),
        (f.ago(1000.0, 999.0), "just now"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


def test_control_characters_are_shown() -> None:
    assert f.visible("a\x1b[31mb\x07") == "a␛[31mb␇"
    assert f.visible("x\u202ey") == "x<U+202E>y"
    assert f.visible("\x9b1m") == "<U+009B>1m"
    assert f.visible("a\nb", lines=True) == "a\nb"
    assert f.visible("a\tb\r\nc\rd", lines=True) == "a    b\nc␍d"
    assert f.visible("a\nb") == "a␊b"
    assert f.one_line(" a\n\n b ") == "a b"


def test_ascii_terminals_get_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_ASCII", "1")
    assert f.visible("\x1b\x7f") == "^[^?"
    assert f.plain("96 ms · ▼ 4 — é…") == "96 ms - v 4 - e~"
    monkeypatch.setenv("FINETUI_ASCII", "0")
    assert not f.ascii_only()


@given(st.text())
def test_nothing_the_terminal_would_obey_is_left(text: str) -> None:
    shown = f.visible(text)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    shown.encode()


@given(st.text(alphabet="ab 漢é\n", max_size=60), st.integers(4, 12))
def test_wrapped_lines_fit_and_lose_only_spaces(text: str, width: int) -> None:
    lines = f.wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(max_size=30), st.integers(1, 20))
def test_padding_is_exact(text: str, width: int) -> None:
    assert cell_len(f.pad(f.visible(text), width)) == width
