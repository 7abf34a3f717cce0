"""From requests that were kept to training rows, and on to the data page and a run that goes on from the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.recipe import Recipe, build
from core.serving.request_log import Entry
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_deployments import entry, log_requests, make_deployment, served
from tests.tui.test_deployments import opened
from tui.app import FinetuiApp
from tui.screens import deployments_rows
from tui.screens.deployments import DeploymentsScreen
from tui.screens.deployments_rows import RowPicker
from tui.widgets.dialogs import ErrorDialog

ASKED = "How heavy is it [/foo]\x1b[31m?"


def chat(number: int, reply: str, **more: Any) -> Entry:
    said = [{"role": "system", "content": "be short"}, {"role": "user", "content": ASKED}]
    return entry(number, prompt=ASKED, completion=reply, messages=json.dumps(said), **more)


def kept(*found: Entry, **more: Any) -> Path:
    directory = make_deployment("support-prod", keep_texts=True, **more)
    log_requests(
        directory, found or (chat(1, "310 grams"), entry(2), chat(3, "too light"), chat(4, "x", status=499))
    )
    return directory


def rows_of(path: Path) -> list[list[str]]:
    """Of each row the contents of its messages."""
    found = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    return [[message["content"] for message in messages] for messages in found]


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_kept_chats_become_rows_as_they_are_and_corrected(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited: list[str] = []
    monkeypatch.setattr("tui.external.edit", lambda app, text: edited.append(text) or "320 grams")
    kept()
    path = tmp_path / "rows.jsonl"
    async with FinetuiApp().run_test(size=size) as pilot:
        await opened(pilot)
        await press(pilot, "o")
        await shown(pilot, "Training rows from support-prod: 2 kept chats")
        await shown(pilot, "→ too light")
        assert "How heavy is it [/foo]␛[31m?" in screen_text(pilot)
        await press(pilot, "enter")
        await shown(pilot, "Append training rows to which file?")
        await type_text(pilot, str(path))
        await press(pilot, "enter")
        await shown(pilot, "row 1 written")
        await press(pilot, "j e")
        await shown(pilot, "row 2 written")
        assert edited == ["310 grams"]
        assert screen_text(pilot).count("✓") == 2
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, DeploymentsScreen))
    assert rows_of(path) == [["be short", ASKED, "too light"], ["be short", ASKED, "320 grams"]]


async def test_from_the_rows_to_the_data_page_and_to_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    made = build({"model": "-", "data": "-"})

    def recipe(spec: str, path: Path) -> Recipe:
        seen.append((spec, path))
        return made

    monkeypatch.setattr(deployments_rows, "_recipe", recipe)
    monkeypatch.setattr(FinetuiApp, "open_data", lambda self, path: seen.append(path))
    monkeypatch.setattr(FinetuiApp, "edit_recipe", lambda self, recipe: seen.append(recipe))
    kept(models=(served("a", checkpoint=40), served("b", run="other-02"), served("base", kind="base")))
    path = tmp_path / "rows.jsonl"
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "o")
        await shown(pilot, "kept chats")
        await press(pilot, "t")
        await shown(pilot, "No row is written yet")
        await press(pilot, "f")
        await shown(pilot, "to which file?")
        await type_text(pilot, str(path))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RowPicker))
        await press(pilot, "enter")
        await until(pilot, path.exists)
        await shown(pilot, "row 1 written")
        await press(pilot, "d")
        await until(pilot, lambda: seen == [path])
        await press(pilot, "o")
        await shown(pilot, "rows go to")  # it is remembered
        await press(pilot, "t")
        await shown(pilot, "Go on from which model?")
        await press(pilot, "j enter")
        await until(pilot, lambda: len(seen) == 3)
    assert seen[1:] == [("other-02", path), made]


async def test_where_no_texts_are_kept_that_is_said() -> None:
    make_deployment("support-prod")
    async with FinetuiApp().run_test(size=(80, 24), notifications=True) as pilot:
        screen = await opened(pilot)
        await until(pilot, lambda: screen.chosen() is not None)
        await press(pilot, "o")
        await shown(pilot, "keeps no texts")
        assert pilot.app.screen is screen


async def test_before_the_first_kept_chat_that_is_said(tmp_path: Path) -> None:
    kept(entry(1))
    async with FinetuiApp().run_test(size=(80, 24), notifications=True) as pilot:
        await opened(pilot)
        await press(pilot, "o")
        await shown(pilot, "No chat was answered and kept yet")


async def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    kept()
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "o")
        await shown(pilot, "kept chats")
        await press(pilot, "enter")
        await shown(pilot, "to which file?")
        await type_text(pilot, str(path))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "Choose another file for the rows.")
    assert path.read_text() == "my notes\n"
