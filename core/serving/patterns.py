"""Patterns of a block list, searched in time linear in the text, whatever the pattern and whatever the text.

Python's own matcher tries alternatives one after the other: `(a|a)*b` takes it for ever on a row of a's, and a text
from outside may be made to do that. Here a pattern becomes an automaton whose states are followed side by side
(K. Thompson, Regular Expression Search Algorithm, CACM 1968), and each set of states met is kept with where a
character leads from it. One character costs one look-up, or at worst one step of every state.

Python's syntax is read, without what needs backtracking: no back references, no look-ahead or look-behind. A pattern
must have a longest match, since a stream is held back by that much: `.{0,40}` where one would write `.*`.

Case and accents are ignored, compatibility forms (full-width letters, ligatures) are taken for their plain ones, and
characters that are not to be seen (zero-width joiners, soft hyphens) are passed over.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import FinetuiError

LONGEST_MATCH = 400
"""Characters; so much of a stream may be held back."""
MOST_NODES = 20_000
MOST_PATTERNS = 1000
MOST_KEPT_STEPS = 50_000
MOST_BYTES = 1 << 20

Test = Callable[[str], bool]


class PatternError(FinetuiError):
    """A block list can't be used."""


@dataclass(frozen=True)
class Pattern:
    """One line of a block list.

    Args:
        name: how the log names it: its number in the list, never its text.
        text: the pattern.
    """

    name: str
    text: str


class _Node:
    """A state: takes a character (`test`), forks without one (`ways`), asks for a border, or accepts."""

    __slots__ = ("accepts", "border", "test", "ways")

    def __init__(self) -> None:
        self.ways: list[int] = []
        self.test: Test | None = None
        self.border = ""
        self.accepts = -1


def read_patterns(path: Path) -> list[Pattern]:
    """The patterns of a file, one a line; empty lines and those that begin with # are passed over.

    Raises:
        PatternError: it can't be read, or a line is no pattern that can be used; names the line.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PatternError(f"{path} is too long.", f"A block list has up to {MOST_BYTES >> 20} MiB.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PatternError(
            f"The block list {path} can't be read.", str(error), "Give a text file, one pattern a line."
        ) from error
    found = [
        Pattern(f"line {number}", line.strip())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise PatternError(
            f"The block list {path} has no pattern.", "", "Write one a line, or leave --safety off."
        )
    try:
        Automaton(found)
    except PatternError as error:
        raise PatternError(f"{path}, {error.what}", error.cause, error.next_step) from error
    return found


class Automaton:
    """All patterns in one machine.

    Args:
        patterns: of a block list.

    Attributes:
        longest: characters of the longest match.

    Raises:
        PatternError: one of them is no pattern, has no longest match, matches nothing at all, or they are too many.
    """

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = list(patterns)
        self.nodes: list[_Node] = []
        self.longest = 0
        if len(self.patterns) > MOST_PATTERNS:
            raise PatternError(
                f"{len(self.patterns)} patterns are too many.", f"Up to {MOST_PATTERNS} are used."
            )
        self.starts = frozenset(self._add(number, pattern) for number, pattern in enumerate(self.patterns))
        self._steps: dict[tuple[frozenset[int], bool | None, str], tuple[frozenset[int], int]] = {}

    # Building

    def _add(self, number: int, pattern: Pattern) -> int:
        parsed = _parsed(pattern)
        shortest, longest = parsed.getwidth()
        if longest > LONGEST_MATCH:
            raise PatternError(
                f"{pattern.name}: the pattern has no longest match within {LONGEST_MATCH} characters.",
                "What is streamed has to be held back by so much.",
                "Bound its repeats: `.{0,40}` in place of `.*`, `\\w{1,30}` in place of `\\w+`.",
            )
        if shortest == 0:
            raise PatternError(
                f"{pattern.name}: the pattern matches the empty text.",
                "It would block everything.",
                "Correct it.",
            )
        self.longest = max(self.longest, longest)
        try:
            first, last = self._sequence(parsed)
        except _Unsupported as error:
            raise PatternError(
                f"{pattern.name}: the pattern has {error}.",
                "It can't be searched in time linear in the text.",
                "Say it without.",
            ) from error
        self.nodes[last].accepts = number
        return first

    def _node(self) -> int:
        if len(self.nodes) >= MOST_NODES:
            raise PatternError(
                "the patterns are too large.",
                f"Their repeats written out make more than {MOST_NODES} states.",
                "Use smaller repeats, or fewer patterns.",
            )
        self.nodes.append(_Node())
        return len(self.nodes) - 1

    def _join(self, one: int, two: int) -> None:
        self.nodes[one].ways.append(two)

    def _sequence(self, items: Any) -> tuple[int, int]:
        first = last = self._node()
        for item in items:
            start, end = self._item(*item)
            self._join(last, start)
            last = end
        return first, last

    def _item(self, kind: Any, value: Any) -> tuple[int, int]:
        name = str(kind)
        if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            return self._one_character(_test(name, value))
        if name == "BRANCH":
            return self._branch(value[1])
        if name == "SUBPATTERN":
            return self._sequence(value[3])
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(*value)
        if name == "AT" and str(value) in _BORDERS:
            return self._at(_BORDERS[str(value)])
        raise _Unsupported(_WORDS.get(name, name.lower()))

    def _one_character(self, test: Test) -> tuple[int, int]:
        first, last = self._node(), self._node()
        self.nodes[first].test = test
        self._join(first, last)
        return first, last

    def _branch(self, branches: Any) -> tuple[int, int]:
        first, last = self._node(), self._node()
        for branch in branches:
            start, end = self._sequence(branch)
            self._join(first, start)
            self._join(end, last)
        return first, last

    def _repeat(self, least: int, most: Any, items: Any) -> tuple[int, int]:
        first = last = self._node()
        final = self._node()
        for count in range(int(most)):
            if count >= least:
                self._join(last, final)
            start, end = self._sequence(items)
            self._join(last, start)
            last = end
        self._join(last, final)
        return first, final

    def _at(self, border: str) -> tuple[int, int]:
        first, last = self._node(), self._node()
        self.nodes[first].border = border
        self._join(first, last)
        return first, last

    # Running

    def step(self, states: frozenset[int], before: str, character: str) -> tuple[frozenset[int], int]:
        """What one character leads to.

        Args:
            states: the states so far.
            before: the character before, empty at the beginning.
            character: this one, empty for the end of the text.

        Returns:
            The next states, and the number of a pattern that ended before this character, or -1.
        """
        key = (states, _is_word(before) if before else None, character)
        answer = self._steps.get(key)
        if answer is None:
            if len(self._steps) >= MOST_KEPT_STEPS:
                self._steps.clear()
            answer = self._steps[key] = self._step(states, before, character)
        return answer

    def _step(self, states: frozenset[int], before: str, character: str) -> tuple[frozenset[int], int]:
        alive, matched = self._closure(states | self.starts, before, character)
        if not character:
            return frozenset(), matched
        following = {
            self.nodes[node].ways[0]
            for node in alive
            if (test := self.nodes[node].test) is not None and test(character)
        }
        return frozenset(following), matched

    def _closure(self, states: Iterable[int], before: str, after: str) -> tuple[set[int], int]:
        seen: set[int] = set()
        waiting = list(states)
        matched = -1
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            node = self.nodes[number]
            if node.accepts >= 0:
                matched = node.accepts if matched < 0 else min(matched, node.accepts)
            if node.test is None and (not node.border or _holds(node.border, before, after)):
                waiting.extend(node.ways)
        return seen, matched


class Search:
    """One text, character by character or piece by piece.

    Args:
        automaton: the patterns.
    """

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self._states: frozenset[int] = frozenset()
        self._before = ""

    def feed(self, text: str) -> Pattern | None:
        """The first pattern that is known to match by now, or None."""
        for raw in text:
            for character in plain(raw):
                self._states, matched = self.automaton.step(self._states, self._before, character)
                self._before = character
                if matched >= 0:
                    return self.automaton.patterns[matched]
        return None

    def end(self) -> Pattern | None:
        """A pattern that matches at the end of the text, or None."""
        _, matched = self.automaton.step(self._states, self._before, "")
        return self.automaton.patterns[matched] if matched >= 0 else None


@functools.lru_cache(maxsize=1 << 14)
def plain(character: str) -> str:
    """A character as patterns see it: empty for one that can't be seen, else folded; may be several."""
    if unicodedata.category(character) == "Cf":
        return ""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", character))
    return _ACCENTS.sub("", unicodedata.normalize("NFKC", bare).casefold())


_ACCENTS = re.compile("[\u0300-\u036f]")


class _Unsupported(Exception):  # noqa: N818 - becomes a PatternError that names the pattern
    pass


_WORDS = {
    "GROUPREF": "a back reference",
    "GROUPREF_EXISTS": "a condition",
    "ASSERT": "a look-ahead or look-behind",
    "ASSERT_NOT": "a look-ahead or look-behind",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}
_BORDERS = {
    "AT_BEGINNING": "beginning",
    "AT_BEGINNING_STRING": "text beginning",
    "AT_END": "end",
    "AT_END_STRING": "text end",
    "AT_BOUNDARY": "word border",
    "AT_NON_BOUNDARY": "no word border",
}


def _parsed(pattern: Pattern) -> Any:
    import re._parser as parser  # type: ignore[import-not-found]  # what re.compile itself reads patterns with

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            parsed = parser.parse(
                re.sub("[^\0-\x7f]", lambda found: re.escape(plain(found[0])), pattern.text)
            )
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(
            f"{pattern.name}: this is no pattern: {error}.", "", "Correct it; Python's syntax is meant."
        ) from error
    if parsed.state.flags & re.MULTILINE:
        raise PatternError(f"{pattern.name}: (?m) can't be used.", "", "Say it without.")
    return parsed


def _test(name: str, value: Any) -> Test:
    """The question whether a character, folded already, is one of those meant."""
    if name in ("IN", "ANY"):
        return _set_test(value) if name == "IN" else (lambda _: True)
    meant = plain(chr(value))
    if len(meant) != 1:
        raise _Unsupported(f"an escape for a character that is seen as {meant!r}")
    return meant.__eq__ if name == "LITERAL" else meant.__ne__


def _set_test(items: Any) -> Test:
    negated = False
    tests: list[Test] = []
    for kind, value in items:
        match str(kind):
            case "NEGATE":
                negated = True
            case "LITERAL":
                tests.append(_test("LITERAL", value))
            case "RANGE":
                tests.append(functools.partial(_within, value[0], value[1]))
            case "CATEGORY":
                tests.append(_CATEGORIES[str(value)])
    chosen = tuple(tests)
    return lambda character: any(test(character) for test in chosen) != negated


def _within(low: int, high: int, character: str) -> bool:
    return any(low <= ord(form) <= high for form in (character, character.upper()) if len(form) == 1)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES: dict[str, Test] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_NOT_DIGIT": lambda character: not character.isdecimal(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda character: not character.isspace(),
    "CATEGORY_WORD": _is_word,
    "CATEGORY_NOT_WORD": lambda character: not _is_word(character),
}


def _holds(border: str, before: str, after: str) -> bool:
    match border:
        case "beginning" | "text beginning":
            return before == ""
        case "end" | "text end":
            return after == ""
    at_word_border = _is_word(before) != _is_word(after)
    return at_word_border == (border == "word border")
