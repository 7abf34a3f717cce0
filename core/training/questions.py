"""What held-out rows ask of a model. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.data.conversation import Conversation, Message
from core.training.held_out import HeldOut
from core.training.inputs import OPENING_WORDS, Prompt


@dataclass(frozen=True)
class Question:
    """A prompt with the answer that its row has for it.

    Args:
        where: file and line of the row.
        prompt: with what is expected.
        scored: whether a reply can be held against it: not where a text merely goes on.
    """

    where: str
    prompt: Prompt
    scored: bool


def question(task: str, row: Conversation) -> Question | None:
    """What a row asks: its last answer that is learned, of a pair the chosen one. None where it asks nothing in words.

    Rows with tools ask nothing: a prompt is written without them, so its reply would be another's.
    """
    if task == "completion":
        return _completion(row)
    last = next(
        (
            number
            for number in range(len(row.messages) - 1, row.prompt_turns - 1, -1)
            if _answers(row.messages[number])
        ),
        None,
    )
    if not last or row.tools:
        return None
    before, answer = row.messages[:last], row.messages[last].content
    text = next((message.content for message in reversed(before) if message.role == "user"), "")
    return Question(row.where, Prompt(text, before, answer), task == "chat")


def _answers(message: Message) -> bool:
    return message.role == "assistant" and bool(message.weight) and bool(message.content.strip())


def _completion(row: Conversation) -> Question | None:
    if row.messages:
        prompt, completion = (message.content for message in row.messages)
        return Question(row.where, Prompt(prompt, (), completion), True) if prompt and completion else None
    words = (row.text or "").split()
    opening = " ".join(words[:OPENING_WORDS])
    expected = " ".join(words[OPENING_WORDS:])
    return Question(row.where, Prompt(opening, (), expected), False) if expected else None


def questions(held: HeldOut, scored: bool = False) -> Iterator[Question]:
    """What the rows ask, in order; only what can be scored if so."""
    found = (question(held.task, row) for row in held)
    return (item for item in found if item is not None and (item.scored or not scored))
