"""What a task makes of a file's rows: which it takes, and how they become tokens and a mask. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice, tee

from core.data.conversation import Conversation
from core.data.problems import Place, Problem
from core.data.rendering import Rendered, Renderer, RenderingError
from core.training.rows import Example

IN_WORDS = {
    "text": "plain text",
    "text-label": "a text with a label",
    "preference": "a pair of answers",
    "kto": "a judged answer",
    "tokens": "a row of tokens",
}
"""Shapes of rows that are no plain conversations."""
TAKES = {
    "completion": ("text", "tokens", "prompt-completion"),
    "classification": ("text-label",),
    "dpo": ("preference",),
    "orpo": ("preference",),
}
WANTS = {
    "completion": "texts, or prompts with their completions",
    "classification": "texts with a label",
    "dpo": "pairs of a chosen and a rejected answer",
    "orpo": "pairs of a chosen and a rejected answer",
    "chat": "conversations",
}
FITTING = {"text": "completion", "tokens": "completion", "text-label": "classification", "preference": "dpo"}


def reads_conversations(task: str) -> bool:
    """Whether the task's rows go through the model's chat template."""
    return task not in ("completion", "classification")


def takes(task: str, row: Conversation) -> bool:
    """Whether the task can train on a row."""
    if task == "chat":
        return row.shape not in IN_WORDS
    if task == "completion" and row.shape == "prompt-completion":
        return [message.role for message in row.messages] == ["user", "assistant"]
    return row.shape in TAKES[task]


def wrong_task(task: str, row: Conversation) -> Problem | None:
    """Why a task can't train on a row that can be read, or None."""
    if takes(task, row):
        return None
    kind = IN_WORDS.get(row.shape, "a conversation")
    advice = "Write the rows as conversations: `finetui data fix FILE --to messages --out NEW.jsonl`" + (
        " keeps the chosen answer." if row.shape == "preference" else "."
    )
    if task != "chat":
        advice = "Leave `task` out." if row.shape not in IN_WORDS else ""
    if row.shape in FITTING and FITTING[row.shape] != task:
        advice = f"Set `task: {FITTING[row.shape]}`." + (f" Or: {advice}" if advice else "")
    return Place(row.path, row.line, row.row).problem(
        "wrong-task", f"this is {kind}; the task `{task}` trains on {WANTS[task]}.", advice
    )


def render(task: str, rows: Iterable[Conversation], renderer: Renderer) -> Iterator[Example | RenderingError]:
    """The rows as the task trains on them, in order; one that can't be rendered gives its error."""
    if task in ("dpo", "orpo"):
        yield from _pairs(rows, renderer)
    elif task == "completion":
        for row in rows:
            yield Example((renderer.render_completion(row) if row.messages else renderer.render(row),))
    else:
        rows, labelled = tee(rows)
        for row, item in zip(labelled, renderer.render_many(rows), strict=True):
            yield item if isinstance(item, RenderingError) else Example((item,), row.label)


def _pairs(rows: Iterable[Conversation], renderer: Renderer) -> Iterator[Example | RenderingError]:
    sides = chain.from_iterable((_side(row, False), _side(row, True)) for row in rows)
    rendered = renderer.render_many(sides)
    while pair := list(islice(rendered, 2)):
        wrong = next((item for item in pair if isinstance(item, RenderingError)), None)
        yield wrong or Example(tuple(item for item in pair if isinstance(item, Rendered)))


def _side(row: Conversation, rejected: bool) -> Conversation:
    """One answer of a pair as a conversation in which it alone is trained."""
    prompt = tuple(replace(message, weight=0) for message in row.messages[: row.prompt_turns])
    return replace(row, messages=(*prompt, *(row.rejected if rejected else row.messages[row.prompt_turns :])))
