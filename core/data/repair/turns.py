"""The turns of a row where they stand in its JSON object, whatever shape it has, to be changed in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from core.data.problems import Place
from core.data.shapes import chat
from core.data.shapes.reading import Complaints

_WHOLE = ("messages", "conversations", "conversation")
_ANSWERS = ("completion", "response", "chosen", "rejected")
_QUESTIONS = ("prompt", "question", "instruction")
_APART = ("system", "system_prompt")


class Turns(NamedTuple):
    """A list of turns in a row: the list itself, and the keys of role and content in it."""

    items: list[Any]
    role: str
    content: str

    def role_of(self, item: Any) -> str | None:
        """The role of a turn as we call it; None where it has none that is known."""
        said = item.get(self.role) if isinstance(item, dict) else None
        return known_role(self.role == "from", said) if isinstance(said, str) else None


@cache
def known_role(sharegpt: bool, name: str) -> str | None:
    """The role that a name stands for; None for a name nobody knows."""
    row = Complaints(Place("", 0, 0))
    turn = {"from": name, "value": "{}"} if sharegpt else {"role": name, "content": ""}
    found = chat.sharegpt([turn], row) if sharegpt else chat.messages([turn], row, {})
    return found[0].role if found else None


def turns_of(value: dict[str, Any], columns: Mapping[str, str]) -> Iterator[Turns]:
    """Every list of turns in a row."""
    for part in (*_WHOLE, *_QUESTIONS, *_ANSWERS):
        yield from _turns(value, part, columns)


def last_turns_of(value: dict[str, Any], columns: Mapping[str, str]) -> Iterator[Turns]:
    """The lists that an answer has to end: of a pair of question and answer that is the answer's."""
    ends = _ANSWERS if any(columns.get(part, part) in value for part in _ANSWERS) else _WHOLE
    for part in ends:
        yield from _turns(value, part, columns)


def _turns(value: dict[str, Any], part: str, columns: Mapping[str, str]) -> Iterator[Turns]:
    items = value.get(columns.get(part, part))
    if not isinstance(items, list):
        return
    first = next((item for item in items if isinstance(item, dict)), None)
    if first is None:
        return
    role, content = columns.get("role", "role"), columns.get("content", "content")
    if role in first or content in first:
        yield Turns(items, role, content)
    elif "from" in first:
        yield Turns(items, "from", "value")


def apart_key(value: dict[str, Any], columns: Mapping[str, str]) -> str | None:
    """The key of a system text that stands apart from the turns; None where there is none."""
    names = (columns.get("system", "system"), *_APART)
    return next((name for name in names if isinstance(value.get(name), str) and value[name]), None)


def joined(one: Any, two: Any) -> Any:
    """Two contents as one, a blank line between them; None where one of them is not text."""
    if isinstance(one, str) and isinstance(two, str):
        return "\n\n".join(text for text in (one, two) if text.strip())
    parts_one, parts_two = _parts(one), _parts(two)
    if parts_one is None or parts_two is None:
        return None
    return [*parts_one, {"type": "text", "text": "\n\n"}, *parts_two]


def _parts(content: Any) -> list[Any] | None:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else None
