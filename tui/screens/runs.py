"""The list of runs, and of those in the trash."""

from __future__ import annotations

from collections.abc import Iterable
from time import time as now
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from tui import rundetails
from tui.actions import bindings
from tui.format import one_line
from tui.screens.run_actions import has_model
from tui.screens.runs_compare import RunMarks
from tui.screens.runs_deploy import RunDeploys, can_deploy
from tui.widgets.field import Field
from tui.widgets.runtable import RunTable
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from core.runs.rows import RunRow

REFRESH_S = 1.0

NO_RUNS = (
    "No runs yet.\n\n"
    "A run trains a model on your conversations; each one is listed here, with its state and its losses.\n"
    "n sets up a new run.   1 looks at a data file first."
)
NO_TRASH = "The trash is empty.\n\nDeleted runs stay here for 30 days.   t goes back to the runs."
NO_MATCH = "No run contains all of these words.\n\n/ changes them, esc takes them away."
IN_TRASH = frozenset({"open", "undo", "trash", "filter", "copy", "clean"})


class RunsScreen(RunMarks, RunDeploys):
    """All runs, newest first, and what there is to know of the chosen one."""

    MODE = "runs"
    HELP = (
        "All runs with their state. A run is a process of its own: it goes on when finetui is closed. Deleted runs "
        "can be brought back for 30 days. The filter takes words: each must occur in name, state, model or device. "
        "space marks runs, v puts those marked side by side."
    )
    HOME = "#runs"
    CSS_PATH = "runs.tcss"
    BINDINGS = bindings("runs")

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[RunRow] | None = None
        self.in_trash = False
        self.filter_field = Field(placeholder="words that must occur, e.g. failed phi", id="filter")
        self.empty = Static("", id="empty", markup=False)
        self.table = RunTable(id="runs")
        self.details = TextPane("", follow=False, id="details")
        self._keys_for: tuple[object, ...] | None = None
        self._timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield self.filter_field
        yield self.empty
        yield self.table
        yield self.details

    # -- the rows

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        self.forget_lineages()
        self._refresh()

    def on_screen_suspend(self, event: events.ScreenSuspend) -> None:
        self._set_timer(False)

    @work(thread=True, exclusive=True, group="refresh")
    def _refresh(self) -> None:
        from core.runs import supervisor

        trash = self.in_trash
        rows = supervisor.list_runs(trash=trash)
        told = supervisor.notices()
        self.app.call_from_thread(self._take, rows, trash, told)

    def _take(self, rows: list[RunRow], trash: bool, told: list[str]) -> None:
        for text in told:
            self.notify(text, severity="warning")
        if trash != self.in_trash:
            return
        first, self.rows = self.rows is None, rows
        if first:
            self.sweep_trash()
        self._set_timer(self.is_current and any(row.active for row in rows))
        self._show()

    def _set_timer(self, wanted: bool) -> None:
        """Look again every second, but only while something can change and somebody looks."""
        if wanted and self._timer is None:
            self._timer = self.set_interval(REFRESH_S, self._refresh)
        elif not wanted and self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _filtered(self) -> list[RunRow]:
        words = self.filter_field.value.lower().split()
        return [row for row in self.rows or [] if all(word in _haystack(row) for word in words)]

    def _show(self) -> None:
        """Bring table, titles and details up to date."""
        if self.rows is None:
            return
        rows = self._filtered()
        title = f"{'Trash' if self.in_trash else 'Runs'}  {len(rows)}"
        title += f" of {len(self.rows)}" if len(rows) != len(self.rows) else ""
        title += f"   {self.marks_in_words()}" if self.marks else ""
        title += f"   {self.exporting}" if self.exporting else ""
        title += f"   {self.deploying}" if self.deploying else ""
        self.table.show_runs(rows, title, now(), self.in_trash)
        if not self.in_trash:
            self.keep_marks({row.id for row in self.rows})
        words = self.filter_field.value
        empty = NO_MATCH if words and self.rows else NO_TRASH if self.in_trash else NO_RUNS
        if not rows:
            self.empty.update(Content(empty))
        self.set_class(not rows, "-empty")
        active = sum(row.active for row in self.rows)
        self.context = f"{active} running" if active else ""
        self._show_details()

    def exporting_changed(self) -> None:
        self._show()

    def deploying_changed(self) -> None:
        self._show()

    def marks_changed(self) -> None:
        self._show()

    def lineage_known(self) -> None:
        self._show_details()

    def _show_details(self) -> None:
        pane, row = self.details, self.chosen()
        if row is not None:
            pane.title = rundetails.title(row)
            lines = rundetails.details(row, now(), self.lineage_of(row))
            pane.set_paragraphs([*lines, rundetails.keys(row, has_model(row) or can_deploy(row))])
            pane.show_titles()
        about = (row.id, row.state, has_model(row), len(self.marks)) if row is not None else ()
        if about != self._keys_for:
            self._keys_for = about
            self.refresh_bindings()

    @on(RunTable.Moved)
    def _moved(self) -> None:
        self.details.action_move_first()
        self._show_details()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._show)

    # -- what the keys do

    def chosen(self) -> RunRow | None:
        return self.table.run

    def changed(self, row: RunRow) -> None:
        self._refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("stop", "pause", "resume", "chat", "open", "rename", "delete", "copy", "export"):
            return (not self.in_trash or action in IN_TRASH) and self.possible(action)
        if action in ("new", "deployments"):
            return not self.in_trash
        if action == "deploy":
            row = self.chosen()
            return bool(self.deploying) or (not self.in_trash and row is not None and can_deploy(row))
        if action in ("mark", "compare"):
            return not self.in_trash and self.chosen() is not None
        return super().check_action(action, parameters)

    @on(RunTable.Chosen)
    def _selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        row = self.chosen()
        if row is None:
            return
        if self.in_trash:
            self._restore(row.id)
        else:
            self.finetui.open_run(row.id)

    def action_new(self) -> None:
        self.app.switch_mode("train")

    def action_filter(self) -> None:
        self.set_class(True, "-filtering")
        self.set_focus(self.filter_field)

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.go_home()

    def close_overlay(self) -> None:
        """`esc`: take the filter away, then leave the trash."""
        if self.has_class("-filtering"):
            self.filter_field.value = ""
            self.set_class(False, "-filtering")
        elif self.in_trash:
            self.action_trash()
        self.go_home()

    def action_trash(self) -> None:
        self.in_trash = not self.in_trash
        self._refresh()

    def action_copy(self) -> None:
        if (row := self.chosen()) is not None:
            self.finetui.copy(row.id)

    @work(group="change")
    async def action_rename(self) -> None:
        from core.runs import supervisor
        from tui.widgets.dialogs import Ask

        row = self.chosen()
        if row is None:
            return
        name = await self.app.push_screen_wait(Ask(f"Rename {one_line(row.name)}", row.name))
        if name is None or name == row.name:
            return
        renamed = await self.attempt(supervisor.rename, row.id, name)
        if renamed is not None:
            self.changed(renamed)


def _haystack(row: RunRow) -> str:
    from tui.states import state_of

    words = (row.name, row.id, row.state, state_of(row.state).word, row.model, row.device, row.backend)
    return " ".join(words).lower()
