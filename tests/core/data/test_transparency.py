"""Which templates only write contents down, and that putting texts together is then the same as running them."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.conversation import Message
from core.data.sandbox import compile_template
from core.data.template import ChatTemplate
from core.data.transparency import is_transparent
from tests.core.data.conftest import FAMILIES, TEMPLATES

NOW = datetime(2026, 1, 1)
LOOP = "{% for m in messages %}BODY{% endfor %}"


def transparent(source: str) -> bool:
    return is_transparent(compile_template(source, NOW).environment, source)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<{{ m.role }}>{{ m['content'] | trim }}", True),
        ("{% set text = '<' + m['content'] + '>' %}{{ text ~ eos_token }}", True),
        ("{% if m.content %}{{ m.content }}{% else %}nothing{% endif %}", True),
        ("{% if loop.previtem and loop.previtem.role == 'user' %}{{ m.content }}{% endif %}", True),
        ("{{ m.content | upper }}", False),
        ("{{ m.content[:5] }}", False),
        ("{{ m.content.split('x')[0] }}", False),
        ("{{ m.get('content') }}", False),
        ("{% set give = m.get %}{{ give('content') | upper }}", False),
        ("{{ m | tojson }}", False),
        ("{{ messages[0] }}", False),
        ("{% for key in m %}{{ m[key] | upper }}{% endfor %}", False),
        ("{% if 'x' in m.content %}y{% endif %}", False),
        ("{% if m.content == 'x' %}y{% endif %}", False),
        ("{% if m.content | trim %}y{% endif %}", False),
        ("{% if (m.content ~ '') %}y{% endif %}", False),
        ("{% set ns = namespace(a='') %}{% set ns.a = m.content %}{{ ns.a | upper }}", False),
        ("{% macro f(x) %}{{ x | upper }}{% endmacro %}{{ f(m.content) }}", False),
        ("{% set text = '-' + m.content %}{{ text | trim }}", False),
        ("{{ loop.previtem.content | upper }}", False),
        ("{{ raise_exception(m.content) }}", False),
        ("{% if loop.changed(m.content) %}y{% endif %}", False),
        ("{% filter upper %}{{ m.content }}{% endfilter %}", False),
        ("{% set x %}{{ m.content }}{% endset %}{{ x | upper }}", False),
        ("{{ m.content * 2 }}", False),
        ("{{ 'a' if m.content is string else m.content }}", False),
    ],
)
def test_what_a_template_does_with_contents(body: str, expected: bool) -> None:
    assert transparent(LOOP.replace("BODY", body)) is expected


def test_the_families_templates() -> None:
    opaque = {
        name for name, family in FAMILIES.items() if not transparent((TEMPLATES / family["file"]).read_text())
    }
    assert opaque == {"qwen3"}


CONTENTS = st.text(st.sampled_from(" \n\tab<|é日]{%"), max_size=12)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "qwen3"])
@given(contents=st.lists(CONTENTS, min_size=1, max_size=6), system=st.none() | CONTENTS)
def test_texts_put_together_are_those_that_the_template_makes(
    name: str, contents: list[str], system: str | None
) -> None:
    family = FAMILIES[name]
    named = {key: family[key] for key in ("bos_token", "eos_token") if family[key]}
    source = (TEMPLATES / family["file"]).read_text()
    quick, slow = (ChatTemplate(source, named, family["special_tokens"], NOW) for _ in range(2))
    slow._transparent = False
    messages = [Message("system", system)] if system is not None and family["system_allowed"] else []
    messages += [Message(("user", "assistant")[n % 2], text) for n, text in enumerate(contents)]
    one, two = quick.lay_out(messages, "x"), slow.lay_out(messages, "x")
    assert one.text == two.text == slow.text(messages, "x")
    assert one.regions == two.regions
