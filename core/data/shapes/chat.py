"""OpenAI's `messages`: a list of turns with roles."""

from __future__ import annotations

from typing import Any

from core.data.conversation import Message
from core.data.jsontext import kind_of
from core.data.problems import Place

_ROLES = ("system", "user", "assistant")
_TOOL_ROLES = ("tool", "function", "observation", "function_call")
_MEANT = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
}


def messages(value: Any, place: Place) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        found = "empty" if value == [] else kind_of(value)
        raise place.error(
            "no-messages", f'"messages" is {found}, not a list of turns.', "Fix or drop the row."
        )
    messages = tuple(_message(item, number, place) for number, item in enumerate(value, 1))
    for number, message in enumerate(messages, 1):
        if message.role == "system" and number > 1:
            raise place.error(
                "system-not-first",
                f"message {number} is a system turn; only the first may be one.",
                "Move its text into the first message.",
            )
    if not any(message.role == "assistant" for message in messages):
        raise place.error(
            "no-assistant-turn",
            "the conversation has no assistant turn, so nothing in it can be trained.",
            "Add the answer or drop the row.",
        )
    return messages


def _message(value: Any, number: int, place: Place) -> Message:
    if not isinstance(value, dict):
        raise place.error(
            "not-a-message", f"message {number} is {kind_of(value)}, not an object.", "Fix or drop the row."
        )
    role = _role(value, number, place)
    if value.get("tool_calls") or value.get("function_call"):
        raise place.error(
            "tool-calls", f"message {number} calls a tool; tool calls can't be trained yet.", "Drop the row."
        )
    content = text_of(value.get("content"), place, f"the content of message {number} ({role})")
    return Message(role, content, _weight(value.get("weight"), number, place))


def _role(value: dict[str, Any], number: int, place: Place) -> str:
    role = value.get("role")
    if role in _ROLES:
        return str(role)
    if role in _TOOL_ROLES:
        raise place.error(
            "tool-calls",
            f"message {number} has the role {role!r}; tool turns can't be trained yet.",
            "Drop the row, or its tool turns.",
        )
    if role is None:
        raise place.error(
            "no-role", f"message {number} has no role.", "Give it one of: system, user, assistant."
        )
    meant = _meant(str(role))
    raise place.error(
        "unknown-role",
        f"message {number} has the unknown role {str(role)[:40]!r}.",
        f"Write {meant!r} instead." if meant else "Roles are: system, user, assistant.",
    )


def _meant(role: str) -> str | None:
    """The role that a wrong one was probably meant to be."""
    from difflib import get_close_matches

    return _MEANT.get(role) or next(iter(get_close_matches(role.lower(), _ROLES, 1, 0.7)), None)


def text_of(value: Any, place: Place, name: str) -> str:
    """Content as one string; parts of a list are joined as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, place, name) for part in value)
    code = "null-content" if value is None else "not-text"
    raise place.error(code, f"{name} is {kind_of(value)}, not text.", "Write the text, or drop the row.")


def _part(part: Any, place: Place, name: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else None
    what = f"of type {str(kind)[:40]!r}" if kind not in (None, "text") else "without text"
    raise place.error(
        "not-text", f"{name} has a part {what}; only text can be trained.", "Drop the part or the row."
    )


def _weight(value: Any, number: int, place: Place) -> int:
    if value is None:
        return 1
    if value in (0, 1) and isinstance(value, int | float):
        return int(value)
    raise place.error(
        "weight", f"message {number} has the weight {str(value)[:40]}.", "Weights are 0 (not trained) or 1."
    )
