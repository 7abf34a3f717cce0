"""The Data screen shows rows as the task of the recipe trains on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tui.driving import press, screen_text, shown, tiny_model, until
from tests.tui.test_data import checked, screen_of
from tui.app import FinetuiApp
from tui.screens.train import TrainScreen
from tui.widgets.dialogs import Choose


def file_of(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def choose(pilot: Any, app: FinetuiApp, label: str) -> None:
    """Choose a task by keys."""
    await press(pilot, "a")
    await until(pilot, lambda: isinstance(app.screen, Choose))
    at = ["by its shape", "chat", "completion", "classification", "dpo", "orpo"].index(label)
    await press(pilot, "home" + " down" * at)
    await press(pilot, "enter")


async def test_prompt_and_completion_are_shown_as_texts_for_the_task_completion(tmp_path: Path) -> None:
    path = file_of(tmp_path / "r.jsonl", {"prompt": "one two ", "completion": "three"})
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 30)) as pilot:
        await checked(pilot, app)
        pane = screen_of(app)._pane
        pane.model = str(tiny_model(tmp_path / "model"))
        assert "assistant   trained on" in screen_text(pilot)
        await choose(pilot, app, "completion")
        await shown(pilot, "Row 1, for completion")
        assert "completion, as it is   trained on" in screen_text(pilot)
        assert "assistant" not in screen_text(pilot)
        await press(pilot, "t")
        await shown(pilot, "⟦three<|im_end|>■⟧")
        assert "<|im_start|>" not in screen_text(pilot)
        await choose(pilot, app, "chat")
        await shown(pilot, "<|im_start|>user")
        await choose(pilot, app, "dpo")
        await shown(pilot, "is a prompt with its completion; the task `dpo`")
        await shown(pilot, "Choose another task: a on this page.")
        await shown(pilot, "Rows, for dpo")
        await shown(pilot, "by each row's shape, not for dpo")
        await press(pilot, "t")
        await shown(pilot, "error line 1: this is a prompt with its completion; the task `dpo`")


async def test_both_answers_of_a_pair_and_the_label_of_a_text_are_shown(tmp_path: Path) -> None:
    path = file_of(
        tmp_path / "r.jsonl",
        {"prompt": "one", "chosen": "good", "rejected": "bad"},
        {"text": "two three", "label": "polite"},
    )
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 40)) as pilot:
        await checked(pilot, app)
        screen_of(app)._pane.model = str(tiny_model(tmp_path / "model"))
        assert "assistant   trained on: the rejected answer" in screen_text(pilot)
        await press(pilot, "t")
        await shown(pilot, "rejected: ")
        assert "⟦good<|im_end|>■⟧" in screen_text(pilot) and "⟦bad<|im_end|>■⟧" in screen_text(pilot)
        await press(pilot, "j")
        await shown(pilot, "learned after the last token: polite")


async def test_the_task_of_the_form_is_the_one_shown_and_the_one_shown_goes_to_the_form(
    tmp_path: Path,
) -> None:
    path = file_of(tmp_path / "r.jsonl", {"prompt": "one two ", "completion": "three"})
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 30)) as pilot:
        await checked(pilot, app)
        await choose(pilot, app, "completion")
        await press(pilot, "f")
        await shown(pilot, "[2 Train]")
        train = app.screen
        assert isinstance(train, TrainScreen)
        await until(pilot, lambda: train.form is not None and "data" in train.form.values)
        assert train.form is not None
        assert train.form.values["task"] == "completion"
        await press(pilot, "1")
        await shown(pilot, "Row 1, for completion")
        await press(pilot, "2")
        train.form.set("task", "chat")
        train.form_changed()
        await until(pilot, lambda: app.recipe_task == "chat")
        await press(pilot, "1")
        await shown(pilot, "Row 1, for chat")
        await press(pilot, "f")
        await until(pilot, lambda: train.form is not None and "task" not in train.form.values)
