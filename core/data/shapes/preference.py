"""Pairs of a wanted and an unwanted answer, and answers that were judged one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.data.conversation import Conversation, Message
from core.data.shapes import plain
from core.data.shapes.plain import made, schemas, side, system_turn
from core.data.shapes.reading import Complaints

JUDGEMENTS = ("wanted", "kto_tag", "label")
"""Keys of a yes or no on an answer."""


def read_preference(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """A prompt with its chosen and its rejected answer: texts, single turns or whole conversations."""
    prompt = _prompt(value, row)
    chosen = side(value["chosen"], "assistant", "chosen", row)
    rejected = side(value["rejected"], "assistant", "rejected", row)
    if len(chosen) > 1 and not prompt:  # both sides are whole conversations: what they share is the prompt
        shared = _shared(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    elif prompt and chosen[: len(prompt)] == prompt:
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    if not row.failed:
        _compare(chosen, rejected, row)
    before = (*system_turn(value, row), *prompt)
    tools = schemas(value, row)
    turns = (*before, *chosen)
    return made(row, "preference", turns, rejected=rejected, prompt_turns=len(before), tools=tools)


def _prompt(value: dict[str, Any], row: Complaints) -> tuple[Message, ...]:
    for key in ("prompt", "messages", "conversations", "question", "instruction"):
        if value.get(key):
            return side(value[key], "user", key, row)
    return ()


def _shared(one: tuple[Message, ...], two: tuple[Message, ...]) -> int:
    """Turns that both begin with; each keeps at least its last."""
    most = min(len(one), len(two)) - 1
    return next((number for number in range(most) if one[number] != two[number]), most)


def _compare(chosen: tuple[Message, ...], rejected: tuple[Message, ...], row: Complaints) -> None:
    if chosen == rejected:
        row.add("same-answers", "the chosen and the rejected answer are the same.", "Drop the row.")
    if rejected and not rejected[-1].content.strip():
        row.add("empty-answer", "the rejected answer is empty.", "Write the answer or drop the row.")


def read_judged(value: dict[str, Any], row: Complaints, columns: Mapping[str, str]) -> Conversation:
    """A conversation whose answer was judged good or bad (KTO)."""
    if "messages" in value:
        conversation = plain.read_messages(value, row, columns)
    elif "prompt" in value:
        conversation = plain.read_prompt(value, row, columns)
    elif "instruction" in value:
        conversation = plain.read_alpaca(value, row, columns)
    else:
        conversation = plain.read_sharegpt(value, row, columns)
    judged = next(value[key] for key in JUDGEMENTS if isinstance(value.get(key), bool))
    return replace(conversation, shape="kto", wanted=judged)
