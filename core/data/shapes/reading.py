"""What every shape's reader needs: a place to put problems, texts out of JSON values, roles."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from core.data.codes import CODES
from core.data.jsontext import kind_of
from core.data.problems import Place, Problem

ROLES = ("system", "user", "assistant", "tool")
_MEANT = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
}


class Complaints:
    """The problems of one row, as they are found."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.found: list[Problem] = []

    def add(self, code: str, sentence: str, fix: str) -> None:
        """Note a problem; the table of codes says how bad it is."""
        self.found.append(self.place.problem(code, sentence, fix, severity=CODES[code].severity))

    @property
    def failed(self) -> bool:
        return any(problem.severity == "error" for problem in self.found)


def text_of(value: Any, row: Complaints, name: str) -> str:
    """Content as one string; parts of a list are joined as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, row, name) for part in value)
    code = "null-content" if value is None else "not-text"
    row.add(code, f"{name} is {kind_of(value)}, not text.", "Write the text, or drop the row.")
    return ""


def _part(part: Any, row: Complaints, name: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else None
    what = f"of type {str(kind)[:40]!r}" if kind not in (None, "text") else "without text"
    row.add("not-text", f"{name} has a part {what}; only text can be trained.", "Drop the part or the row.")
    return ""


def meant_role(role: str) -> str | None:
    """The role that a wrong one was probably meant to be."""
    return _MEANT.get(role.lower()) or next(iter(get_close_matches(role.lower(), ROLES, 1, 0.7)), None)


def weight_of(value: Any, number: int, row: Complaints) -> int:
    """Of a turn: 0 is read but not trained."""
    if value is None:
        return 1
    if isinstance(value, int | float) and value in (0, 1):
        return int(value)
    row.add(
        "weight", f"message {number} has the weight {str(value)[:40]}.", "Weights are 0 (not trained) or 1."
    )
    return 1
