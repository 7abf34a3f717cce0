"""What is probably not meant in turns that can be read: their order, empty ones, weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from core.data.conversation import Message
from core.data.shapes.reading import Complaints


def doubts(messages: Sequence[Message], row: Complaints) -> None:
    """Note errors and warnings that concern the turns of one row."""
    roles = [message.role for message in messages]
    _order(roles, row)
    _empty(messages, row)
    _tools(messages, row)
    if "assistant" not in roles:
        row.add(
            "no-assistant-turn",
            "the conversation has no assistant turn, so nothing in it can be trained.",
            "Add the answer or drop the row.",
        )
        return
    if "user" not in roles:
        row.add("no-user-turn", "the conversation has no user turn.", "Add the question or drop the row.")
    if roles[-1] != "assistant":
        row.add(
            "no-last-answer",
            f"the conversation ends with a {roles[-1]} turn, which trains nothing.",
            "Add the answer or drop that turn.",
        )
    if not any(message.weight for message in messages if message.role == "assistant"):
        row.add(
            "nothing-trained",
            "every assistant turn has weight 0, so the row trains nothing.",
            "Give one turn weight 1 or drop the row.",
        )


def _order(roles: Sequence[str], row: Complaints) -> None:
    for number, role in enumerate(roles, 1):
        if role == "system" and number > 1:
            row.add(
                "system-not-first",
                f"message {number} is a system turn; only the first may be one.",
                "Move its text into the first message.",
            )
    for number, (one, two) in enumerate(pairwise(roles), 2):
        if one == two and two in ("user", "assistant"):
            row.add(
                "repeated-role",
                f"message {number} is a second {two} turn in a row; some templates refuse that.",
                "Join the two turns.",
            )


def _empty(messages: Sequence[Message], row: Complaints) -> None:
    for number, message in enumerate(messages, 1):
        if message.content.strip():
            continue
        if message.role == "assistant" and not message.tool_calls:
            row.add(
                "empty-answer",
                f"message {number} (assistant) is empty: the model would learn to say nothing.",
                "Write the answer or drop the row.",
            )
        elif message.role == "user":
            row.add(
                "empty-question",
                f"message {number} (user) is empty.",
                "Write the question or drop the row.",
            )


def _tools(messages: Sequence[Message], row: Complaints) -> None:
    called = False
    for number, message in enumerate(messages, 1):
        called = called or bool(message.tool_calls)
        if message.role == "tool" and not called:
            row.add(
                "tool-order",
                f"message {number} is a tool's answer, but no call comes before it.",
                "Add the assistant's call, or drop the row.",
            )
            return
