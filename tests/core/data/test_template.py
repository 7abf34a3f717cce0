"""The template's environment, and templates that can't be trained on."""

from __future__ import annotations

from datetime import datetime

import pytest

from core.data.conversation import Message
from core.data.template import ChatTemplate, RenderingError

TURNS = [Message("user", "Hi"), Message("assistant", "Hello")]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def template(source: str) -> ChatTemplate:
    specials = ["<|im_start|>", "<|im_end|>", "</s>"]
    return ChatTemplate(source, {"eos_token": "</s>"}, specials, datetime(2024, 7, 26))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "Hi"}'),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        (
            "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
            "Hi",
        ),
        ("{% generation %}{{ messages[1].content }}{{ eos_token }}{% endgeneration %}", "Hello</s>"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        ("{{ dict(a=1) | tojson }}{{ tools is none }}{{ pad_token is defined }}", '{"a": 1}TrueFalse'),
        ("    {% if true %}\nx\n    {% endif %}\n", "x\n"),
    ],
)
def test_the_environment_is_that_of_transformers(source: str, text: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    assert template(source).text(TURNS, "a:1") == text
    if "strftime_now" not in source:
        conversation = [{"role": item.role, "content": item.content} for item in TURNS]
        reference, _ = render_jinja_template([conversation], chat_template=source, eos_token="</s>")
        assert reference == [text]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ dict.__globals__.os }}",
        "{{ 1 / 0 }}",
        "{{ messages[7].content.x }}",
        "{{ raise_exception('no') }}",
    ],
)
def test_what_a_template_may_not_do_or_fails_at_is_a_refusal(source: str) -> None:
    with pytest.raises(RenderingError, match=r"a:1: .*refuses") as caught:
        print(repr(template(source).text(TURNS, "a:1")))  # noqa: T201
    assert caught.value.cause


def test_broken_syntax_names_the_line() -> None:
    with pytest.raises(RenderingError, match="not valid jinja2") as caught:
        template("\n{% for %}")
    assert caught.value.cause.startswith("line 2: ")


def test_regions() -> None:
    layout = template(CHATML).lay_out(TURNS, "a:1")
    (region,) = layout.regions
    assert (region.message, layout.text[region.start : region.end]) == (1, "Hello<|im_end|>")
    assert template(CHATML).turn_ends() == ("<|im_end|>",)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
            "does not end the assistant's turn",
        ),
        (CHATML.replace("m.content }}", "m.content | upper }}"), "drops or rewrites message 1"),
        (CHATML.replace("{{ m.content }}", "{{ m.content }} {{ m.content }}"), "drops or rewrites message 1"),
        (CHATML.replace("{% for m in messages", "{% for m in messages[1:]"), "drops or rewrites message 1"),
    ],
)
def test_templates_that_cannot_be_trained_on(source: str, sentence: str) -> None:
    with pytest.raises(RenderingError, match=sentence):
        template(source).lay_out(TURNS, "a:1")


def test_two_answers_in_a_row_and_an_answer_first() -> None:
    turns = [Message("assistant", "One"), Message("assistant", "Two"), Message("user", "x")]
    layout = template(CHATML).lay_out(turns, "a:1")
    assert [layout.text[item.start : item.end] for item in layout.regions] == [
        "One<|im_end|>",
        "Two<|im_end|>",
    ]
