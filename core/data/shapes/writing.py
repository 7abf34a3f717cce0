"""A conversation in OpenAI's `messages` form, whatever shape it came in."""

from __future__ import annotations

import json
from typing import Any

from core.data.conversation import Conversation, Message, ToolCall
from core.data.problems import Place


def to_messages(conversation: Conversation) -> dict[str, Any]:
    """The row as {"messages": [...]}, with its tools; text with a label becomes a question and its answer.

    Of a preference pair the chosen answer is kept.

    Raises:
        DataError: the row has no turns: it is plain text or tokens.
    """
    messages = [_turn(message) for message in conversation.messages]
    if conversation.text is not None and conversation.label is not None:
        messages = [
            {"role": "user", "content": conversation.text},
            {"role": "assistant", "content": conversation.label},
        ]
    if not messages:
        place = Place(conversation.path, conversation.line, conversation.row)
        raise place.error(
            "unknown-shape",
            f"a row of the shape {conversation.shape!r} has no turns to write as messages.",
            "Leave it as it is, or drop it.",
        )
    row: dict[str, Any] = {"messages": messages}
    if conversation.tools:
        row["tools"] = list(conversation.tools)
    return row


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        turn["name"] = message.name
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, number) for number, call in enumerate(message.tool_calls, 1)]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.role == "assistant" and not message.weight:
        turn["weight"] = 0
    return turn


def _call(call: ToolCall, number: int) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    body = {"name": call.name, "arguments": arguments}
    return {"id": call.id or f"call_{number}", "type": "function", "function": body}
