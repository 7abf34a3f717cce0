"""families.yaml against the templates it describes: each claim is shown by a render."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).parent
FAMILIES: list[dict[str, Any]] = yaml.safe_load((HERE / "families.yaml").read_text())
SYSTEM = {"role": "system", "content": "Be kind."}
USER, ANSWER = "What is it?", "It is this."
TURNS = [{"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}]

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family["name"])


def render(family: dict[str, Any], messages: list[dict[str, str]]) -> str:
    """The text of a whole conversation, in the environment that transformers uses."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    source = (HERE / family["file"]).read_text()
    tokens = {key: family[key] for key in ("bos_token", "eos_token", "pad_token") if family[key]}
    return environment.from_string(source).render(messages=messages, add_generation_prompt=False, **tokens)


@each_family
def test_an_assistant_turn_ends_as_said(family: dict[str, Any]) -> None:
    text = render(family, TURNS * 2)
    first, last = text.split(ANSWER)[1:]
    assert first.startswith(family["turn_end"] + family["after_turn"])
    assert last == family["turn_end"] + family["final"]


@each_family
def test_a_system_turn_is_used_or_refused(family: dict[str, Any]) -> None:
    if family["system_allowed"]:
        assert SYSTEM["content"] in render(family, [SYSTEM, *TURNS])
    else:
        with pytest.raises(TemplateError):
            render(family, [SYSTEM, *TURNS])


@each_family
def test_white_space_around_the_answer_is_kept_or_trimmed(family: dict[str, Any]) -> None:
    # Spaces, not newlines: Qwen3 drops the newlines before a last answer and keeps the spaces.
    text = render(family, [TURNS[0], {"role": "assistant", "content": f"  {ANSWER}  "}])
    assert (f"  {ANSWER}  " in text) is not family["trims_content"]


@each_family
def test_stripping_tokens_are_special_tokens(family: dict[str, Any]) -> None:
    special = set(family["special_tokens"])
    assert set(family["rstrip_tokens"]) | set(family["lstrip_tokens"]) <= special
    named = {family[key] for key in ("bos_token", "eos_token", "pad_token", "turn_end")} - {None}
    assert named <= special


def test_every_template_is_described_once() -> None:
    assert sorted(family["file"] for family in FAMILIES) == sorted(path.name for path in HERE.glob("*.jinja"))
    assert len({family["name"] for family in FAMILIES}) == len(FAMILIES)


def test_qwen3_drops_earlier_thinking_and_keeps_the_last() -> None:
    family = next(family for family in FAMILIES if family["name"] == "qwen3")
    thinking = [TURNS[0], {"role": "assistant", "content": f"<think>\nHm.\n</think>\n\n{ANSWER}"}]
    assert render(family, thinking * 2).count("Hm.") == 1
    assert render(family, TURNS * 2).count("<think>\n\n</think>\n\n") == 1
