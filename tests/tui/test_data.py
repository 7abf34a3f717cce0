"""The Data screen by plain keys: open, page, problems, tokens, copy, write, hand over."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.data.index import LineIndex
from tests.tui.driving import press, rows_file, screen_text, shown, tiny_model, type_text, until
from tui.app import FinetuiApp
from tui.screens.data import DataScreen
from tui.screens.train import TrainScreen
from tui.widgets.dialogs import Ask, Choose, Confirm, ErrorDialog


def screen_of(app: FinetuiApp) -> DataScreen:
    screen = app.screen_stack[0]
    assert isinstance(screen, DataScreen)
    return screen


async def checked(pilot: Pilot[None], app: FinetuiApp) -> None:
    """The file is read and checked."""
    screen = screen_of(app)
    await until(pilot, lambda: screen.file is not None and screen.file.problems.done, "the check")
    await until(pilot, lambda: screen.stats is not None, "the figures")
    await pilot.pause()


async def test_an_empty_screen_says_which_key_fills_it_and_offers_the_sample() -> None:
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(80, 24)) as pilot:
        assert "Press o to open one." in screen_text(pilot)
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await press(pilot, "enter")
        await shown(pilot, "48 rows")
        assert "How long does a Tidelamp run on one fill?" in screen_text(pilot)


async def test_a_file_is_opened_by_its_typed_and_completed_path(tmp_path: Path) -> None:
    rows_file(tmp_path / "myrows.jsonl")
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, f"{tmp_path}/my")
        field: Any = app.focused
        await until(pilot, lambda: field._suggestion.endswith("myrows.jsonl"))
        await press(pilot, "tab enter")
        await checked(pilot, app)
        assert "30 rows" in screen_text(pilot)


async def test_a_missing_file_is_an_error_in_words(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=tmp_path / "none.jsonl")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "does not exist")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_cursor_keys_page_through_the_rows(tmp_path: Path, size: tuple[int, int]) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl", rows=300))
    async with app.run_test(size=size) as pilot:
        await checked(pilot, app)
        records = screen_of(app)._records
        view = records.rows_in_view
        for keys, row in (
            ("j down", 2), ("k up", 0), ("G", 299), ("g", 0), ("ctrl+d", view), ("pageup", 0), ("end", 299),
            ("home", 0),
        ):  # fmt: skip
            await press(pilot, keys)
            assert records.cursor == row, keys
            assert f"{row + 1} / 300" in screen_text(pilot)


async def test_text_of_rows_is_shown_not_obeyed(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r[x] [bold].jsonl"))
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        text = screen_text(pilot)
        assert "question 1 [/foo] [bold]x[/]" in text
        assert "question 12 [/foo] [bold]x[/] ␛[31mred␛[0m ␇" in text
        assert "answer 1 [link=x]y" in text
        assert "r[x] [bold].jsonl" in text
        assert "\x1b" not in text and "\x07" not in text


async def test_problems_are_counted_shown_and_gone_through(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        records = screen_of(app)._records
        assert "3 problems" in screen_text(pilot)
        await press(pilot, "n")
        assert records.cursor == 4
        assert "✗ error line 5" in screen_text(pilot)
        await press(pilot, "n")
        assert records.cursor == 8
        assert "! warning line 9" in screen_text(pilot) and "→ Add the answer" in screen_text(pilot)
        await press(pilot, "n n")
        assert records.cursor == 11
        await shown(pilot, "No row with a problem after this one")
        await press(pilot, "N N")
        assert records.cursor == 4


async def test_without_problems_n_is_not_offered(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl", rows=12, broken=False))
    async with app.run_test(size=(100, 30)) as pilot:
        await checked(pilot, app)
        assert "Next problem" not in screen_text(pilot).splitlines()[-1]
        assert "0 problems" in screen_text(pilot)


async def test_on_a_narrow_screen_the_conversation_lies_over_the_list(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl"))
    async with app.run_test(size=(80, 24)) as pilot:
        await checked(pilot, app)
        assert "answer 1" not in screen_text(pilot)
        await press(pilot, "enter")
        await shown(pilot, "answer 1")
        assert "trained on" in screen_text(pilot)
        assert "question 2" not in screen_text(pilot)
        await press(pilot, "escape")
        await shown(pilot, "question 2")
        await press(pilot, "j")
        assert screen_of(app)._records.cursor == 1


async def test_a_model_that_is_not_there_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "t")
        await shown(pilot, "finetui models fetch smollm2-135m-instruct")


async def test_tokens_are_those_of_the_data_worker_with_the_trained_ones_underlined(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "m")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "G enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(model))
        await press(pilot, "enter")
        await until(pilot, lambda: screen_of(app)._pane.model == str(model))
        await press(pilot, "t")
        await shown(pilot, "<|im_start|>assistant↵")
        plain = screen_of(app)._pane.plain
        assert "⟦bold and underlined⟧ trained" in plain
        assert underlined(app).count("<|im_end|>") == 1
        assert "answer 1 [link=x]y<|im_end|>" in underlined(app)
        assert "question" not in underlined(app)
        await press(pilot, "j")
        await shown(pilot, "answer 2 [link=x]y<|im_end|>■⟧")
        await press(pilot, "t")
        await shown(pilot, "trained on")


def underlined(app: FinetuiApp) -> str:
    """The underlined text of the row's pane below its legend."""
    pane = screen_of(app)._pane
    strips = [pane.render_line(y) for y in range(4, pane.size.height)]
    return "".join(
        segment.text
        for strip in strips
        for segment in strip
        if segment.style is not None and segment.style.underline
    )


async def test_y_copies_w_writes_and_replacing_asks_first(tmp_path: Path) -> None:
    path = rows_file(tmp_path / "r.jsonl")
    target = tmp_path / "out.json"
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "j y")
        assert json.loads(app.clipboard)["messages"][0]["content"].startswith("question 2")
        await shown(pilot, "set-clipboard on")
        for answer, expected in (("", "question 2"), ("n", "question 2"), ("y", "question 3")):
            await press(pilot, "w")
            await until(pilot, lambda: isinstance(app.screen, Ask))
            await type_text(pilot, str(target))
            await press(pilot, "enter")
            if answer:
                await until(pilot, lambda: isinstance(app.screen, Confirm))
                await press(pilot, answer)
            await until(pilot, lambda: isinstance(app.screen, DataScreen))
            await until(pilot, target.exists)
            await pilot.pause(0.05)
            assert expected in target.read_text()
            if answer != "y":
                screen_of(app)._records.go(2)


async def test_e_shows_the_row_in_the_pager_from_a_private_file_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, Path]] = []

    def run(command: list[str], check: bool) -> None:
        assert command[:2] == ["mypager", "-x"]
        file = Path(command[2])
        seen.append((file.read_text(), file.stat().st_mode & 0o777, file))

    monkeypatch.setenv("PAGER", "mypager -x")
    monkeypatch.setattr(subprocess, "run", run)
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl"))
    monkeypatch.setattr(app, "suspend", nullcontext)
    async with app.run_test(size=(80, 24)) as pilot:
        await checked(pilot, app)
        await press(pilot, "e")
        text, mode, file = seen[0]
        assert json.loads(text)["messages"][1]["content"].startswith("answer 1")
        assert mode == 0o600
        assert not file.exists()


async def test_f_hands_the_file_to_the_form(tmp_path: Path) -> None:
    path = rows_file(tmp_path / "r.jsonl")
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "f")
        await shown(pilot, "[2 Train]")
        train = app.screen
        assert isinstance(train, TrainScreen)
        await until(pilot, lambda: train.form is not None and train.form.values.get("data") == [str(path)])


async def test_an_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        await shown(pilot, "the file has no rows")


async def test_only_rows_in_view_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    raw: Callable[..., bytes] = LineIndex.raw

    def counting(self: LineIndex, number: int, *rest: Any) -> bytes:
        read.append(number)
        return raw(self, number, *rest)

    monkeypatch.setattr(LineIndex, "raw", counting)
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl", rows=20_000))
    async with app.run_test(size=(80, 24)) as pilot:
        await checked(pilot, app)
        await press(pilot, "G")
        await shown(pilot, "question 20000")
        assert len(set(read)) < 100
