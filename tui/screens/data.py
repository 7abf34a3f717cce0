"""Data: open a file of conversations, page through them, and see exactly which tokens would be trained."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual import work
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from tui.actions import bindings
from tui.format import count, one_line
from tui.screens.data_list import DataList
from tui.widgets.reading import ReadingPane
from tui.widgets.records import Records
from tui.widgets.rowpane import View

EMPTY = """\
No file is open.

A data file holds conversations, one JSON object a line:
  {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
or {"prompt": "...", "completion": "..."}, ShareGPT, Alpaca and others; JSON, CSV, Parquet, text; gzip, zstd.

Press o to open one. The bundled sample is filled in: enter opens it."""

_NEED_ROWS = frozenset(
    (
        "toggle_tokens",
        "toggle_raw",
        "open_row",
        "edit_row",
        "copy",
        "write",
        "use",
        "sort",
        "go_to",
        "template",
        "choose_task",
        "repair",
        "split",
    )
)


class DataScreen(DataList):
    """The browser of training rows."""

    MODE = "data"
    HELP = (
        "Look at training data before you train on it: each row as the task of the recipe trains on it (a shows it "
        "for another). t shows the exact text the model is given and which of its tokens are trained; n goes through "
        "the rows with problems.\n\n"
        'The filter takes words, "a text", /a regular expression/, role:system, shape:alpaca, label:spam, '
        "code:empty-answer, any.field:text, tokens>2048 (also trained, turns, chars, line, row); -not; or."
    )
    HOME = "#records"
    CSS_PATH = "data.tcss"
    BINDINGS = bindings("data")

    def __init__(self) -> None:
        super().__init__()
        self._overview = ReadingPane(id="overview", classes="pane")
        self._recipe_task = ""

    def compose_body(self) -> Iterable[Widget]:
        yield Static(EMPTY, id="empty", markup=False)
        with Vertical(id="open"):
            yield self._filter
            with Horizontal(id="body"):
                self._records.border_title = "Rows"
                yield self._records
                yield self._pane
            self._overview.border_title = "Overview"
            yield self._overview

    def on_mount(self) -> None:
        super().on_mount()
        self.add_class("-empty")
        self.app.theme_changed_signal.subscribe(self, lambda _: self.show_row())

    def show_overview(self) -> None:
        from tui.overview import overview_lines

        if self.file is not None:
            length = self._pane.sequence_length
            lines = overview_lines(self.stats, self.file.problems, length, self.cost_basis)
            self._overview.show(lines, keep_place=True)

    def on_records_moved(self, _: Records.Moved) -> None:
        self.show_place()
        self.show_row()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        rows = self.file is not None and bool(self._records.count)
        if action in _NEED_ROWS:
            return rows
        if action in ("filter", "overview", "length", "columns"):
            return self.file is not None
        if action == "toggle_ids":
            return rows and self._pane.view == "tokens"
        if action in ("next_problem", "previous_problem"):
            return rows and self.file is not None and self.file.problems.total > 0
        return super().check_action(action, parameters)

    def close_overlay(self) -> None:
        """`esc`: leave the overview, then the row, then the filter."""
        if self.has_class("-overview") and self.has_class("-narrow"):
            self.remove_class("-overview")
        elif self.has_class("-reading"):
            self.remove_class("-reading")
        elif self.order.filtered or self.has_class("-filtering"):
            self.clear_filter()
        self.go_home()

    @work
    async def action_open_file(self) -> None:
        from core.data.samples import train_path
        from tui.widgets.dialogs import Ask
        from tui.widgets.field import PathSuggester

        value = "" if self.file is not None else str(train_path())
        answer = await self.app.push_screen_wait(
            Ask("Open a file of conversations", value, "rows.jsonl", suggester=PathSuggester())
        )
        if answer and answer.strip():
            self.open_path(Path(answer.strip()).expanduser().absolute())

    def action_open_row(self) -> None:
        self.remove_class("-overview")
        self.add_class("-reading")
        self.set_focus(self._pane)

    def action_overview(self) -> None:
        self.toggle_class("-overview")
        self.show_overview()
        shown = self.has_class("-overview") and self.has_class("-narrow")
        self.set_focus(self._overview if shown else self._records)

    def action_toggle_tokens(self) -> None:
        self._show_as("tokens")

    def action_toggle_raw(self) -> None:
        self._show_as("raw")

    def _show_as(self, view: View) -> None:
        self._pane.view = "conversation" if self._pane.view == view else view
        if self._pane.view == "tokens":
            self.add_class("-reading")
            self.set_focus(self._pane if self.has_class("-narrow") else self.focused)
        self.show_row()
        self.refresh_bindings()

    def action_toggle_ids(self) -> None:
        self._pane.ids = not self._pane.ids
        self.show_row()

    @work
    async def action_choose_model(self) -> None:
        from tui.choices import choose_model

        model = await choose_model(self.app, self._pane.model)
        if model:
            self._pane.model, self._pane.template = model, None
            self._model_changed()

    def on_screen_resume(self) -> None:
        """The form's task is the one to look at the rows for, as soon as it has been changed there."""
        if self.finetui.recipe_task != self._recipe_task:
            self._recipe_task = self.finetui.recipe_task
            self._show_for(self._recipe_task)

    @work
    async def action_choose_task(self) -> None:
        from tui.choices import choose_task

        chosen = await choose_task(self.app, self._pane.for_task)
        if chosen is not None:
            self._show_for(chosen)

    def _show_for(self, task: str) -> None:
        """Show the rows as a task trains on them; the figures of all rows stay those by their shapes."""
        self._pane.for_task = task
        self._records.border_title = f"Rows, for {task}" if task else "Rows"
        figures = f": by each row's shape, not for {task}" if task else ""
        self._overview.border_title = f"Overview{figures}"
        self.show_row()

    @work
    async def action_template(self) -> None:
        """The same rows under another template."""
        from tui.choices import choose_template

        chosen = await choose_template(self.app, self._pane.template[0] if self._pane.template else "")
        if chosen is not None:
            self._pane.template = chosen if chosen[1] else None
            self._pane.view = "tokens"
            self._model_changed()

    @work
    async def action_length(self) -> None:
        from tui.widgets.dialogs import Ask

        answer = await self.app.push_screen_wait(
            Ask(
                "Sequence length",
                str(self._pane.sequence_length),
                "2048",
                "Tokens of a row that are trained.",
            )
        )
        if answer is None or not answer.strip():
            return
        if not answer.strip().isdecimal() or int(answer) < 1:
            self.finetui.notify(f"{one_line(answer)} is no number of tokens")
            return
        self._pane.sequence_length = int(answer)
        self._model_changed()

    def _model_changed(self) -> None:
        self.show_row()
        if self.file is not None and self.file.index.complete:
            self.check_rows(self.file)

    @work
    async def action_columns(self) -> None:
        """Say which column of this file holds which part of a row."""
        from tui.choices import ask_columns

        file = self.file
        assert file is not None
        columns = await ask_columns(
            self.app, file.columns or {}, file.keys(self.row) if self._records.count else []
        )
        if columns is not None:
            self.open_path(file.path, columns or None)

    @work
    async def action_repair(self) -> None:
        from tui.screens.repair import Repair

        file = self.file
        assert file is not None
        dialog = Repair(file, self.row, self.data_worker, self.with_model())
        path = await self.app.push_screen_wait(dialog)
        if path is not None:
            self.open_path(path, file.columns)

    @work
    async def action_split(self) -> None:
        from core.errors import FinetuiError
        from tui.widgets.splitting import Splitting

        file = self.file
        assert file is not None
        how = await self.app.push_screen_wait(Splitting(file.path))
        if how is None:
            return
        try:
            async with self.data_worker() as client:
                report = await client.call("split", path=str(file.path), columns=file.columns, **how)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        words = ", ".join(f"{count(rows)} in {Path(path).name}" for path, rows in report["written"].items())
        left = f"; {count(report['left_out'])} can't be used" if report["left_out"] else ""
        self.finetui.notify(f"rows: {words}{left}")

    def action_use(self) -> None:
        assert self.file is not None
        task = self._pane.for_task or self.file.fitting(self.row)
        self.finetui.use_data(self.file.path, self.file.columns, task)

    def action_edit_row(self) -> None:
        from core.errors import FinetuiError
        from tui.external import view

        assert self.file is not None
        try:
            view(self.app, self.file.pretty(self.row), ".json")
        except FinetuiError as error:
            self.finetui.show_error(error)

    def action_copy(self) -> None:
        assert self.file is not None
        self.finetui.copy(self.file.raw(self.row))

    @work
    async def action_write(self) -> None:
        from tui.saving import ask_and_write

        assert self.file is not None
        row = self.row
        name = f"{one_line(self.file.path.stem)}-{count(row + 1).replace(' ', '')}.json"
        await ask_and_write(self.finetui, "Write the row's JSON to", name, self.file.pretty(row))
