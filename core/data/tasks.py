"""What a task trains on: the rows it takes and what it renders of one, for the screens and the trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.data.conversation import Conversation
from core.data.problems import Place, Problem

if TYPE_CHECKING:
    from core.data.rendering import Rendered, Renderer

TASKS = ("chat", "completion", "classification", "dpo", "orpo")
PAIRS = ("dpo", "orpo")
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
"""In words, for messages."""
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
    plain = "a prompt with its completion" if row.shape == "prompt-completion" else "a conversation"
    kind = IN_WORDS.get(row.shape, plain)
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


def not_shown(task: str, row: Conversation) -> Problem | None:
    """As `wrong_task`, for who looks at a row; then its next step is another task to look at it for."""
    wrong = wrong_task(task, row)
    if wrong is None or not takes(fitting(row), row):
        return wrong
    return replace(wrong, fix=f"Choose another task: `--task {fitting(row)}`.")


def fitting(row: Conversation) -> str:
    """The task that a row's shape is for."""
    return FITTING.get(row.shape, "chat")


def sides(task: str, row: Conversation) -> tuple[Conversation, ...]:
    """What is rendered of a row: itself, or a pair's chosen and rejected answer, each after the prompt."""
    return (_side(row, False), _side(row, True)) if task in PAIRS else (row,)


def render_row(task: str, row: Conversation, renderer: Renderer) -> tuple[Rendered, ...]:
    """A row as a task trains on it: a text each of its sides. What a label teaches is not among them.

    Args:
        task: one that takes the row.
        row: of a file.
        renderer: without a template where the task reads no conversations.

    Raises:
        RenderingError: the model's template refuses or rewrites a message.
    """
    if task == "completion" and row.messages:
        return (renderer.render_completion(row),)
    return tuple(renderer.render(side) for side in sides(task, row))


def _side(row: Conversation, rejected: bool) -> Conversation:
    """One answer of a pair as a conversation in which it alone is trained."""
    prompt = tuple(replace(message, weight=0) for message in row.messages[: row.prompt_turns])
    return replace(row, messages=(*prompt, *(row.rejected if rejected else row.messages[row.prompt_turns :])))
