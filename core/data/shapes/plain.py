"""Shapes of one example a row: turns, a question with its answer, text, text with a label, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.data.conversation import Conversation, Message
from core.data.shapes import chat
from core.data.shapes.reading import Complaints, text_of
from core.data.shapes.tools import tool_schemas

_TEXT_NAMES = ("text", "sentence", "review", "reviewtext", "review_text", "comment", "utterance")
_LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "intent", "topic")


def text_key(value: dict[str, Any]) -> str | None:
    """The key of a row's text, whatever its case."""
    return next((key for key in value if str(key).lower() in _TEXT_NAMES), None)


def label_key(value: dict[str, Any]) -> str | None:
    """The key of a row's label, whatever its case."""
    return next((key for key in value if str(key).lower() in _LABEL_NAMES), None)


def made(row: Complaints, shape: str, messages: tuple[Message, ...] = (), **more: Any) -> Conversation:
    """A conversation at the row's place."""
    place = row.place
    return Conversation(messages, place.path, place.line, place.row, shape, **more)


def system_turn(value: dict[str, Any], row: Complaints) -> tuple[Message, ...]:
    """The system message that stands apart from the turns, if there is one."""
    text = value.get("system", value.get("system_prompt"))
    return (Message("system", text_of(text, row, "system")),) if text else ()


def schemas(value: dict[str, Any], row: Complaints) -> tuple[Any, ...]:
    """The tools a row names."""
    return tool_schemas(value.get("tools") or value.get("functions"), row)


def read_messages(value: dict[str, Any], row: Complaints, columns: Mapping[str, str]) -> Conversation:
    """OpenAI's chat format."""
    place = row.place
    turns = chat.messages(value["messages"], row, columns)
    if turns and turns[0].role != "system":
        turns = (*system_turn(value, row), *turns)
    return Conversation(turns, place.path, place.line, place.row, "messages", schemas(value, row))


def read_sharegpt(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """ShareGPT: `conversations` of from and value; system and tools may stand apart."""
    turns = chat.sharegpt(value.get("conversations", value.get("conversation")), row)
    return made(row, "sharegpt", (*system_turn(value, row), *turns), tools=schemas(value, row))


def read_pairs(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """A list of pairs of question and answer."""
    turns = chat.pairs(value.get("conversation", value.get("conversations")), row)
    return made(row, "conversation-pairs", (*system_turn(value, row), *turns))


def read_alpaca(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """Alpaca: instruction, input, output; with history and system as LLaMA-Factory has them."""
    asked = text_of(value["instruction"], row, "instruction")
    more = value.get("input")
    if more:
        asked = f"{asked}\n{text_of(more, row, 'input')}"
    answer = text_of(value["output"] if "output" in value else value["response"], row, "output")
    return made(row, "alpaca", _with_history(value, row, asked, answer))


def read_query(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """Query, response and history, as ms-swift has them."""
    asked, answer = text_of(value["query"], row, "query"), text_of(value["response"], row, "response")
    return made(row, "query-response", _with_history(value, row, asked, answer))


def _with_history(value: dict[str, Any], row: Complaints, asked: str, answer: str) -> tuple[Message, ...]:
    history = value.get("history")
    before = chat.pairs(history, row) if history else ()
    turns = Message("user", asked), Message("assistant", answer)
    return (*system_turn(value, row), *before, *turns)


def read_prompt(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """Prompt and completion, each a text or a list of messages."""
    if "prompt" in value:
        prompt = value["prompt"]
        answer = value["completion"] if "completion" in value else value["response"]
    else:
        prompt, answer = value[text_key(value) or ""], value["ground_truth"]
    turns = (*side(prompt, "user", "prompt", row), *side(answer, "assistant", "completion", row))
    return made(row, "prompt-completion", (*system_turn(value, row), *turns), tools=schemas(value, row))


def side(value: Any, role: str, name: str, row: Complaints) -> tuple[Message, ...]:
    """One side of a pair: a text is one turn, a list of messages is as many."""
    if (
        isinstance(value, list)
        and value
        and isinstance(value[0], dict)
        and {"role", "from"} & value[0].keys()
    ):
        return chat.messages(value, row, {})
    if isinstance(value, dict) and {"role", "from"} & value.keys():
        return chat.messages([value], row, {})
    return (Message(role, text_of(value, row, name)),)


def read_question(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """Question and answer; a context comes before the question, of several answers the first is taken."""
    answer = value.get("answer", value.get("answers"))
    if isinstance(answer, dict):
        answer = answer.get("text")
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    asked = text_of(value["question"], row, "question")
    if isinstance(value.get("context"), str) and value["context"]:
        asked = f"{value['context']}\n\n{asked}"
    turns = Message("user", asked), Message("assistant", text_of(answer, row, "answer"))
    return made(row, "question-answer", (*system_turn(value, row), *turns))


def read_text(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """Plain text."""
    text = text_of(value["text"], row, "text")
    if not text.strip() and not row.failed:
        row.add("empty-answer", "the text is empty.", "Drop the row.")
    return made(row, "text", text=text)


def read_labelled(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """Text to classify and its class; a number is a class too."""
    text = text_of(value[text_key(value) or ""], row, "the text")
    label = value[label_key(value) or ""]
    if label is None or label == "":
        row.add("null-content", "the row has no label.", "Give it its class, or drop the row.")
    elif isinstance(label, list | dict):
        row.add("not-text", "the label is no single value.", "Write one class, or drop the row.")
    if not text.strip() and not row.failed:
        row.add("empty-question", "the text to classify is empty.", "Drop the row.")
    return made(row, "text-label", text=text, label=str(label))


def read_tokens(value: dict[str, Any], row: Complaints, _: Mapping[str, str]) -> Conversation:
    """Token ids, with the tokens to learn (-100 for none); without them all are learned."""
    ids: Any = value.get("input_ids", value.get("token_ids"))
    labels: Any = value.get("labels", value.get("token_labels", ids))
    if not _are_ids(ids, 0) or not ids:
        row.add("token-ids", "the token ids are no list of whole numbers from 0.", "Drop the row.")
        return made(row, "tokens")
    if not _are_ids(labels, -100) or len(labels) != len(ids):
        row.add("token-ids", "the labels don't match the token ids one by one.", "Drop the row.")
        return made(row, "tokens")
    return made(row, "tokens", token_ids=tuple(ids), token_labels=tuple(labels))


def _are_ids(value: Any, least: int) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= least for item in value)
