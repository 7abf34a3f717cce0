"""The text tier: secrets, personal data, placeholders and text decoded wrongly.

A block's rows are searched as one string of bytes, first for fixed strings: only rows that have one are looked
at by the rules. Text in wrong encoding is sought in rows that are not ASCII, first by pairs of characters as
wrong decoding makes them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate

from core.data.check.patterns import RULES, Finding, Rule, matches, shown
from core.data.check.scan import Row
from core.data.codes import CODES
from core.data.problems import Problem

_BETWEEN_ROWS = b"\xff"  # never in UTF-8
_DIGITS = bytes.maketrans(b"0123456789", b"0" * 10)
_CARD_DIGITS = b"0" * 13
_AROUND = 48
_LOST = "\N{REPLACEMENT CHARACTER}"
_SENTENCES = {
    "secret": ("holds what looks like {kind} ({value})", "Remove it, and make it invalid where it was used."),
    "email": ("has {kind} ({value})", "Remove or replace it; a model can tell what it was trained on."),
    "card-number": ("has {kind} ({value})", "Remove or replace it; a model can tell what it was trained on."),
    "placeholder": ("has {kind} ({value})", "Fill it in or drop the row."),
}
_BY_LITERAL: dict[tuple[bytes, re.Pattern[bytes] | None], list[Rule]] = {}
for _rule in RULES:
    for _literal in _rule.literals:
        _BY_LITERAL.setdefault((_literal.encode(), _rule.near), []).append(_rule)
_UNFILTERED = [rule for rule in RULES if not rule.literals]


def text_problems(rows: Sequence[Row], title: str) -> list[Problem]:
    """What the text of rows has that is probably not meant, in order of row; one problem a row and code."""
    problems: list[Problem] = []
    for index, rules in sorted(_candidates(rows).items()):
        problems += _rule_problems(rows[index], rules, title)
    for row in rows:
        if not row.key.isascii():
            problems += _mojibake_problems(row, title)
    return problems


def _candidates(rows: Sequence[Row]) -> dict[int, list[Rule]]:
    """Which rules may match in which rows."""
    found: dict[int, list[Rule]] = {}
    block = _BETWEEN_ROWS.join(row.key for row in rows).lower()
    ends = list(accumulate(len(row.key) + 1 for row in rows))
    for (literal, near), rules in _BY_LITERAL.items():
        for index in _rows_with(block, ends, literal, near):
            mine = found.setdefault(index, [])
            mine += [rule for rule in rules if rule not in mine]
    if _CARD_DIGITS in block.translate(_DIGITS, b" -"):
        for index, row in enumerate(rows):
            if _CARD_DIGITS in row.key.translate(_DIGITS, b" -"):
                found.setdefault(index, []).extend(_UNFILTERED)
    return found


def _rows_with(
    block: bytes, ends: list[int], literal: bytes, near: re.Pattern[bytes] | None
) -> Iterator[int]:
    """The rows that have a literal (and at it what a finer filter asks for)."""
    position = block.find(literal)
    while position >= 0:
        if near is None or near.match(block, position):
            index = bisect_right(ends, position)
            yield index
            position = ends[index] - 1
        position = block.find(literal, position + 1)


def _rule_problems(row: Row, rules: Iterable[Rule], title: str) -> Iterator[Problem]:
    found: dict[str, list[tuple[int, Finding]]] = {}
    for part, content in enumerate(row.contents):
        for rule in rules:
            for finding in matches(rule, content):
                found.setdefault(rule.code, []).append((part, finding))
    for code, findings in found.items():
        part, first = min(findings, key=lambda item: (item[0], item[1].start))
        words, fix = _SENTENCES[code]
        value = shown(code, row.contents[part][first.start : first.end])
        places = len({(where, finding.start) for where, finding in findings})
        more = f", and {places - 1} more in this row" if places > 1 else ""
        sentence = f"{row.name(part)} {words.format(kind=first.kind, value=value)}{more}."
        yield row.place(title).problem(code, sentence, fix, severity=CODES[code].severity)


def _mojibake_problems(row: Row, title: str) -> Iterator[Problem]:
    for part, content in enumerate(row.contents):
        if content.isascii():
            continue
        words, fix = "", "Decode the text again from its source, or `finetui data fix` mends it."
        if (wrong := mojibake(content)) is not None:
            words = f"has text decoded with the wrong encoding ({wrong[0]!r} for {wrong[1]!r})"
        elif _LOST in content:
            words = f"has {content.count(_LOST)} characters lost in decoding (U+FFFD)"
            fix = "Take the text from its source again, or drop the row."
        if words:
            sentence, severity = f"{row.name(part)} {words}.", CODES["mojibake"].severity
            yield row.place(title).problem("mojibake", sentence, fix, severity=severity)
            return


def mojibake(text: str) -> tuple[str, str] | None:
    """A piece of text that was decoded wrongly, and what it should be; None if there is none.

    ftfy decides; it is asked only where two characters stand together as wrong decoding makes them.
    """
    for match in _suspicious().finditer(text):
        start, end = max(match.start() - _AROUND, 0), match.end() + _AROUND
        around = text[start:end]
        if _is_bad(around) and (mended := _mended(text)) != text:
            return _difference(text, mended)
    return None


def _is_bad(text: str) -> bool:
    from ftfy.badness import is_bad

    return bool(is_bad(text))


def _mended(text: str) -> str:
    from ftfy import fix_encoding

    return str(fix_encoding(text))


def _difference(wrong: str, right: str) -> tuple[str, str]:
    """Where two texts part, a word of each."""
    start = next((at for at, (one, two) in enumerate(zip(wrong, right, strict=False)) if one != two), 0)
    start = max(wrong.rfind(" ", 0, start), wrong.rfind("\n", 0, start)) + 1
    return _word(wrong[start:]), _word(right[start:])


def _word(text: str) -> str:
    return (text.split(maxsplit=1) or [""])[0][:24]


@cache
def _suspicious() -> re.Pattern[str]:
    """Two characters as the bytes of one, in UTF-8, give in each encoding that ftfy knows how to undo."""
    import ftfy  # noqa: F401 - registers the encodings that have "sloppy" in their names
    from ftfy.chardata import CHARMAP_ENCODINGS

    leads, following = set(), set()
    for encoding in CHARMAP_ENCODINGS:
        leads |= set(bytes(range(0xC2, 0xF5)).decode(encoding, "ignore"))
        following |= set(bytes(range(0x80, 0xC0)).decode(encoding, "ignore"))
    pair = f"[{_class(leads)}][{_class(following)}]"
    return re.compile(f"{pair}|[ÃÂ] ")


def _class(letters: set[str]) -> str:
    return "".join(re.escape(letter) for letter in sorted(letters) if not letter.isascii())
