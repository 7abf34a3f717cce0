"""The shell: modes, header, footer, help, palette, themes, errors, dialogs, and what is imported when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from textual import work
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from core.errors import FinetuiError
from tests.tui.driving import press, rows_file, screen_text, shown, until
from tests.tui.made_runs import some_runs
from tui.app import MODE_NAMES, FinetuiApp
from tui.screens.help import HelpScreen
from tui.themes import THEMES
from tui.widgets.dialogs import Ask, Choose, Confirm, ErrorDialog

SIZES = [(80, 24), (160, 45)]


@pytest.mark.parametrize("size", SIZES)
async def test_every_mode_opens_by_its_number_and_says_so_without_colour(size: tuple[int, int]) -> None:
    app = FinetuiApp(mode="data")
    async with app.run_test(size=size) as pilot:
        for number, mode in enumerate(MODE_NAMES, 1):
            await press(pilot, str(number))
            await shown(pilot, f"[{number} {mode.title()}]")
            lines = screen_text(pilot).splitlines()
            assert lines[0].startswith(" finetui")
            await until(pilot, lambda: "^P Commands" in screen_text(pilot).splitlines()[-1])


async def test_help_lists_every_key_of_the_screen() -> None:
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(120, 60)) as pilot:
        await press(pilot, "question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        text = screen_text(pilot)
        assert "Go to the next row with a problem" in text
        assert "move by one" in text
        await press(pilot, "escape")
        assert not isinstance(app.screen, HelpScreen)


async def test_the_palette_finds_an_action_shows_its_key_and_runs_it() -> None:
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(100, 40)) as pilot:
        await press(pilot, "ctrl+p")
        await shown(pilot, "Open  (o)")
        assert "Next problem" not in screen_text(pilot)  # no file: it can't apply
        assert app.screen.query_one(Input).cursor_blink is False
        await press(pilot, *["c o l o u r s"])
        await shown(pilot, "Theme  (T)")
        await press(pilot, "enter")
        await until(pilot, lambda: app.theme == THEMES[1].name)


async def test_themes_go_round_and_stay_ours_under_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(80, 24)) as pilot:
        for theme in (*THEMES[1:], THEMES[0]):
            await press(pilot, "T")
            assert app.theme == theme.name
            assert not theme.ansi
            colours = {
                (segment.style.color, segment.style.bgcolor)
                for strip in app.screen._compositor.render_strips()
                for segment in strip
                if segment.text.strip() and segment.style is not None
            }
            assert all(ink != paper for ink, paper in colours)


async def test_q_quits_at_once() -> None:
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "q")
        await until(pilot, lambda: not app.is_running or app._exit)


async def test_nothing_blinks_and_nothing_moves_by_itself() -> None:
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.animation_level == "none"
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        assert app.screen.query_one(Input).cursor_blink is False


class Failing(FinetuiApp):
    """Its workers fail, one with a user's error and one with a mistake."""

    @work
    async def fail_for_user(self) -> None:
        raise FinetuiError("rows.jsonl is gone.", "It was [bold]moved[/foo].", "Press o.")

    @work(thread=True)
    def fail_by_mistake(self) -> None:
        raise ZeroDivisionError("oh \x1b[31m")


async def test_an_error_in_a_worker_is_a_dialog_in_three_parts_and_the_app_lives_on() -> None:
    app = Failing(mode="data")
    async with app.run_test(size=(80, 24)) as pilot:
        app.fail_for_user()
        await shown(pilot, "rows.jsonl is gone.")
        assert "Cause: It was [bold]moved[/foo]." in screen_text(pilot)
        assert "Next: Press o." in screen_text(pilot)
        app.fail_for_user()
        await pilot.pause()
        await press(pilot, "escape")
        assert not isinstance(app.screen, ErrorDialog)
        await press(pilot, "1")
        assert app.is_running


async def test_a_mistake_is_said_and_its_traceback_kept(home: Any) -> None:
    app = Failing(mode="data")
    async with app.run_test(size=(100, 30)) as pilot:
        app.fail_by_mistake()
        await shown(pilot, "Unexpected: ZeroDivisionError: oh ␛[31m")
        log = home / "data" / "logs" / "app.log"
        assert "ZeroDivisionError" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600


class Asking(FinetuiApp):
    """Keeps what a dialog answers."""

    answer: Any = "nothing yet"

    @work
    async def ask(self, dialog: Any) -> None:
        self.answer = await self.push_screen_wait(dialog)


async def answered(pilot: Pilot[Any], app: Asking, dialog: Any, keys: str) -> Any:
    app.answer = "nothing yet"
    app.ask(dialog)
    await until(pilot, lambda: app.screen is dialog and dialog.focused is not None)
    await press(pilot, keys)
    await until(pilot, lambda: app.answer != "nothing yet")
    return app.answer


async def test_dialogs_answer_by_plain_keys_and_the_safe_answer_has_the_focus() -> None:
    app = Asking(mode="data")
    async with app.run_test(size=(80, 24)) as pilot:

        def question() -> Confirm:
            return Confirm("Delete [/run]?", "Its checkpoints.", "Delete")

        assert await answered(pilot, app, question(), "enter") is False
        assert await answered(pilot, app, question(), "y") is True
        assert await answered(pilot, app, question(), "n") is False
        assert await answered(pilot, app, question(), "right enter") is True
        assert await answered(pilot, app, question(), "escape") is False
        assert await answered(pilot, app, Ask("Name", "old"), "1 enter") == "1"
        assert await answered(pilot, app, Ask("Name", "old"), "end 1 enter") == "old1"
        assert await answered(pilot, app, Ask("Name", "old"), "escape") is None
        options = [("a", "A", "first"), ("b", "B [/x]", "second")]
        assert await answered(pilot, app, Choose("Which", options), "j enter") == "b"
        assert await answered(pilot, app, Choose("Which", options, "b"), "k enter") == "a"
        assert await answered(pilot, app, Choose("Which", options), "escape") is None


HEAVY = ("torch", "transformers", "peft", "accelerate", "azure", "openai", "pyarrow")
LATER = ("pydantic", "typer", "numpy", "tokenizers", "jinja2", "huggingface_hub", "yaml")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_app_is_imported_without_anything_slow() -> None:
    code = f"import sys, tui.app; print([name for name in {HEAVY + LATER} if name in sys.modules])"
    assert python(code) == "[]"


def test_the_first_paint_needs_nothing_slow() -> None:
    code = f"""
import asyncio, sys
from tui.app import FinetuiApp
seen = []
class App(FinetuiApp):
    def _display(self, screen, renderable):
        if not seen and self.screen.is_mounted:
            seen.append([name for name in {HEAVY + LATER} if name in sys.modules])
        super()._display(screen, renderable)
async def main():
    async with App(mode="data").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
asyncio.run(main())
print(seen[0])
"""
    assert python(code) == "[]"


def test_no_screen_imports_what_belongs_in_workers() -> None:
    code = f"""
import asyncio, sys
from tui.app import FinetuiApp
async def main():
    app = FinetuiApp(mode="data")
    async with app.run_test(size=(120, 40)) as pilot:
        for key in "12345":
            await pilot.press(key)
            await pilot.pause(0.3)
        await pilot.press("2", "question_mark", "escape", "ctrl+p", "escape")
        await app.workers.wait_for_complete([w for w in app.workers if w.group in ("load", "plan", "show")])
asyncio.run(main())
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert python(code) == "[]"


async def burst(pilot: Pilot[Any], text: str) -> None:
    """Keys that arrive all at once, as a slow connection sends them."""
    names = {"/": "slash", ":": "colon", "\n": "enter", ".": "full_stop"}
    for character in text:
        pilot.app.post_message(Key(names.get(character, character), character))
    await pilot.pause()


@pytest.mark.parametrize("attempt", range(5))
async def test_a_burst_of_keys_types_into_the_field_that_its_first_key_opens(
    tmp_path: Path, attempt: int
) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "rows.jsonl"))
    async with app.run_test(size=(100, 30)) as pilot:
        screen: Any = app.screen
        await until(pilot, lambda: screen._records.count == 30)
        await burst(pilot, ":12\n")
        await until(pilot, lambda: screen.row == 11)
        await burst(pilot, "/5 2\n")
        await until(pilot, lambda: screen.order.filtered)
        assert screen._filter.value == "5 2"
        assert app.current_mode == "data"
        await burst(pilot, "4")
        await until(pilot, lambda: app.current_mode == "runs")
        await burst(pilot, "/x4")
        await until(pilot, lambda: app.screen.filter_field.value == "x4")
        assert app.current_mode == "runs"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("a b c backspace Q", "abQ"),
        ("a b c d left left Z backspace Y", "abYcd"),
        ("a b ctrl+u H e", "He"),
        ("a backspace backspace b home X end Y", "XbY"),
    ],
)
async def test_a_burst_of_keys_in_a_field_acts_in_the_order_it_was_typed(keys: str, text: str) -> None:
    app = FinetuiApp(mode="runs")
    some_runs()
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "slash")
        await until(pilot, lambda: app.screen.filter_field.has_focus)
        for key in keys.split():
            app.post_message(Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: app.screen.filter_field.value == text)


async def test_what_is_typed_behind_enter_is_not_part_of_what_it_sends() -> None:
    app = FinetuiApp(mode="runs")
    some_runs()
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "slash")
        await until(pilot, lambda: app.screen.filter_field.has_focus)
        for key in ("d", "o", "n", "enter", "question_mark"):
            app.post_message(Key(key, {"question_mark": "?"}.get(key, key if len(key) == 1 else None)))
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        runs: Any = app.screen_stack[0]
        assert runs.filter_field.value == "don"
