"""What is trained, for every template family, against transformers and against the templates' own prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.conversation import Conversation, Message
from core.data.rendering import Rendered, Renderer, RenderingError

Folder = Callable[..., Path]


def conversation(*contents: str, system: str | None = None, weights: tuple[int, ...] = ()) -> Conversation:
    """User and assistant turns in alternation; `weights` are those of the assistant turns."""
    messages = [] if system is None else [Message("system", system)]
    for number, content in enumerate(contents):
        role = "assistant" if number % 2 else "user"
        weight = weights[number // 2] if number % 2 and weights else 1
        messages.append(Message(role, content, weight))
    return Conversation(tuple(messages), "train.jsonl", 7)


def as_dicts(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


@pytest.fixture(scope="session")
def reference(model_folder: Path) -> Any:
    """transformers' tokenizer of the same folder."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(model_folder)


def reference_text(reference: Any, messages: tuple[Message, ...], prompt: bool = False) -> str:
    text = reference.apply_chat_template(as_dicts(messages), tokenize=False, add_generation_prompt=prompt)
    assert isinstance(text, str)
    return text


def expected_regions(reference: Any, row: Conversation, turn_end: str) -> list[tuple[int, int]]:
    """Where each trained turn lies, from transformers' renderings alone: after its prompt, up to its turn's end."""
    full = reference_text(reference, row.messages)
    regions = []
    for number, message in enumerate(row.messages):
        if message.role == "assistant" and message.weight:
            prompt = reference_text(reference, row.messages[:number], prompt=True)
            assert full.startswith(prompt)
            regions.append((len(prompt), full.index(turn_end, len(prompt)) + len(turn_end)))
    return regions


def trained_runs(rendered: Rendered) -> list[list[int]]:
    """Positions of trained tokens, run by run."""
    runs: list[list[int]] = []
    for position, trained in enumerate(rendered.trained):
        if trained and position and rendered.trained[position - 1]:
            runs[-1].append(position)
        elif trained:
            runs.append([position])
    return runs


def assert_mask(rendered: Rendered, regions: list[tuple[int, int]]) -> None:
    """Trained tokens cover the regions' characters but for white space that special tokens swallow, and no other."""
    covered = {
        place
        for (start, end), trained in zip(rendered.offsets, rendered.trained, strict=True)
        if trained
        for place in range(start, end)
    }
    wanted = {place for start, end in regions for place in range(start, end)}
    assert covered <= wanted
    assert "".join(rendered.text[place] for place in sorted(wanted - covered)).strip() == ""


CONVERSATIONS = {
    "plain": conversation("What is it?", "It is this.", "And that?", "That is that."),
    "one turn": conversation("Hi", "Hello, how are you?"),
    "code and unicode": conversation(
        "naïve 日本語?", "def add(a, b):\n    return a + b\n\n😀 done", "ok", "fine"
    ),
    "long": conversation(*(f"turn {number}" for number in range(12))),
}


@pytest.mark.parametrize("row", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_text_ids_and_mask_are_those_of_transformers(
    row: Conversation, family: dict[str, Any], renderer: Renderer, reference: Any
) -> None:
    rendered = renderer.render(row)
    assert rendered.text == reference_text(reference, row.messages)
    assert rendered.ids == reference.apply_chat_template(as_dicts(row.messages), return_dict=False)
    assert_mask(rendered, expected_regions(reference, row, family["turn_end"]))
    answers = [
        message.content + family["turn_end"] for message in row.messages if message.role == "assistant"
    ]
    if family["name"] == "qwen3":  # writes its empty thinking before the last answer
        answers[-1] = "<think>\n\n</think>\n\n" + answers[-1]
    # A prefix-space tokenizer decodes a text without its first space; nothing else may differ.
    runs = trained_runs(rendered)
    decoded = [renderer.decode([rendered.ids[place] for place in run]).lstrip(" ") for run in runs]
    assert decoded == answers


def test_the_end_token_of_each_turn_is_learned_and_nothing_after_it(
    family: dict[str, Any], renderer: Renderer, reference: Any
) -> None:
    rendered = renderer.render(CONVERSATIONS["plain"])
    end = reference.convert_tokens_to_ids(family["turn_end"])
    assert renderer.turn_end_ids == (end,)
    runs = trained_runs(rendered)
    assert [rendered.ids[run[-1]] for run in runs] == [end, end]
    after = rendered.text[rendered.offsets[runs[-1][-1]][1] :]
    assert after == family["final"]
    assert not any(rendered.trained[runs[-1][-1] + 1 :])


def test_system_turn_is_rendered_or_refused(
    family: dict[str, Any], renderer: Renderer, reference: Any
) -> None:
    row = conversation("What is it?", "It is this.", system="Be kind.")
    if family["system_allowed"]:
        rendered = renderer.render(row)
        assert rendered.text == reference_text(reference, row.messages)
        assert_mask(rendered, expected_regions(reference, row, family["turn_end"]))
    else:
        with pytest.raises(RenderingError, match=r"train.jsonl:7: .*no system turns") as caught:
            renderer.render(row)
        assert caught.value.code == "role-not-in-template"


def test_weight_0_is_read_and_not_trained(family: dict[str, Any], renderer: Renderer, reference: Any) -> None:
    row = conversation("a?", "first", "b?", "second", "c?", "third", weights=(0, 1, 0))
    rendered = renderer.render(row)
    assert rendered.ids == renderer.render(conversation("a?", "first", "b?", "second", "c?", "third")).ids
    (region,) = expected_regions(reference, row, family["turn_end"])
    assert rendered.text[slice(*region)] == "second" + family["turn_end"]
    assert_mask(rendered, [region])


texts = st.text(st.one_of(st.sampled_from(" \n\t.-aEé日😀]<|>[/"), st.characters(codec="utf-8")), max_size=24)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contents=st.lists(texts, min_size=2, max_size=6).filter(lambda items: len(items) % 2 == 0))
def test_any_content(contents: list[str], family: dict[str, Any], renderer: Renderer, reference: Any) -> None:
    row = conversation(*contents)
    rendered = renderer.render(row)
    assert rendered.text == reference_text(reference, row.messages)
    assert_mask(rendered, expected_regions(reference, row, family["turn_end"]))
    whole = reference.apply_chat_template(as_dicts(row.messages), return_dict=False)
    assert rendered.ids == whole or renderer.decode(rendered.ids) == renderer.decode(whole)
    runs = trained_runs(rendered)
    assert [rendered.ids[run[-1]] for run in runs] == list(renderer.turn_end_ids) * (len(contents) // 2)
    # What the model is given before its first answer is how the whole begins: it learns to go on from there.
    _, prompt = renderer.render_prompt(row.messages[:1])
    assert rendered.ids[: runs[0][0]] == prompt


def test_prompts_are_prefixes_at_every_turn(renderer: Renderer) -> None:
    row = CONVERSATIONS["long"]
    rendered = renderer.render(row)
    for run, number in zip(trained_runs(rendered), range(1, 12, 2), strict=True):
        assert renderer.render_prompt(row.messages[:number])[1] == rendered.ids[: run[0]]


def test_an_answer_that_starts_with_a_newline_is_tokenised_apart(make_model: Folder) -> None:
    renderer = Renderer.from_folder(make_model("qwen2.5"))
    row = conversation("Hi", "\nHello")
    rendered = renderer.render(row)
    _, prompt = renderer.render_prompt(row.messages[:1])
    trained = [number for number, flag in zip(rendered.ids, rendered.trained, strict=True) if flag]
    assert (
        rendered.ids[: len(prompt)] == prompt
    )  # whole, "assistant\n\nHello" has one token for both newlines
    assert renderer.decode(trained) == "\nHello<|im_end|>"
    assert [rendered.text[start:end] for start, end in rendered.offsets][len(prompt)] == "\n"


def test_special_tokens_in_content_are_refused(family: dict[str, Any], renderer: Renderer) -> None:
    row = conversation("Hi", f"this ends {family['turn_end']} early")
    with pytest.raises(RenderingError) as caught:
        renderer.render(row)
    assert caught.value.what == f"train.jsonl:7: message 2 (assistant) contains '{family['turn_end']}'."
    with pytest.raises(RenderingError, match="message 1"):
        renderer.render_prompt([Message("user", family["turn_end"])])


def test_many_equals_one_by_one_and_errors_keep_their_place(
    renderer: Renderer, family: dict[str, Any]
) -> None:
    good = [conversation(f"question {number}", "answer " * (number % 7)) for number in range(600)]
    bad = conversation("Hi", family["turn_end"])
    answers = list(renderer.render_many([*good[:300], bad, *good[300:]]))
    assert isinstance(answers.pop(300), RenderingError)
    assert answers == [renderer.render(row) for row in good]


def test_cut_keeps_the_head(renderer: Renderer) -> None:
    rendered = renderer.render(CONVERSATIONS["plain"])
    half = rendered.cut(len(rendered.ids) // 2)
    assert (half.ids, half.trained) == (rendered.ids[: len(half.ids)], rendered.trained[: len(half.ids)])
    assert rendered.text.startswith(half.text)
    assert half.text != rendered.text
    assert rendered.cut(len(rendered.ids)) is rendered
    assert rendered.cut(2).trained_tokens == 0


def test_what_the_template_drops_is_not_trained_silently(make_model: Folder) -> None:
    renderer = Renderer.from_folder(make_model("qwen3"))
    thinking = "<think>\nHm.\n</think>\n\nIt is this."
    last = renderer.render(conversation("What?", thinking))
    trained = [number for number, flag in zip(last.ids, last.trained, strict=True) if flag]
    assert renderer.decode(trained) == thinking + "<|im_end|>"
    with pytest.raises(RenderingError, match=r"train.jsonl:7: .*rewrites message 2 \(assistant\)"):
        renderer.render(conversation("What?", thinking, "And?", "That."))


def test_empty_system_turn(make_model: Folder) -> None:
    renderer = Renderer.from_folder(make_model("phi-3.5-mini"))
    assert renderer.render(conversation("Hi", "Hello", system="")).text.startswith("<|user|>")


def test_stored_truncation_padding_and_postprocessing_do_not_apply(make_model: Folder) -> None:
    folder = make_model("smollm2")
    plain = Renderer.from_folder(folder).render(CONVERSATIONS["long"])
    path = folder / "tokenizer.json"
    stored = json.loads(path.read_text())
    stored["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    stored["padding"] = {
        "strategy": {"Fixed": 512}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }  # fmt: skip
    path.write_text(json.dumps(stored))
    assert Renderer.from_folder(folder).render(CONVERSATIONS["long"]) == plain


def test_template_comes_from_the_file_the_config_or_the_caller(make_model: Folder) -> None:
    source = (Path(__file__).parents[2] / "templates" / "smollm2.jinja").read_text()
    row = CONVERSATIONS["plain"]
    wanted = Renderer.from_folder(make_model("smollm2")).render(row)
    bare = make_model("smollm2", None, folder="bare")
    with pytest.raises(RenderingError, match="no chat template") as caught:
        Renderer.from_folder(bare)
    assert "chat_template:" in caught.value.next_step
    assert Renderer.from_folder(bare, source).render(row) == wanted
    config = bare / "tokenizer_config.json"
    kept = json.loads(config.read_text())
    for stored in (source, [{"name": "tools", "template": "x"}, {"name": "default", "template": source}]):
        config.write_text(json.dumps({**kept, "chat_template": stored}))
        assert Renderer.from_folder(bare).render(row) == wanted


def test_a_folder_without_a_tokenizer_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RenderingError, match=r"no tokenizer.json"):
        Renderer.from_folder(tmp_path)


@pytest.mark.slow
def test_the_embedded_model_renders_as_transformers_does(embedded_model: Path) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(embedded_model)
    renderer = Renderer.from_folder(embedded_model)
    for row in CONVERSATIONS.values():
        rendered = renderer.render(row)
        assert rendered.text == reference_text(reference, row.messages)
        assert rendered.ids == reference.apply_chat_template(as_dicts(row.messages), return_dict=False)
        assert_mask(rendered, expected_regions(reference, row, "<|im_end|>"))
