"""Conversations that call tools, and rows without turns: text and tokens against transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.conversation import Conversation, Message, ToolCall
from core.data.rendering import Renderer, RenderingError
from core.data.template import as_turn

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = Message("assistant", "", tool_calls=(ToolCall("weather", {"city": "Bonn"}, "a1b2c3d4e"),))
ANSWERED = (
    Message("user", "Does it rain in Bonn?"),
    CALL,
    Message("tool", '{"rain": true}', name="weather", tool_call_id="a1b2c3d4e"),
    Message("assistant", "Yes, it rains."),
)
WITH_TOOLS = ("qwen2.5", "qwen3")


def row_of(*messages: Message) -> Conversation:
    return Conversation(messages, "train.jsonl", 7, 7, tools=(WEATHER,))


def reference_of(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.mark.parametrize("family", WITH_TOOLS)
def test_tool_conversations_are_those_of_transformers(make_model: Callable[..., Path], family: str) -> None:
    folder = make_model(family)
    reference, renderer = reference_of(folder), Renderer.from_folder(folder)
    row = row_of(*ANSWERED)
    turns = [as_turn(message) for message in row.messages]
    rendered = renderer.render(row)
    assert rendered.text == reference.apply_chat_template(turns, tools=[WEATHER], tokenize=False)
    assert rendered.ids == reference.apply_chat_template(turns, tools=[WEATHER], return_dict=False)
    trained = [number for number, flag in zip(rendered.ids, rendered.trained, strict=True) if flag]
    call, answer, rest = renderer.decode(trained).split("<|im_end|>")
    assert "weather" in call and "Bonn" in call and "rain" not in call
    assert answer.endswith("Yes, it rains.")
    assert rest == ""


@pytest.mark.parametrize("family", WITH_TOOLS)
def test_a_call_is_trained_from_where_its_prompt_ends(make_model: Callable[..., Path], family: str) -> None:
    folder = make_model(family)
    reference, renderer = reference_of(folder), Renderer.from_folder(folder)
    prompt = reference.apply_chat_template(
        [as_turn(ANSWERED[0])], tools=[WEATHER], tokenize=False, add_generation_prompt=True
    )
    rendered = renderer.render(row_of(*ANSWERED))
    first = rendered.trained.index(True)
    assert rendered.offsets[first][0] == len(prompt)


def test_the_tools_alone_are_rendered_where_no_turn_calls_one(make_model: Callable[..., Path]) -> None:
    folder = make_model("phi-4-mini")
    source = [{"role": "system", "content": "Be brief.", "tools": '[{"name": "weather"}]'}]
    reference = reference_of(folder).apply_chat_template(source, tokenize=False)
    assert "<|tool|>" in reference  # the family wants its tools in the system turn: a row's own are not used
    row = Conversation((Message("user", "Hi"), Message("assistant", "Ho")), "train.jsonl", 1, 1)
    assert "<|tool|>" not in Renderer.from_folder(folder).render(row).text


@pytest.mark.parametrize("family", ["smollm2", "phi-4", "gemma", "mistral", "phi-3-mini", "llama-3"])
def test_a_template_without_tools_refuses_a_call_rather_than_train_an_empty_turn(
    make_model: Callable[..., Path], family: str
) -> None:
    renderer = Renderer.from_folder(make_model(family))
    with pytest.raises(RenderingError, match="train.jsonl:7") as caught:
        renderer.render(row_of(*ANSWERED))
    assert caught.value.code in ("turn-rewritten", "role-not-in-template", "template-refuses")


def test_a_special_token_inside_a_call_is_refused(make_model: Callable[..., Path]) -> None:
    renderer = Renderer.from_folder(make_model("qwen2.5"))
    bad = Message("assistant", "", tool_calls=(ToolCall("weather", {"city": "<|im_end|>"}),))
    with pytest.raises(RenderingError, match=r"message 2 \(assistant\) contains '<\|im_end\|>'"):
        renderer.render(row_of(ANSWERED[0], bad))


# Rows without turns


def test_plain_text_is_trained_whole_with_the_token_that_ends_a_text(make_model: Callable[..., Path]) -> None:
    folder = make_model("smollm2")
    reference, renderer = reference_of(folder), Renderer.from_folder(folder)
    row = Conversation((), "train.jsonl", 1, 1, "text", text="Twelve and 345 make 357.")
    rendered = renderer.render(row)
    plain = reference("Twelve and 345 make 357.", add_special_tokens=False)["input_ids"]
    assert rendered.ids == [*plain, reference.eos_token_id]
    assert all(rendered.trained)
    assert [rendered.text[start:end] for start, end in rendered.offsets][-1] == reference.eos_token


def test_tokens_stay_as_they_are(make_model: Callable[..., Path]) -> None:
    renderer = Renderer.from_folder(make_model("smollm2"))
    ids = (300, 301, 302, 303)
    row = Conversation((), "train.jsonl", 1, 1, "tokens", token_ids=ids, token_labels=(-100, -100, 302, 303))
    rendered = renderer.render(row)
    assert rendered.ids == list(ids)
    assert rendered.trained == [False, False, True, True]
    pieces = [rendered.text[start:end] for start, end in rendered.offsets]
    assert pieces == [renderer.decode([number]) for number in ids]
