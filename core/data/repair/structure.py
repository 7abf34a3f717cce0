"""Repairs of turns: roles, order, contents that are no text, tool calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from core.data.check.azure import azure_problems
from core.data.problems import Place
from core.data.repair.turns import Turns, apart_key, joined, last_turns_of, turns_of
from core.data.shapes import convert as to_conversation
from core.data.shapes import detect, to_messages
from core.data.shapes.plain import text_key
from core.data.shapes.reading import meant_role

Columns = Mapping[str, str]
_TEXTS = (
    "prompt", "completion", "response", "instruction", "input", "output", "query", "question", "answer",
    "context", "system", "system_prompt", "ground_truth", "chosen", "rejected", "text",
)  # fmt: skip


def rename_role(value: dict[str, Any], columns: Columns) -> None:
    """Names that stand for no role become the role they were probably meant to be."""
    for turns in turns_of(value, columns):
        for item in turns.items:
            said = item.get(turns.role) if isinstance(item, dict) else None
            if said is not None and turns.role_of(item) is None and (meant := meant_role(str(said))):
                item[turns.role] = meant


def move_system(value: dict[str, Any], columns: Columns) -> None:
    """The text of later system turns goes into the first turn, which becomes one if it is none."""
    for turns in turns_of(value, columns):
        later = [item for item in turns.items[1:] if turns.role_of(item) == "system"]
        if not later or any(joined("", item.get(turns.content)) is None for item in later):
            continue
        apart = apart_key(value, columns)
        first = turns.items[0] if turns.role_of(turns.items[0]) == "system" else None
        text = first.get(turns.content) if first else value[apart] if apart else ""
        for item in later:
            text = joined(text, item.get(turns.content))
        if first:
            first[turns.content] = text
        elif apart and isinstance(text, str):
            value[apart] = text
        else:
            turns.items.insert(0, {**later[0], turns.content: text})
        turns.items[:] = [item for item in turns.items if all(item is not moved for moved in later)]


def system_into_question(value: dict[str, Any], columns: Columns) -> None:
    """For templates without a system role: its text goes before the first question."""
    move_system(value, columns)
    for turns in turns_of(value, columns):
        apart = apart_key(value, columns)
        first = turns.items[0] if turns.role_of(turns.items[0]) == "system" else None
        question = next((item for item in turns.items if turns.role_of(item) == "user"), None)
        if question is None or not (first or apart):
            continue
        text = first.get(turns.content) if first else value[apart or ""]
        both = joined(text, question.get(turns.content))
        if both is None:
            continue
        question[turns.content] = both
        if first:
            del turns.items[0]
        elif apart:
            del value[apart]


def merge_turns(value: dict[str, Any], columns: Columns) -> None:
    """Two turns of one role become one, a blank line between their texts.

    Turns of different speakers, or of which only one is trained, stay as they are.
    """
    for turns in turns_of(value, columns):
        kept: list[Any] = []
        for item in turns.items:
            if not (kept and _merged(kept[-1], item, turns)):
                kept.append(item)
        turns.items[:] = kept


def _merged(one: Any, two: Any, turns: Turns) -> bool:
    """Whether the second turn went into the first."""
    role = turns.role_of(one)
    if role not in ("user", "assistant") or turns.role_of(two) != role:
        return False
    plain = {turns.role, turns.content, "tool_calls"}
    if any(one.get(key) != two.get(key) for key in (one.keys() | two.keys()) - plain):
        return False
    calls = [*(one.get("tool_calls") or ()), *(two.get("tool_calls") or ())]
    texts = [item.get(turns.content) for item in (one, two)]
    both = joined(*(("" if text is None and calls else text) for text in texts))
    if both is None or "function_call" in (one.keys() | two.keys()):
        return False
    one[turns.content] = both
    if calls:
        one["tool_calls"] = calls
    return True


def trim_end(value: dict[str, Any], columns: Columns) -> None:
    """Turns after the last answer go, where there is an answer."""
    for turns in last_turns_of(value, columns):
        answers = [number for number, item in enumerate(turns.items) if turns.role_of(item) == "assistant"]
        if answers:
            del turns.items[answers[-1] + 1 :]


def to_text(value: dict[str, Any], columns: Columns) -> None:
    """Contents that are numbers or yes and no become text; pictures and objects stay as they are."""
    for turns in turns_of(value, columns):
        for item in turns.items:
            if isinstance(item, dict) and turns.content in item:
                item[turns.content] = _as_text(item[turns.content])
    for key in {*_TEXTS, text_key(value), *(columns.get(part, part) for part in _TEXTS)}:
        if key in value and isinstance(value[key], bool | int | float):
            value[key] = _as_text(value[key])
    for key in ("history", "conversations", "conversation"):
        pairs = value.get(columns.get(key, key))
        for pair in pairs if isinstance(pairs, list) else ():
            if isinstance(pair, list):
                pair[:] = [_as_text(item) for item in pair]
            elif isinstance(pair, dict) and "human" in pair:
                pair.update({side: _as_text(pair[side]) for side in ("human", "assistant") if side in pair})


def _as_text(content: Any) -> Any:
    if isinstance(content, list):
        return [_as_text(part) for part in content]
    if isinstance(content, bool | int | float):
        return json.dumps(content)
    return content


def decode_arguments(value: dict[str, Any], columns: Columns) -> None:
    """Arguments of tool calls that are JSON text in JSON text become JSON text."""
    for turns in turns_of(value, columns):
        for item in turns.items:
            if not isinstance(item, dict):
                continue
            if item.get(turns.role) == "function_call" and isinstance(item.get(turns.content), str):
                call = _json(item[turns.content])
                if _decode(call):
                    item[turns.content] = json.dumps(call, ensure_ascii=False)
            calls = item.get("tool_calls") or item.get("function_call")
            for call in calls if isinstance(calls, list) else [calls]:
                _decode(call)


def _decode(call: Any) -> bool:
    """Whether there was something to decode, which then is done."""
    calls = call if isinstance(call, list) else [call]
    decoded = [_decode_one(item) for item in calls]
    return any(decoded)


def _decode_one(call: Any) -> bool:
    body = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(body, dict):
        return False
    key = "arguments" if body.get("arguments") is not None else "parameters"
    once = _json(body.get(key))
    if isinstance(once, str) and isinstance(_json(once), dict | list):
        body[key] = once
        return True
    return False


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def convert(value: dict[str, Any], columns: Columns, place: Place) -> dict[str, Any]:
    """The row in OpenAI's `messages` form; one that has it stays as it is.

    Raises:
        DataError: the row has an error, or is plain text or tokens.
    """
    conversation = to_conversation(value, place, columns)
    plain = detect(value) == "messages" and not columns and apart_key(value, columns) is None
    if plain and not any(
        found.code == "azure-schema" for found in azure_problems(value, conversation, place)
    ):
        return value
    return to_messages(conversation)


ON_TURNS: dict[str, Callable[[dict[str, Any], Columns], None]] = {
    "rename-role": rename_role,
    "move-system": move_system,
    "merge-turns": merge_turns,
    "trim-end": trim_end,
    "to-text": to_text,
    "decode-arguments": decode_arguments,
}
"""Repairs that change a row's object in place."""
