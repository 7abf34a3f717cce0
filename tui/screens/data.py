"""Data: open a file of conversations, page through them, and see exactly which tokens would be trained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual import work
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import get_current_worker

from tui.actions import bindings
from tui.format import count, one_line, size
from tui.screens.base import ModeScreen
from tui.states import colour
from tui.widgets.reading import Paragraph, ReadingPane
from tui.widgets.records import Records, RowView

if TYPE_CHECKING:
    from core.pipes import PipeClient
    from tui.app import FinetuiApp
    from tui.rowfile import RowFile
    from tui.rowtext import Styles

DEFAULT_MODEL = "smollm2-135m-instruct"
REPORT_EVERY_S = 0.2
"""How often a scan tells the screen how far it is."""

TELL_EVERY_S = 1.0
"""How often a check does."""

EMPTY = """\
No file is open.

A data file holds conversations, one JSON object a line:
  {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
or {"prompt": "...", "completion": "..."}.

Press o to open one. The bundled sample is filled in: enter opens it."""


class DataScreen(ModeScreen):
    """The browser of training rows."""

    MODE = "data"
    HELP = (
        "Look at training data before you train on it: each row is one conversation. t shows the exact text the "
        "model is given and which of its tokens are trained; n goes through the rows with problems."
    )
    HOME = "#records"
    CSS_PATH = "data.tcss"
    BINDINGS = bindings("data")

    class Scanned(Message):
        """The index has grown, or is complete."""

        def __init__(self, file: RowFile, complete: bool) -> None:
            super().__init__()
            self.file = file
            self.complete = complete

    def __init__(self) -> None:
        super().__init__()
        self.file: RowFile | None = None
        self.model = DEFAULT_MODEL
        self.tokens_shown = False
        self._renderer: PipeClient | None = None
        self._checker: PipeClient | None = None
        self._told = 0.0
        self._records = Records(self._view, id="records", classes="pane")
        self._pane = ReadingPane(id="row", classes="pane")

    @property
    def finetui(self) -> FinetuiApp:
        from tui.app import FinetuiApp

        assert isinstance(self.app, FinetuiApp)
        return self.app

    def compose_body(self) -> Iterable[Widget]:
        yield Static(EMPTY, id="empty", markup=False)
        with Horizontal(id="body"):
            self._records.border_title = "Rows"
            yield self._records
            yield self._pane

    def on_mount(self) -> None:
        self.add_class("-empty")
        self.app.theme_changed_signal.subscribe(self, lambda _: self._show_row())

    async def on_unmount(self) -> None:
        file, self.file = self.file, None
        self.workers.cancel_node(self)
        for client in (self._renderer, self._checker):
            if client is not None:
                await client.close()
        if file is not None:
            file.close()

    def _view(self, row: int) -> RowView:
        return self.file.view(row) if self.file else RowView(row, "", " ", "")

    # -- opening

    def open_path(self, path: Path) -> None:
        """Open a file; its first rows show at once, the rest is indexed and checked meanwhile."""
        from core.errors import FinetuiError
        from tui.rowfile import RowFile

        try:
            file = RowFile(path)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        before, self.file = self.file, file
        if before is not None:
            before.close()
        self.remove_class("-empty", "-reading")
        self.add_class("-open")
        self._records.clear()
        self._pane.show(())
        self._grow(file, complete=False)
        self.call_after_refresh(self._scan, file)
        self.go_home()
        self.refresh_bindings()

    @work(thread=True, exclusive=True, group="scan")
    def _scan(self, file: RowFile) -> None:
        worker = get_current_worker()
        told = 0.0

        def progress(_done: int, _total: int) -> None:
            nonlocal told
            if time.monotonic() - told > REPORT_EVERY_S:
                told = time.monotonic()
                self.post_message(self.Scanned(file, complete=False))

        file.index.scan(progress, lambda: worker.is_cancelled or self.file is not file)
        self.post_message(self.Scanned(file, complete=file.index.complete))

    def on_data_screen_scanned(self, event: Scanned) -> None:
        if event.file is self.file:
            self._grow(event.file, event.complete)
            if event.complete:
                self._check(event.file)

    def _grow(self, file: RowFile, complete: bool) -> None:
        """Show how many rows there are by now; the first ones at once."""
        first = self._records.count == 0
        self._records.grow(len(file))
        known = count(len(file)) + (" rows" if complete else " rows so far")
        self.context = f"{file.path.name}  {known}  {size(file.index.size)}"
        self._show_place()
        if first:
            self._show_row()
            self.refresh_bindings()

    @work(exclusive=True, group="check")
    async def _check(self, file: RowFile) -> None:
        """Every row is checked by the data worker; problems show as they are found."""
        from core.pipes import PipeError

        client = self._checker = self._new_client()
        frames = client.stream("check", **file.request)
        try:
            async for kind, value in frames:
                if self.file is not file:
                    return
                if kind == "chunk":
                    self._take_problems(file, value)
                else:
                    file.problems.done = True
            self._show_place()
            self.refresh_bindings()
        except PipeError:
            if self.file is file:  # else nobody waits for this check any more
                raise
        finally:
            await frames.aclose()
            await client.close()  # its memory is free again

    def _take_problems(self, file: RowFile, chunk: dict[str, Any]) -> None:
        file.problems.add(chunk["problems"])
        file.problems.share = chunk["bytes"] / max(1, chunk["total"])
        rows = range(self._records.top, self._records.top + self._records.rows_in_view)
        if any(item["row"] - 1 in rows for item in chunk["problems"]):
            self._records.forget()
        if any(item["row"] in (0, self._records.cursor + 1) for item in chunk["problems"]):
            self._show_row()
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self._show_place()
        if chunk["problems"] and file.problems.total == len(chunk["problems"]):
            self.refresh_bindings()  # there is a next problem to go to now

    def _new_client(self) -> PipeClient:
        """A data worker. Checks have their own: one of minutes must not hold up a row's tokens."""
        from core.paths import logs_dir, make_private
        from core.pipes import PipeClient

        return PipeClient("core.data.worker", make_private(logs_dir()) / "data-worker.log")

    # -- showing

    @property
    def _styles(self) -> Styles:
        from tui.rowtext import Styles

        names = ("text-success", "text-error", "text-warning", "foreground-muted")
        return Styles(*(colour(self.app, name) for name in names))

    def _show_place(self) -> None:
        file, records = self.file, self._records
        if file is None:
            return
        from tui.problembook import PROBLEMS_KEPT

        problems = file.problems
        words = f"{count(problems.total)} problems" if problems.total != 1 else "1 problem"
        if problems.total > PROBLEMS_KEPT:
            words += f" (the first {count(PROBLEMS_KEPT)} are shown)"
        if not problems.done:
            words += f", checking {100 * problems.share:.0f} %"
        place = f"{count(records.cursor + 1)} / {count(records.count)}" if records.count else "no rows"
        records.border_subtitle = f"{words}   {place}"

    def on_records_moved(self, _: Records.Moved) -> None:
        self._show_place()
        self._show_row()

    def _show_row(self) -> None:
        file, row, pane = self.file, self._records.cursor, self._pane
        if file is None:
            return
        from core.data.problems import DataError
        from tui import rowtext

        pane.border_title = f"Row {count(row + 1)}" + (", as tokens" if self.tokens_shown else "")
        pane.border_subtitle = "t conversation" if self.tokens_shown else "t tokens"
        if not self._records.count:
            pane.show(rowtext.problem_lines(file.problems.whole_file, self._styles))
            return
        head = rowtext.problem_lines(file.problems_of(row), self._styles)
        parsed = file.row(row)
        if isinstance(parsed, DataError):
            pane.show([*head, Paragraph(rowtext.raw_text(file.raw(row)))])
        elif self.tokens_shown:
            pane.show([*head, Paragraph(Text("rendering ..."))])
            self._render_tokens(file, row)
        else:
            pane.show([*head, *rowtext.conversation_lines(parsed, self._styles)])

    @work(exclusive=True, group="tokens")
    async def _render_tokens(self, file: RowFile, row: int) -> None:
        from core.errors import FinetuiError
        from tui import rowtext

        head = rowtext.problem_lines(file.problems_of(row), self._styles)
        try:
            folder = self._model_folder()
            await self._indexed(file, row)
            span = [row, file.line_number(row), *file.index.span(row)]
            self._renderer = self._renderer or self._new_client()
            answers = await self._renderer.call(
                "render", **file.request, lines=[span], model_folder=str(folder)
            )
            answer = answers[0]
            if "error" in answer:
                raise FinetuiError(**answer["error"])
            lines = rowtext.token_lines(answer, self.model, self._styles)
        except FinetuiError as error:
            lines = rowtext.error_lines(error, self._styles)
        if self.file is file and self._records.cursor == row and self.tokens_shown:
            self._pane.show([*head, *lines])

    async def _indexed(self, file: RowFile, row: int) -> None:
        """Wait until a row of the file's beginning is in the index, too."""
        while row >= len(file.index) and not file.index.complete:
            await asyncio.sleep(0.05)

    def _model_folder(self) -> Path:
        """The model's files on this machine.

        Raises:
            ModelError: it is unknown, or not fetched yet.
        """
        from core.catalog.reference import ModelError, cached, resolve

        folder = cached(resolve(self.model))
        if folder is None:
            raise ModelError(
                f"{self.model} is not on this machine yet.",
                "Tokens need the model's tokenizer and chat template.",
                f"Fetch it with `finetui models fetch {self.model}`, or choose another with m.",
            )
        return folder

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        rows = self.file is not None and bool(self._records.count)
        if action in ("toggle_tokens", "open_row", "edit_row", "copy", "write", "use"):
            return rows
        if action in ("next_problem", "previous_problem"):
            return rows and self.file is not None and self.file.problems.total > 0
        return super().check_action(action, parameters)

    def close_overlay(self) -> None:
        self.remove_class("-reading")
        self.go_home()

    def action_open_row(self) -> None:
        self.add_class("-reading")
        self.set_focus(self._pane)

    @work
    async def action_open_file(self) -> None:
        from core.data.samples import train_path
        from tui.widgets.dialogs import Ask
        from tui.widgets.field import PathSuggester

        value = "" if self.file else str(train_path())
        answer = await self.app.push_screen_wait(
            Ask("Open a file of conversations", value, "rows.jsonl", suggester=PathSuggester())
        )
        if answer and answer.strip():
            self.open_path(Path(answer.strip()).expanduser().absolute())

    def action_next_problem(self) -> None:
        assert self.file is not None
        self._go_problem(self.file.problems.after(self._records.cursor), "after")

    def action_previous_problem(self) -> None:
        assert self.file is not None
        self._go_problem(self.file.problems.before(self._records.cursor), "before")

    def _go_problem(self, row: int | None, where: str) -> None:
        if row is None or row >= self._records.count:
            self.finetui.notify(f"No row with a problem {where} this one")
        else:
            self._records.go(row)

    def action_toggle_tokens(self) -> None:
        self.tokens_shown = not self.tokens_shown
        if self.tokens_shown:
            self.add_class("-reading")
            self.set_focus(self._pane if self.has_class("-narrow") else self.focused)
        self._show_row()

    @work
    async def action_choose_model(self) -> None:
        from tui.choices import choose_model

        model = await choose_model(self.app, self.model)
        if model:
            self.model = model
            self._show_row()

    def action_use(self) -> None:
        assert self.file is not None
        self.finetui.use_data(self.file.path)

    def action_edit_row(self) -> None:
        from core.errors import FinetuiError
        from tui.external import view

        assert self.file is not None
        try:
            view(self.app, self.file.pretty(self._records.cursor), ".json")
        except FinetuiError as error:
            self.finetui.show_error(error)

    def action_copy(self) -> None:
        assert self.file is not None
        self.finetui.copy(self.file.raw(self._records.cursor))

    @work
    async def action_write(self) -> None:
        from tui.saving import ask_and_write

        assert self.file is not None
        row = self._records.cursor
        name = f"{one_line(self.file.path.stem)}-{row + 1}.json"
        await ask_and_write(self.finetui, "Write the row's JSON to", name, self.file.pretty(row))
