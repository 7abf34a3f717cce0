"""Tool calls and the schemas of tools, in the forms that data has them in."""

from __future__ import annotations

import json
from typing import Any

from core.data.conversation import ToolCall
from core.data.shapes.reading import Complaints

_DROP = "Fix or drop the row."


def tool_calls(value: Any, number: int, row: Complaints) -> tuple[ToolCall, ...]:
    """The calls of a turn.

    Args:
        value: a list of {"id", "function": {"name", "arguments"}} or of {"name", "arguments"}, or one of these.
        number: of the turn, for messages.
        row: takes the problems.
    """
    items = value if isinstance(value, list) else [value]
    return tuple(call for item in items if (call := _call(item, number, row)) is not None)


def _call(item: Any, number: int, row: Complaints) -> ToolCall | None:
    body = item.get("function", item) if isinstance(item, dict) else None
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(name, str) or not name:
        row.add("tool-call", f"message {number} calls a tool without a name.", _DROP)
        return None
    identity = item.get("id")
    arguments = _arguments(body.get("arguments", body.get("parameters")), number, row)
    return ToolCall(name, arguments, identity if isinstance(identity, str) else "")


def _arguments(value: Any, number: int, row: Complaints) -> Any:
    """The arguments as a JSON value; services send them as JSON text."""
    if not isinstance(value, str):
        return {} if value is None else value
    try:
        decoded = json.loads(value) if value.strip() else {}
    except (ValueError, RecursionError):
        row.add("tool-call", f"the arguments of the tool call in message {number} are broken JSON.", _DROP)
        return {}
    if isinstance(decoded, str):
        inner = _decoded_again(decoded)
        if inner is not None:
            sentence = f"the arguments of the tool call in message {number} are encoded as JSON twice."
            row.add("tool-arguments-twice", sentence, "Decode them once.")
            return inner
    return decoded


def _decoded_again(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def tool_schemas(value: Any, row: Complaints) -> tuple[Any, ...]:
    """The tools a row names: a list of schemas, or that list as JSON text."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            row.add("tool-call", "the row's tools are broken JSON.", _DROP)
            return ()
    if not value:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)
