"""The list of runs: states, filter, trash, and what each key does."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from core import events as e
from core.errors import FinetuiError
from core.runs import control, supervisor
from core.runs.directory import RunDirectory
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_runs import T0, make_run, running, some_runs, step, story, write
from tui.app import FinetuiApp
from tui.screens import runs
from tui.screens.runs import RunsScreen
from tui.widgets.dialogs import Ask, Confirm, ErrorDialog
from tui.widgets.runtable import RunTable


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed time of day: an hour after the newest run was made."""
    monkeypatch.setattr(runs, "now", lambda: T0 + 3600)


@pytest.fixture
def live() -> Any:
    """A run at step 25 of 40 whose worker seems to live."""
    run = make_run("support-qwen3-04", created=T0 + 1000)
    lock = running(run)
    write(run, story(40, 25))
    yield run
    lock.release()


def screen_of(pilot: Pilot[Any]) -> RunsScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RunsScreen)
    return screen


def names(pilot: Pilot[Any]) -> list[str]:
    return [row.name for row in screen_of(pilot).query_one(RunTable).runs]


async def go_to(pilot: Pilot[Any], name: str) -> None:
    """Move the cursor to a run by keys."""
    await until(pilot, lambda: name in names(pilot))
    await press(pilot, "g " + "j " * names(pilot).index(name))
    await until(pilot, lambda: (row := screen_of(pilot).chosen()) is not None and row.name == name)


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45)])
async def test_every_state_is_a_symbol_and_a_word(live: RunDirectory, size: tuple[int, int]) -> None:
    some_runs()
    async with FinetuiApp().run_test(size=size) as pilot:
        for words in ("● running", "✓ done", "✗ failed", "■ stopped", "‖ paused", "? lost"):
            await shown(pilot, words)
        text = screen_text(pilot)
        assert "25 / 40" in text and "0.9275" in text and "59 min ago" in text and "Runs  6" in text
        assert ("phi-4-mini" in text) == (size[0] >= 120)
        assert ("here cpu" in text) == (size[0] >= 100)


async def test_no_runs_says_what_this_is_and_which_key_fills_it() -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await shown(pilot, "No runs yet.")
        await shown(pilot, "n sets up a new run.")
        await press(pilot, "x e s p r c y enter u")
        await press(pilot, "n")
        await until(pilot, lambda: pilot.app.current_mode == "train")


async def test_details_of_a_failed_run_are_the_error_in_three_parts() -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "failed-phi")
        await shown(pilot, "CUDA out of memory at step 31.")
        await shown(pilot, "cause   One batch of 4 096 tokens")
        await shown(pilot, "next    Set batch_size: 4, then resume.")
        await go_to(pilot, "lost-one")
        await shown(pilot, "MemoryError")


async def test_the_filter_takes_words_of_name_state_and_model() -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 5)
        for words, expected in (
            ("phi failed", ["failed-phi"]),
            ("smollm2 PAUSED", ["paused-one"]),
            ("done", ["done-one"]),
            ("nothing has this", []),
        ):
            await press(pilot, "slash")
            await type_text(pilot, words)
            await until(pilot, lambda expected=expected: names(pilot) == expected)
            await press(pilot, "enter")
        await shown(pilot, "No run contains all of these words.")
        await press(pilot, "escape")
        await until(pilot, lambda: len(names(pilot)) == 5)


async def test_the_cursor_stays_on_its_run_when_others_come_and_cells_change(live: RunDirectory) -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        await go_to(pilot, "failed-phi")
        make_run("brand-new", created=T0 + 2000)
        write(live, [step(26, 40)])
        await until(pilot, lambda: "brand-new" in names(pilot))
        await shown(pilot, "26 / 40")
        row = screen_of(pilot).chosen()
        assert row is not None and row.name == "failed-phi"


async def test_a_timer_runs_only_while_a_run_is_active_and_the_list_is_shown(live: RunDirectory) -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: screen_of(pilot)._timer is not None)
        screen = screen_of(pilot)
        await press(pilot, "1")
        await until(pilot, lambda: screen._timer is None)
        await press(pilot, "4")
        await until(pilot, lambda: screen._timer is not None)
        write(live, [e.Finished(time=T0 + 99, step=40, model="model")])
        await until(pilot, lambda: screen._timer is None)
        assert "✓ done" in screen_text(pilot)


async def test_open_chat_and_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    some_runs()
    app = FinetuiApp()
    opened: list[str] = []
    monkeypatch.setattr(app, "open_run", lambda ref: opened.append(f"open {ref}"))
    monkeypatch.setattr(app, "chat_with", lambda ref: opened.append(f"chat {ref}"))
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "stopped-one")
        await press(pilot, "enter c y")
        await until(pilot, lambda: opened == ["open stopped-one", "chat stopped-one"])
        assert app.clipboard == "stopped-one"


async def test_stop_pause_resume_ask_the_supervisor(
    live: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_runs()
    resumed: list[str] = []
    monkeypatch.setattr(supervisor, "resume", lambda ref: (resumed.append(ref), supervisor.get(ref))[1])
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "support-qwen3-04")
        await press(pilot, "p")
        await shown(pilot, "‖ pausing")
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: "stop" in control.pending(live.control_dir))
        await go_to(pilot, "paused-one")
        await press(pilot, "r")
        await until(pilot, lambda: resumed == ["paused-one"])


async def test_a_paused_run_can_be_stopped_for_good() -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        await go_to(pilot, "paused-one")
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await shown(pilot, "Its checkpoint of step 12 is kept.")
        await press(pilot, "y")
        await until(pilot, lambda: supervisor.get("paused-one").state == "stopped")


async def test_rename_keeps_the_id_and_refuses_bad_names() -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "done-one")
        await press(pilot, "e")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await type_text(pilot, "better name")
        await press(pilot, "enter")
        await until(pilot, lambda: "better name" in names(pilot))
        assert supervisor.get("done-one").name == "better name"
        await press(pilot, "e")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await type_text(pilot, "/x")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await press(pilot, "escape e")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await type_text(pilot, "paused-one")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "another run called 'paused-one'")
        assert supervisor.get("done-one").name == "better name"


async def test_delete_asks_names_what_goes_and_can_be_undone() -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(100, 30), notifications=True) as pilot:
        await go_to(pilot, "done-one")
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await shown(pilot, "Delete done-one?")
        words = " ".join(screen_text(pilot).replace("┃", " ").split())
        assert "its model, checkpoints, log and figures" in words and "brought back for 30 days" in words
        await press(pilot, "enter")  # the safe answer
        assert "done-one" in names(pilot)
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: "done-one" not in names(pilot))
        await press(pilot, "u")
        await until(pilot, lambda: "done-one" in names(pilot))
        await press(pilot, "u")
        await shown(pilot, "Nothing was deleted")


@pytest.mark.parametrize("key", ["u", "enter"])
async def test_the_trash_shows_what_was_deleted_and_gives_it_back(key: str) -> None:
    some_runs()
    supervisor.delete("done-one")
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 4)
        await press(pilot, "t")
        await until(pilot, lambda: names(pilot) == ["done-one"])
        await shown(pilot, "Trash  1")
        await shown(pilot, "more days")
        await press(pilot, "x e s n")  # not in the trash
        await press(pilot, key)
        await shown(pilot, "The trash is empty.")
        await press(pilot, "escape")
        await until(pilot, lambda: len(names(pilot)) == 5)


async def test_deleting_a_running_run_is_refused_with_the_way_out(live: RunDirectory) -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "support-qwen3-04")
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "A worker is writing to it.")
        assert live.path.is_dir()


async def test_an_error_of_the_supervisor_is_shown_and_the_app_lives_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some_runs()

    def refuse(ref: str) -> None:
        raise FinetuiError("[/foo] can't", "because \x1b[31m", "do this")

    monkeypatch.setattr(supervisor, "resume", refuse)
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "paused-one")
        await press(pilot, "r")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "[/foo] can't")
        assert "because ␛[31m" in screen_text(pilot)
        await press(pilot, "escape")
        assert "paused-one" in screen_text(pilot)


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
def test_pictures(
    live: RunDirectory, snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    some_runs()
    monkeypatch.setattr("tui.rundetails.visible", lambda text, lines=False: text.split("/data/runs")[-1])

    async def ready(pilot: Pilot[Any]) -> None:
        await go_to(pilot, "failed-phi")
        await shown(pilot, "CUDA out of memory")
        await until(
            pilot, lambda: any(item.head == "data    " for item in screen_of(pilot).details.paragraphs)
        )

    assert snap_compare(FinetuiApp(), terminal_size=size, run_before=ready)
