"""`o` on the list of runs: the dialog, what is asked of the worker, and how its end is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.pipes import PipeError
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_runs import T0, make_run, some_runs
from tui import exporting
from tui.app import FinetuiApp
from tui.exporting import Exportable
from tui.screens.runs import RunsScreen
from tui.screens.runs_export import ExportDialog, ExportedDialog
from tui.widgets.dialogs import ErrorDialog
from tui.widgets.runtable import RunTable

RESULT = {
    "path": "/tmp/out [/x]",
    "to": "merged",
    "bytes": 273_000_000,
    "fidelity": {"max_difference": 0.25, "same": 0.988, "positions": 84, "dtype": "bfloat16"},
    "notes": ["From a 4-bit file [bold]."],
}


class Worker:
    """Stands in for the export worker: it works until it is told to end."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.end = asyncio.Event()
        self.error: PipeError | None = None
        self.cancelled = False

    async def work(
        self, op: str, what: Exportable, told: Callable[[str], None], **arguments: Any
    ) -> dict[str, Any]:
        self.asked.append((op, what.run_id, arguments))
        told("merging")
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error:
            raise self.error
        return RESULT


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    some_runs()
    made = Worker()
    monkeypatch.setattr(exporting, "work", made.work)
    monkeypatch.setattr(
        exporting, "find", lambda ref: Exportable(ref, "done [/one]", Path("/run"), Path("/run/model"))
    )
    return made


async def open_dialog(pilot: Pilot[Any]) -> None:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RunsScreen)
    await until(pilot, lambda: screen.query_one(RunTable).run is not None)
    await press(pilot, "o")
    await until(pilot, lambda: isinstance(pilot.app.screen, ExportDialog))


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_kind_and_folder_are_asked_and_the_end_is_told(worker: Worker, size: tuple[int, int]) -> None:
    app = FinetuiApp()
    async with app.run_test(size=size) as pilot:
        await open_dialog(pilot)
        await shown(pilot, "Export done [/one]")
        await press(pilot, "j")
        await shown(pilot, "done-one-merged")
        await press(pilot, "enter enter")
        await shown(pilot, "export of done [/one]: merging")
        out = str(Path.cwd() / "done-one-merged")
        assert worker.asked == [("export", "done-one", {"to": "merged", "out": out})]
        worker.end.set()
        await until(pilot, lambda: isinstance(app.screen, ExportedDialog))
        for words in ("/tmp/out [/x]", "273 MB", "both in bfloat16", "98.8%", "[bold]"):
            await shown(pilot, words)
        await press(pilot, "y escape")
        assert app.clipboard == "/tmp/out [/x]"
        await until(pilot, lambda: "export of" not in screen_text(pilot))


async def test_a_name_of_one_s_own_stays_when_the_kind_changes(worker: Worker, tmp_path: Path) -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await open_dialog(pilot)
        await press(pilot, "enter")
        await type_text(pilot, str(tmp_path / "mine"))
        await press(pilot, "shift+tab j j enter enter")
        await until(pilot, lambda: worker.asked)
        assert worker.asked[0][2] == {"to": "ollama", "out": str(tmp_path / "mine")}
        worker.end.set()


async def test_escape_asks_for_nothing(worker: Worker) -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await open_dialog(pilot)
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        assert worker.asked == []


async def test_a_second_o_offers_to_stop_the_export(worker: Worker) -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await open_dialog(pilot)
        await press(pilot, "enter enter")
        await shown(pilot, "merging")
        await press(pilot, "o")
        await shown(pilot, "Stop the export?")
        await press(pilot, "y")
        await until(pilot, lambda: worker.cancelled)
        await until(pilot, lambda: "export of" not in screen_text(pilot))


async def test_an_error_is_shown_in_its_three_parts(worker: Worker) -> None:
    worker.error = PipeError("It is full.", "No space [/].", "Free some.")
    worker.end.set()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await open_dialog(pilot)
        await press(pilot, "enter enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "No space [/].")


async def test_a_run_without_a_model_and_the_trash_have_no_export(worker: Worker) -> None:
    make_run("nothing-yet", created=T0 + 999)
    async with FinetuiApp().run_test(size=(160, 45)) as pilot:
        await shown(pilot, "nothing-yet")
        assert "o Export" not in screen_text(pilot)
        await press(pilot, "j")
        await shown(pilot, "o Export")
        await press(pilot, "t")
        await shown(pilot, "The trash is empty")
        await press(pilot, "o")
        assert isinstance(pilot.app.screen, RunsScreen)
