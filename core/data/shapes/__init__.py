"""From a row's JSON object, whatever shape it has, to one `Conversation`."""

from __future__ import annotations

from typing import Any

from core.data.conversation import Conversation, Message
from core.data.problems import Place
from core.data.shapes.chat import messages, text_of

__all__ = ["convert"]


def convert(value: dict[str, Any], place: Place) -> Conversation:
    """The conversation of one row.

    Raises:
        DataError: the row has no known shape, or its parts are not what that shape needs.
    """
    if "messages" in value:
        return Conversation(messages(value["messages"], place), place.path, place.line, place.row)
    if "prompt" in value and "completion" in value:
        turns = (
            Message("user", text_of(value["prompt"], place, "prompt")),
            Message("assistant", text_of(value["completion"], place, "completion")),
        )
        return Conversation(turns, place.path, place.line, place.row, "prompt-completion")
    keys = ", ".join(list(value)[:6]) or "no keys"
    raise place.error(
        "unknown-shape",
        f'the row has neither "messages" nor "prompt" and "completion" (it has {keys[:80]}).',
        'Write it as {"messages": [{"role": "user", "content": ...}, ...]}.',
    )
