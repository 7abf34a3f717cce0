"""Turns with roles: OpenAI's `messages`, ShareGPT's `conversations`, pairs of question and answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.data.conversation import Message
from core.data.jsontext import kind_of
from core.data.shapes.reading import ROLES, Complaints, meant_role, text_of, weight_of
from core.data.shapes.tools import tool_calls

_OTHER_NAMES = {"developer": "system", "function": "tool"}
_SHAREGPT = {
    **{name: name for name in ROLES},
    **_OTHER_NAMES,
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "function_call": "assistant",
}


def messages(value: Any, row: Complaints, names: Mapping[str, str]) -> tuple[Message, ...]:
    """The turns of a list.

    Args:
        value: the list.
        row: takes the problems.
        names: what the keys `role` and `content` are called, where not so.
    """
    if not isinstance(value, list) or not value:
        found = "empty" if value == [] else kind_of(value)
        row.add("no-messages", f'"messages" is {found}, not a list of turns.', "Fix or drop the row.")
        return ()
    role_key, content_key = names.get("role", "role"), names.get("content", "content")
    if role_key == "role" and isinstance(value[0], dict) and "from" in value[0] and "role" not in value[0]:
        return sharegpt(value, row)
    turns = (_message(item, number, row, role_key, content_key) for number, item in enumerate(value, 1))
    return tuple(turn for turn in turns if turn is not None)


def _message(item: Any, number: int, row: Complaints, role_key: str, content_key: str) -> Message | None:
    if not isinstance(item, dict):
        row.add(
            "not-a-message", f"message {number} is {kind_of(item)}, not an object.", "Fix or drop the row."
        )
        return None
    role = _role(item.get(role_key), number, row)
    if role is None:
        return None
    content = item.get(content_key)
    weight = weight_of(item.get("weight"), number, row)
    calls = item.get("tool_calls") or item.get("function_call")
    if len(item) == 2 or not (calls or item.get("name") or item.get("tool_call_id")):
        return Message(role, text_of(content, row, f"the content of message {number} ({role})"), weight)
    text = (
        ""
        if content is None and calls
        else text_of(content, row, f"the content of message {number} ({role})")
    )
    return Message(
        role,
        text,
        weight,
        str(item.get("name") or ""),
        tool_calls(calls, number, row) if calls else (),
        str(item.get("tool_call_id") or ""),
    )


def _role(role: Any, number: int, row: Complaints) -> str | None:
    if role in ROLES:
        return str(role)
    if isinstance(role, str) and role in _OTHER_NAMES:
        return _OTHER_NAMES[role]
    if role is None:
        row.add("no-role", f"message {number} has no role.", f"Give it one of: {', '.join(ROLES)}.")
        return None
    meant = meant_role(str(role))
    row.add(
        "unknown-role",
        f"message {number} has the unknown role {str(role)[:40]!r}.",
        f"Write {meant!r} instead." if meant else f"Roles are: {', '.join(ROLES)}.",
    )
    return None


def sharegpt(value: Any, row: Complaints) -> tuple[Message, ...]:
    """The turns of a list of {"from", "value"}; a `function_call` is the assistant's call of a tool."""
    if not isinstance(value, list) or not value:
        found = "empty" if value == [] else kind_of(value)
        row.add("no-messages", f'"conversations" is {found}, not a list of turns.', "Fix or drop the row.")
        return ()
    if isinstance(value[0], dict) and "role" in value[0]:
        return messages(value, row, {})
    turns = (_sharegpt_turn(item, number, row) for number, item in enumerate(value, 1))
    return tuple(turn for turn in turns if turn is not None)


def _sharegpt_turn(item: Any, number: int, row: Complaints) -> Message | None:
    if not isinstance(item, dict):
        row.add(
            "not-a-message", f"message {number} is {kind_of(item)}, not an object.", "Fix or drop the row."
        )
        return None
    speaker = item.get("from")
    role = _SHAREGPT.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        _unknown(speaker, number, row)
        return None
    text = text_of(item.get("value"), row, f"the value of message {number} ({speaker})")
    weight = weight_of(item.get("weight"), number, row)
    if speaker != "function_call":
        return Message(role, text, weight)
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        row.add("tool-call", f"the tool call in message {number} is broken JSON.", "Fix or drop the row.")
        return None
    return Message(role, "", weight, "", tool_calls(call, number, row))


def _unknown(speaker: Any, number: int, row: Complaints) -> None:
    if speaker is None:
        row.add("no-role", f'message {number} has no "from".', "Give it one of: system, human, gpt.")
        return
    row.add(
        "unknown-role", f"message {number} is from {str(speaker)[:40]!r}.", "Write 'human' or 'gpt' instead."
    )


def pairs(
    value: Any, row: Complaints, asked: str = "human", answered: str = "assistant"
) -> tuple[Message, ...]:
    """The turns of a list of pairs: objects with both, or lists of two."""
    if not isinstance(value, list) or not value:
        row.add("no-messages", f"the list of pairs is {kind_of(value)}.", "Fix or drop the row.")
        return ()
    turns: list[Message] = []
    for number, item in enumerate(value, 1):
        if isinstance(item, dict):
            both = item.get(asked), item.get(answered)
        elif isinstance(item, list) and len(item) == 2:
            both = item[0], item[1]
        else:
            row.add("not-a-message", f"pair {number} is {kind_of(item)}.", "Fix or drop the row.")
            continue
        turns.append(Message("user", text_of(both[0], row, f"the question of pair {number}")))
        turns.append(Message("assistant", text_of(both[1], row, f"the answer of pair {number}")))
    return tuple(turns)
