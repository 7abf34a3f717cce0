"""The command shown for a recipe, run through the real parser, gives the recipe back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from typer.testing import CliRunner

from core.command import WITH_A_FILE, command_line, flag
from core.recipe import Recipe, build, fields
from tests.core.recipe_values import BASE, paths, recipe_contents
from tui.cli import build as build_cli
from tui.verbs import train


class Reported(Exception):
    """Carries the recipe out of the command."""


def parsed(line: str) -> Recipe:
    """What `finetui train --check` would look at."""
    given: list[Recipe] = []

    def report(wanted: Recipe, json: bool = False) -> bool:
        given.append(wanted)
        return True

    words = shlex.split(line)
    assert words[:2] == ["finetui", "train"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "report", report)
        result = CliRunner().invoke(build_cli(), [*words[1:], "--check"])
    assert result.exit_code == 0, (line, result.output, result.exception)
    return given[0]


def here(content: dict[str, Any]) -> Recipe:
    return build(content).absolute(Path.cwd())


@settings(max_examples=50)
@given(recipe_contents())
def test_the_command_of_a_recipe_is_the_recipe(content: dict[str, Any]) -> None:
    recipe = build(content)
    line = command_line(recipe.model_dump(exclude_none=True))
    assert "\n" not in line or "\\n" in repr(content)
    if line != WITH_A_FILE:
        assert parsed(line) == recipe.absolute(Path.cwd())


@settings(max_examples=50)
@given(some.lists(paths, min_size=1, max_size=3))
def test_files_of_any_name_come_back_in_their_order(files: list[str]) -> None:
    recipe = build({**BASE, "data": files})
    assert parsed(command_line(recipe.model_dump(exclude_none=True))) == recipe.absolute(Path.cwd())


@pytest.mark.parametrize("value", [1e-5, 2e-4, 0.1 + 0.2, 1 / 3, 5e-324, 1.0])
def test_numbers_lose_nothing(value: float) -> None:
    recipe = build({**BASE, "learning_rate": value})
    assert parsed(command_line(recipe.model_dump(exclude_none=True))).learning_rate == value


def test_usual_numbers_are_short() -> None:
    line = command_line(build({**BASE, "learning_rate": 2e-4, "epochs": 3}).model_dump(exclude_none=True))
    assert line == (
        "finetui train train.jsonl --model smollm2-135m-instruct --learning-rate 0.0002 --epochs 3"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"data": [{"path": "a.jsonl", "weight": 2.0}]},
        {"data": [{"path": "a.jsonl", "max_rows": 2}]},
        {"data": [{"hub": "a/b", "file": "c"}]},
        {"data": ["rows.yaml"]},
        {"sample_prompts": []},
    ],
    ids=str,
)
def test_what_has_no_flag_asks_for_a_file(change: dict[str, Any]) -> None:
    assert command_line(build({**BASE, **change}).model_dump(exclude_none=True)) == WITH_A_FILE


def test_words_that_a_shell_would_take_apart_are_quoted() -> None:
    prompts = ["What's up; rm -rf ~", "--rank", "$HOME\n`id`", "é ☃"]
    recipe = build({**BASE, "sample_prompts": prompts, "data": "my rows.jsonl"})
    line = command_line(recipe.model_dump(exclude_none=True))
    assert parsed(line).sample_prompts == prompts


def test_every_field_but_the_data_has_its_option() -> None:
    text = CliRunner().invoke(build_cli(), ["train", "--help"], env={"COLUMNS": "200"}).output
    for item in fields():
        assert (flag(item.name) in text) == (item.name != "data"), item.name


def test_options_change_a_recipe_file(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: phi-4\ndata: a.jsonl\nrank: 8\ngradient_checkpointing: true\n")
    changed = parsed(f"finetui train {shlex.quote(str(file))} --rank 4 --no-gradient-checkpointing")
    assert (changed.rank, changed.gradient_checkpointing, changed.model) == (4, False, "phi-4")
    assert changed.data[0].path == str(tmp_path / "a.jsonl")
