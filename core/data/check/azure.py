"""The rules of Azure's serverless fine-tuning for chat models, beyond those of any training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.data.codes import CODES
from core.data.conversation import Conversation
from core.data.formats import Format
from core.data.problems import Place, Problem

MAX_FILE_BYTES = 512_000_000
FEW_ROWS = 10
_ROLES = ("system", "user", "assistant")


def azure_file_problems(title: str, format: Format, size: int) -> Iterator[Problem]:
    """What the service would refuse about a file whatever its rows: its format and its size."""
    place = Place(title, 0, 0)
    if format.kind != "jsonl" or format.packed:
        sentence = f"this is {format.name}; Azure takes JSON Lines in UTF-8."
        yield place.problem("azure-format", sentence, "Convert it: `finetui data fix` writes JSON Lines.")
    if size >= MAX_FILE_BYTES:
        sentence = f"the file has {size / 1e6:,.0f} MB; Azure takes files under 512 MB."
        yield place.problem("azure-size", sentence, "Take a sample of its rows, or split it.")


def azure_row_count_problems(title: str, rows: int) -> Iterator[Problem]:
    """No rule of this service is known, but another route to it asks for ten rows."""
    if rows < FEW_ROWS:
        sentence = f"the file has {rows} rows that can be used; Azure's other route asks for ten or more."
        place, severity = Place(title, 0, 0), CODES["azure-few-rows"].severity
        yield place.problem("azure-few-rows", sentence, "Add rows.", severity=severity)


def azure_problems(
    value: dict[str, Any], conversation: Conversation | None, place: Place
) -> Iterator[Problem]:
    """What the service would refuse about a row: anything but `messages` of role and text, answered last."""
    turns = value.get("messages")
    fault = _schema_fault(turns)
    if fault:
        fix = 'Convert it to {"messages": [{"role": "user", "content": "..."}, ...]}.'
        yield place.problem("azure-schema", f"{fault}; Azure takes text turns only.", fix)
    elif conversation is not None and conversation.messages[-1].role != "assistant":
        sentence = f"the last turn is the {conversation.messages[-1].role}'s; Azure asks for the assistant's."
        yield place.problem("azure-last-role", sentence, "Add the answer or drop that turn.")


def _schema_fault(turns: Any) -> str:
    """What stands against a list of turns; empty: nothing."""
    if not isinstance(turns, list) or not turns:
        return 'the row has no "messages"'
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or turn.get("role") not in _ROLES:
            return f"message {number} has none of the roles system, user and assistant"
        if not isinstance(turn.get("content"), str):
            return f"the content of message {number} is not a string"
    return ""
