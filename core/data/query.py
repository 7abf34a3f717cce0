"""The language of filters: words, quoted texts, /patterns/ and conditions on fields.

refund                  a word anywhere in the row's text, whatever its case
"charged twice"         a text with spaces
/order \\d{4}/           a regular expression (Python's)
role:system             a turn of that role; also shape:alpaca label:spam code:empty-answer
tokens>2048  turns>=4   numbers: tokens trained turns chars line row
meta.source:web         a text in a field of the row's JSON object
-refund                 not so;   refund or billing: one of two; else all have to hold
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from core.data.codes import CODES
from core.errors import FinetuiError

BETWEEN_ROWS = frozenset(
    {"duplicate", "near-duplicate", "leak", "label-imbalance", "mixed-shapes", "few-rows"}
)
"""Problems that a look at one row can't tell."""

NUMBERS = ("tokens", "trained", "turns", "chars", "line", "row")
NAMES = ("role", "shape", "label", "code")
COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    ":": operator.eq,
}

_TERM = re.compile(
    r"""(?P<not>-)?(?:
        /(?P<pattern>(?:[^/\\]|\\.)+)/
      | (?P<number>tokens|trained|turns|chars|line|row)(?P<sign>>=|<=|>|<|=|:)(?P<value>[\d_.]+)(?=\s|$)
      | (?P<field>[A-Za-z_][\w.\-]*):(?:"(?P<quoted>[^"]*)"|(?P<plain>\S+))
      | "(?P<text>[^"]+)"
      | (?P<word>\S+)
    )(?=\s|$)""",
    re.VERBOSE,
)


class QueryError(FinetuiError):
    """A filter that can't be read."""


@dataclass(frozen=True)
class Term:
    """One condition.

    Args:
        kind: what is looked at.
        name: of the number, the name (role, shape, label, code) or the field.
        text: what it is compared with, lower case but for patterns.
        sign: of a number.
        negated: it must not hold.
    """

    kind: Literal["text", "pattern", "number", "name", "field"]
    name: str = ""
    text: str = ""
    sign: str = ""
    negated: bool = False


@dataclass(frozen=True)
class Query:
    """Groups of terms: all of one group have to hold."""

    groups: tuple[tuple[Term, ...], ...]

    @property
    def terms(self) -> list[Term]:
        return [term for group in self.groups for term in group]

    @property
    def needs_tokens(self) -> bool:
        """It asks for numbers that only a model's tokenizer gives."""
        return any(term.kind == "number" and term.name in ("tokens", "trained") for term in self.terms)

    @property
    def needs_model(self) -> bool:
        """It can't be answered without a model."""
        return self.needs_tokens or any(CODES[code].tier == "tokens" for code in self.codes)

    @property
    def between_rows(self) -> str:
        """The problem that alone it asks for, if that is one between rows: a check finds them, no filter."""
        (first, *others) = self.terms
        alone = not others and first.name == "code" and not first.negated
        return first.text if alone and first.text in BETWEEN_ROWS else ""

    @property
    def codes(self) -> frozenset[str]:
        """The problem codes it asks for."""
        return frozenset(term.text for term in self.terms if term.name == "code")


def parse(text: str) -> Query:
    """Read a filter.

    Raises:
        QueryError: an empty filter, an unknown code, a pattern or a number that is none.
    """
    groups: list[list[Term]] = [[]]
    position = 0
    while position < len(text.rstrip()):
        if text[position].isspace():
            position += 1
            continue
        match = _TERM.match(text, position)
        if match is None:
            raise _error(f"{text[position:][:40]!r} can't be read.", "Close every quote and every /pattern/.")
        position = match.end()
        if match["word"] == "or" and not match["not"]:
            groups.append([])
        else:
            groups[-1].append(_term(match))
    if not all(groups):
        raise _error("A condition is missing.", "Write something to look for, on both sides of `or`.")
    return Query(tuple(map(tuple, groups)))


def _term(match: re.Match[str]) -> Term:
    negated = bool(match["not"])
    if match["pattern"]:
        try:
            re.compile(match["pattern"])
        except re.error as error:
            raise _error(
                f"The pattern is no regular expression: {error}.", "Put a \\ before . * ? [ ( + |"
            ) from error
        return Term("pattern", "", match["pattern"], "", negated)
    if match["number"]:
        try:
            float(match["value"])
        except ValueError:
            raise _error(f"{match['value']!r} is no number.", "Write e.g. tokens>2048.") from None
        return Term("number", match["number"], match["value"], match["sign"], negated)
    if match["field"]:
        return _field(match["field"], match["quoted"] or match["plain"] or "", negated)
    return Term("text", "", (match["text"] or match["word"]).lower(), "", negated)


def _field(name: str, text: str, negated: bool) -> Term:
    if name in NUMBERS:
        raise _error(f"{name} is compared with a number, not with {text!r}.", f"Write e.g. {name}>100.")
    if name == "code" and text not in CODES:
        raise _error(f"There is no problem with the code {text!r}.", f"Codes are: {', '.join(CODES)}.")
    kind: Literal["name", "field"] = "name" if name in NAMES else "field"
    return Term(kind, name, text.lower(), "", negated)


def _error(cause: str, fix: str) -> QueryError:
    return QueryError("The filter can't be read.", cause, fix)
