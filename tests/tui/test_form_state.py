"""The form without its screen: text to values and back, problems at their fields, undo."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.recipe import dump, field, fields, parse
from tui.train_form import MAIN, FormState, expectation, from_text, source_notes, to_text


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rank", "16", 16),
        ("max_steps", "100 000", 100_000),
        ("learning_rate", "2e-4", 2e-4),
        ("gradient_checkpointing", "yes", True),
        ("gradient_checkpointing", "false", False),
        ("precision", "bf16", "bf16"),
        ("target_modules", "all-linear", "all-linear"),
        ("target_modules", "q_proj | v_proj", ["q_proj", "v_proj"]),
        ("sample_prompts", "Hello, you? | Bye", ["Hello, you?", "Bye"]),
        ("data", "a.jsonl, b.jsonl", ["a.jsonl", "b.jsonl"]),
        ("data", "hub:owner/name/train/rows.jsonl", [{"hub": "owner/name", "file": "train/rows.jsonl"}]),
        ("rank", "", None),
        ("rank", "many", "many"),
    ],
)
def test_text_becomes_a_value(name: str, text: str, value: object) -> None:
    assert from_text(field(name), text) == value


@pytest.mark.parametrize("name", [item.name for item in fields()])
def test_a_default_survives_the_way_through_text(name: str) -> None:
    row = field(name)
    if row.local is not None and not str(row.local).startswith("<"):
        assert from_text(row, to_text(row, row.local)) == row.local


def test_a_path_with_a_comma_is_one_path_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a, b.jsonl"
    path.touch()
    assert from_text(field("data"), str(path)) == [str(path)]


def test_sources_keep_weights_and_caps_while_their_path_stays() -> None:
    form = FormState()
    form.set("data", [{"path": "a.jsonl", "weight": 2.0}, "b.jsonl"])
    form.set_text(field("data"), "a.jsonl, c.jsonl")
    assert form.values["data"] == [{"path": "a.jsonl", "weight": 2.0}, "c.jsonl"]
    assert source_notes(form.values["data"]) == "a.jsonl: weight 2.0"


def test_a_recipe_survives_the_form() -> None:
    recipe = parse("model: phi-4\ndata:\n- path: a.jsonl\n  weight: 2.0\nrank: 8\nprecision: bf16\n")
    form = FormState()
    form.load(recipe)
    assert dump(form.recipe()) == dump(recipe)


def test_problems_stand_at_their_fields_with_what_was_expected() -> None:
    form = FormState()
    form.set_text(field("rank"), "0")
    form.set_text(field("learning_rate"), "fast")
    form.set("model", "phi-4")
    problems = form.problems()
    assert set(problems) == {"rank", "learning_rate", "data"}
    assert expectation(field("rank"), problems["rank"]) == "expected a whole number from 1 to 1024"
    assert expectation(field("data"), problems["data"]) == "needed"


def test_two_fields_that_exclude_each_other_are_flagged_at_one_of_them() -> None:
    form = FormState()
    form.replace({"model": "phi-4", "data": ["a.jsonl"], "validation": "v.jsonl", "validation_fraction": 0.1})
    assert set(form.problems()) == {"validation_fraction"}


def test_undo_takes_back_one_change_at_a_time_and_an_unchanged_value_is_none() -> None:
    form = FormState()
    form.set("rank", 8)
    form.set("rank", 8)
    form.set("rank", 32)
    form.undo()
    assert form.values == {"rank": 8}
    form.undo()
    assert form.values == {}
    assert not form.can_undo


def test_main_fields_are_fields() -> None:
    assert set(MAIN) <= {item.name for item in fields()}
