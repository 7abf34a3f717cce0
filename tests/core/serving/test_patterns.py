"""Patterns of a block list match as Python's own do, in time that grows with the text alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.serving import patterns
from core.serving.patterns import Automaton, Pattern, PatternError, Search, plain, read_patterns


def finds(pattern: str, text: str) -> bool:
    search = Search(Automaton([Pattern("line 1", pattern)]))
    return (search.feed(text) or search.end()) is not None


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "c",
        ".",
        "[ab]",
        "[^a]",
        "a?",
        "b{0,2}",
        "(ab|c)",
        "(a|a){0,3}",
        r"\b",
        r"\w",
        r"\d",
        "^",
        "$",
        " ",
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=6).map("".join), st.text("abc1 _\n", max_size=12))
def test_a_pattern_matches_where_python_s_own_matcher_does(pattern: str, text: str) -> None:
    try:
        found = finds(pattern, text)
    except PatternError:
        return  # it matches the empty text
    dot_all = pattern.replace("$", "\\Z")  # Python's $ also stands before a last line end
    assert found == (re.search(dot_all, text, re.DOTALL) is not None)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("bomb", "A BOMB"),
        ("BOMB", "a bomb"),
        ("bomb", "b\u200bo\u00adm\u2060b"),
        ("bomb", "\uff42\uff4f\uff4d\uff42"),
        ("cafe", "CAF\u00c9"),
        ("caf\u00e9", "cafe"),
        ("caf\u00e9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("of\ufb01ce", "office"),
        ("\u0439", "\u0418\u0306"),
        ("[A-C]x", "bX"),
        ("\\u00e9", "E"),
        ("\uac00\ub098", "\uac00\ub098"),
        (r"\bkill\b", "to kill."),
        (r"\d{3}-\d{4}", "call 555-1234 now"),
        ("(?i:bomb)", "Bomb"),
        ("a.b", "a\nb"),
        (r"^hi", "hi there"),
        (r"end$", "the end"),
    ],
)
def test_disguises_are_seen_through(pattern: str, text: str) -> None:
    assert finds(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"), [(r"\bkill\b", "skills"), (r"^hi", "oh hi"), ("bomb", "bom b"), ("[^a]b", "ab")]
)
def test_what_is_not_meant_passes(pattern: str, text: str) -> None:
    assert not finds(pattern, text)


@pytest.mark.parametrize("pattern", [r"(a|a){0,40}(a|a){0,40}b", r"(a?){30}a{30}b", r"((a{0,9}){0,9}){0,4}b"])
def test_a_pattern_that_python_would_never_finish_takes_a_bounded_number_of_steps(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    automaton = Automaton([Pattern("line 1", pattern)])
    steps = []
    step = automaton._step
    monkeypatch.setattr(automaton, "_step", lambda *given: steps.append(1) or step(*given))
    search = Search(automaton)
    assert search.feed("a" * 20_000) is None and search.end() is None
    assert len(steps) < 500  # what is known is looked up


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a*", "longest match"),
        ("a+b", "longest match"),
        (".{0,500}", "longest match"),
        ("x?", "empty text"),
        ("(a)\\1", "back reference"),
        ("(?=a)b", "look-ahead"),
        ("(?<!a)b", "look-ahead"),
        ("a++b", "longest match"),
        ("(?>ab)c", "atomic"),
        ("[", "no pattern"),
        ("(?m)^x", "(?m)"),
        ("(([ab]{20}){20}){1,1}", ""),
    ],
)
def test_a_pattern_that_can_t_be_used_is_refused_with_its_line(
    pattern: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "block.txt"
    path.write_text(f"# list\n\nfine\n{pattern}\n")
    if not words:
        assert len(read_patterns(path)) == 2
        return
    with pytest.raises(PatternError) as refused:
        read_patterns(path)
    assert "line 4" in refused.value.what
    assert words in f"{refused.value.what} {refused.value.cause}"


def test_patterns_that_are_too_large_or_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PatternError):
        Automaton([Pattern("line 1", "(" * 3 + "[ab]{7}" + "){7}" * 3)] * 60)
    monkeypatch.setattr(patterns, "MOST_PATTERNS", 2)
    with pytest.raises(PatternError):
        Automaton([Pattern("line 1", "a")] * 3)


def test_a_file_without_patterns_or_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "block.txt"
    for content in (None, b"# nothing\n\n", b"\xff\xfe"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PatternError) as refused:
            read_patterns(path)
        assert str(path) in refused.value.what


@given(st.characters())
def test_a_character_is_folded_once_and_for_all(character: str) -> None:
    folded = plain(character)
    assert "".join(plain(part) for part in folded) == folded
