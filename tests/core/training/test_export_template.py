"""Go templates give the text that the training template gives, or are not written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.data.conversation import Message
from core.data.sandbox import RenderingError
from core.data.template import ChatTemplate
from core.training.export_template import TemplateError, Turn, Turns, go_literal, learn
from tests.core.training.go_template import GoTemplate, collated, read_modelfile

TEMPLATES = Path(__file__).parents[2] / "templates"
FAMILIES: list[dict[str, Any]] = yaml.safe_load((TEMPLATES / "families.yaml").read_text())
AWKWARD = (
    "plain words",
    "two\n\nparagraphs",
    'say """hi""" {{ .Content }} {% raw %} }}',
    "zero \u200b width, \u00a0 no break, 🙂",
)
ORDERS = (
    ["user"],
    ["user", "assistant", "user"],
    ["system", "user"],
    ["system", "user", "assistant", "user"],
    ["system", "user", "assistant", "user", "assistant", "user"],
    ["user", "assistant", "system", "user"],
    ["user", "user", "assistant", "user"],
    ["system", "system", "user"],
)

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family["name"])


def template_of(family: dict[str, Any]) -> ChatTemplate:
    named = {key: family[key] for key in ("bos_token", "eos_token", "pad_token") if family[key]}
    source = (TEMPLATES / family["file"]).read_text()
    return ChatTemplate(source, named, family["special_tokens"], datetime(2025, 1, 1))


def learned(template: ChatTemplate) -> Turns:
    return learn(
        lambda messages: template.text(messages, "", generation_prompt=True), list(template.turn_ends())
    )


def made(source: str) -> ChatTemplate:
    specials = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    return ChatTemplate(source, {}, specials, datetime(2025, 1, 1))


@each_family
def test_the_go_template_gives_the_text_of_the_training_template(family: dict[str, Any]) -> None:
    template = template_of(family)
    go = GoTemplate(learned(template).as_go())
    compared = 0
    for order in ORDERS:
        for shift in range(len(AWKWARD)):
            talk = collated(
                [Message(role, AWKWARD[(number + shift) % 4]) for number, role in enumerate(order)]
            )
            try:
                wanted = template.text(talk, "", generation_prompt=True)
            except RenderingError:
                continue  # the template refuses this order of roles
            assert go.run(talk) == wanted
            compared += 1
    assert compared == (32 if family["system_allowed"] else 12)


@each_family
def test_it_survives_the_modelfile(family: dict[str, Any]) -> None:
    go = learned(template_of(family)).as_go()
    assert read_modelfile(f'FROM .\nTEMPLATE """{go}"""\n') == [("FROM", "."), ("TEMPLATE", go)]


@each_family
def test_what_a_go_template_can_t_do_is_said(family: dict[str, Any]) -> None:
    notes = " ".join(learned(template_of(family)).notes)
    assert ("no system turn" in notes) is not family["system_allowed"]
    assert ("white space" in notes) is family["trims_content"]
    assert ("thinking" in notes) is (family["name"] == "qwen3")


def test_a_system_message_is_left_out_whole_where_there_is_no_system_turn() -> None:
    gemma = next(family for family in FAMILIES if family["name"] == "gemma")
    template = template_of(gemma)
    question = Message("user", "why?")
    go = GoTemplate(learned(template).as_go())
    assert go.run([Message("system", "be kind"), question]) == template.text([question], "", True)


def test_an_empty_system_message_is_left_out_where_training_left_it_out() -> None:
    family = next(family for family in FAMILIES if family["name"] == "phi-3.5-mini")
    talk = [Message("system", ""), Message("user", "why?")]
    template = template_of(family)
    assert GoTemplate(learned(template).as_go()).run(talk) == template.text(talk, "", True)


SYSTEM_IN_USER = (
    "{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}{% set m = messages[1:] %}"
    "{% else %}{% set s = '' %}{% set m = messages %}{% endif %}"
    "{% for x in m %}<|{{ x.role }}|>{{ s if loop.first else '' }}{{ x.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LAST_IS_OTHER = (
    "{% for x in messages %}<|{{ x.role }}|>{{ 'now: ' if loop.last else '' }}{{ x.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
UPPER = (
    "{% for x in messages %}<|{{ x.role }}|>{{ x.content | upper if x.role == 'user' else x.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (SYSTEM_IN_USER, "no system turn of its own"),
        (LAST_IS_OTHER, "in a way of its own"),
        (UPPER, "does not write the contents of user"),
    ],
)
def test_a_template_that_does_more_is_refused_by_what_it_does(source: str, what: str) -> None:
    template = made(source)
    with pytest.raises(TemplateError) as refused:
        learn(lambda messages: template.text(messages, "", generation_prompt=True), ["<|end|>"])
    assert what in refused.value.what
    assert "--to merged" in refused.value.next_step


def test_a_system_turn_at_the_beginning_only() -> None:
    template = made(
        "{% for x in messages %}{% if x.role != 'system' or loop.first %}<|{{ x.role }}|>{{ x.content }}<|end|>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    turns = learned(template)
    assert turns.roles["system"].before is None
    assert any("at the beginning only" in note for note in turns.notes)
    go = GoTemplate(turns.as_go())
    for order in ORDERS[:6]:
        talk = [Message(role, f"words {number}") for number, role in enumerate(order)]
        assert go.run(talk) == template.text(talk, "", True)


def test_first_and_later_beginnings_that_share_no_end() -> None:
    turns = Turns({"user": Turn("A:", "B:", ";")}, ">")
    talk = [Message("user", "x"), Message("user", "y")]
    assert turns.text(talk) == GoTemplate(turns.as_go()).run(talk) == "A:x;B:y;>"


def test_literals_keep_every_character() -> None:
    text = 'a {{ .Role }} {x "quoted" """ \u00a0\u200b\U000e0001 \\ `b` \t\n end{'
    go = go_literal(text)
    assert '"""' not in go
    assert all(character.isprintable() or character in "\n\t" for character in go)
    assert GoTemplate(go).run([]) == text
