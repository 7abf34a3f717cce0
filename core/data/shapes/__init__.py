"""From a row's JSON object, whatever shape it has, to one `Conversation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.data.conversation import Conversation
from core.data.problems import DataError, Place, Problem
from core.data.shapes import plain, preference
from core.data.shapes.doubts import doubts
from core.data.shapes.reading import Complaints
from core.data.shapes.writing import to_messages

__all__ = ["SHAPES", "convert", "detect", "read", "to_messages"]

_Reader = Callable[[dict[str, Any], Complaints, Mapping[str, str]], Conversation]
_READERS: dict[str, _Reader] = {
    "messages": plain.read_messages,
    "sharegpt": plain.read_sharegpt,
    "conversation-pairs": plain.read_pairs,
    "alpaca": plain.read_alpaca,
    "prompt-completion": plain.read_prompt,
    "query-response": plain.read_query,
    "question-answer": plain.read_question,
    "text": plain.read_text,
    "text-label": plain.read_labelled,
    "preference": preference.read_preference,
    "kto": preference.read_judged,
    "tokens": plain.read_tokens,
}
SHAPES = tuple(_READERS)
_WITHOUT_TURNS = frozenset({"text", "text-label", "tokens"})


def detect(value: dict[str, Any]) -> str | None:
    """The shape of a row, by its keys; None for one that is not known."""
    if "chosen" in value and "rejected" in value:
        return "preference"
    if "messages" in value:
        return "kto" if _judged(value) else "messages"
    turns = value.get("conversations", value.get("conversation"))
    if turns is not None:
        if _judged(value):
            return "kto"
        first = turns[0] if isinstance(turns, list) and turns else None
        return "conversation-pairs" if isinstance(first, list) or _is_pair(first) else "sharegpt"
    if "input_ids" in value or "token_ids" in value:
        return "tokens"
    if "prompt" in value and ("completion" in value or "response" in value):
        return "kto" if _judged(value) else "prompt-completion"
    if "instruction" in value and ("output" in value or "response" in value):
        return "kto" if _judged(value) else "alpaca"
    if "query" in value and "response" in value:
        return "query-response"
    if "question" in value and ("answer" in value or "answers" in value):
        return "question-answer"
    return _detect_text(value)


def _detect_text(value: dict[str, Any]) -> str | None:
    if plain.text_key(value) is None:
        return None
    if "ground_truth" in value:
        return "prompt-completion"
    return "text-label" if plain.label_key(value) is not None else "text" if "text" in value else None


def _judged(value: dict[str, Any]) -> bool:
    return any(isinstance(value.get(key), bool) for key in preference.JUDGEMENTS)


def _is_pair(item: Any) -> bool:
    return isinstance(item, dict) and "human" in item and "from" not in item


def read(
    value: dict[str, Any], place: Place, columns: Mapping[str, str] | None = None
) -> tuple[Conversation | None, list[Problem]]:
    """The conversation of a row and everything that is wrong with its structure.

    Args:
        value: the row's object.
        place: where it is.
        columns: part (one of core.columns.PARTS) -> its name in this file.

    Returns:
        The conversation, None where a problem is an error; the problems in order of the turns.
    """
    row = Complaints(place)
    conversation = _read(value, row, columns or {})
    if conversation is None or row.failed:
        return None, row.found
    if conversation.shape not in _WITHOUT_TURNS:
        doubts(conversation.messages, row)
    return (None if row.failed else conversation), row.found


def _read(value: dict[str, Any], row: Complaints, columns: Mapping[str, str]) -> Conversation | None:
    named = _renamed(value, columns) if columns else value
    shape = detect(named)
    if shape is None:
        keys = ", ".join(str(key)[:40] for key in list(value)[:6]) or "no keys"
        row.add(
            "unknown-shape",
            f"the row has the keys of no known shape (it has {keys}).",
            "Say which column is what, e.g. `columns: {prompt: question, completion: answer}` in the recipe, "
            'or write it as {"messages": [{"role": "user", "content": ...}, ...]}.',
        )
        return None
    return _READERS[shape](named, row, columns)


def _renamed(value: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row under the names we know; what the mapping doesn't name keeps its own."""
    taken = set(columns.values())
    kept = {key: item for key, item in value.items() if key not in taken and key not in columns}
    return {**kept, **{part: value[name] for part, name in columns.items() if name in value}}


def convert(value: dict[str, Any], place: Place, columns: Mapping[str, str] | None = None) -> Conversation:
    """The conversation of one row.

    Raises:
        DataError: the first error of the row.
    """
    conversation, problems = read(value, place, columns)
    if conversation is None:
        raise DataError(next(problem for problem in problems if problem.severity == "error"))
    return conversation
