"""What the Data screen does with its file: open, unpack, index, watch for changes, check, measure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work
from textual.message import Message
from textual.worker import get_current_worker

from tui.format import count, one_line, size
from tui.roworder import RowOrder
from tui.screens.base import ModeScreen
from tui.widgets.records import Records, RowView
from tui.widgets.rowpane import RowPane

if TYPE_CHECKING:
    from core.pipes import PipeClient
    from tui.overview import Basis
    from tui.rowfile import RowFile

REPORT_EVERY_S = 0.2
"""How often a scan tells the screen how far it is."""

TELL_EVERY_S = 1.0
"""How often a check does."""

WATCH_EVERY_S = 2.0
"""How often the file is looked at for having grown or been replaced."""


NO_MATCH = "No row is let through so far. / changes the filter, esc takes it away."


class DataFile(ModeScreen):
    """A screen with one open file, its rows in a list, and the row under the cursor."""

    class Scanned(Message):
        """The index has grown, or is complete."""

        def __init__(self, file: RowFile, complete: bool) -> None:
            super().__init__()
            self.file = file
            self.complete = complete

    def __init__(self) -> None:
        super().__init__()
        self.file: RowFile | None = None
        self.order = RowOrder()
        self.stats: dict[str, Any] | None = None
        self.cost_basis: Basis | None = None
        self._told = 0.0
        self._growing = False
        self._gone = False
        self._clients: set[PipeClient] = set()
        self._records = Records(self._view, id="records", classes="pane")
        self._pane = RowPane(id="row", classes="pane")

    @property
    def row(self) -> int:
        """The row under the cursor, from 0."""
        return self.order.row(self._records.cursor)

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(WATCH_EVERY_S, self._watch)

    async def on_unmount(self) -> None:
        file, self.file = self.file, None
        await self._pane.close()
        for client in list(
            self._clients
        ):  # before their tasks are cancelled, which would not wait for the end
            await client.close()
        self.workers.cancel_node(self)
        if file is not None:
            file.close()

    @asynccontextmanager
    async def data_worker(self) -> AsyncGenerator[PipeClient, None]:
        """A data worker for one task; its memory is free again after it."""
        from tui.datawork import new_worker

        client = new_worker()
        self._clients.add(client)
        try:
            yield client
        finally:
            await client.close()
            self._clients.discard(client)

    def _view(self, position: int) -> RowView:
        row = self.order.row(position)
        return self.file.view(row) if self.file is not None else RowView(row, "", " ", "")

    # -- opening

    def open_path(self, path: Path, columns: dict[str, str] | None = None) -> None:
        """Open a file; its first rows show at once, the rest is indexed and checked meanwhile.

        Args:
            path: any data file; a packed one is unpacked first.
            columns: names of the parts in this file, where they are not the usual ones.
        """
        from core.data.formats import format_of
        from core.errors import FinetuiError

        try:
            if format_of(path).packed:
                self._unpack(path, columns)
            else:
                self._opened(path, path, columns)
        except FinetuiError as error:
            self.finetui.show_error(error)

    @work(exclusive=True, group="open")
    async def _unpack(self, path: Path, columns: dict[str, str] | None) -> None:
        async with self.data_worker() as client:
            async for kind, value in client.stream("unpack", path=str(path)):
                if kind == "chunk":
                    share = 100 * value["bytes"] / max(1, value["total"])
                    self.context = f"{one_line(path.name)}  unpacking {share:.0f} %"
                else:
                    self._opened(path, Path(value["plain"]), columns)

    def _opened(self, path: Path, plain: Path, columns: dict[str, str] | None) -> None:
        from tui.rowfile import RowFile

        file = RowFile(path, plain, columns)
        before, self.file = self.file, file
        if before is not None:
            before.close()
        self.order = RowOrder()
        self.stats = None
        self._gone = self._growing = False
        self.remove_class("-empty", "-reading", "-filtering", "-overview")
        self.add_class("-open")
        self._records.clear()
        self._pane.show(())
        self.show_overview()
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

    def on_data_file_scanned(self, event: Scanned) -> None:
        if event.file is self.file:
            self._grow(event.file, event.complete)
            if event.complete and not self._growing:
                self.check_rows(event.file)

    def _grow(self, file: RowFile, complete: bool) -> None:
        """Show how many rows there are by now; the first ones at once."""
        first = self._records.count == 0
        self._records.grow(self.order.count(len(file)))
        known = count(len(file)) + (" rows" if complete else " rows so far")
        kind = "" if file.format.kind == "jsonl" else f"{file.format.name}  "
        self.context = f"{one_line(file.name)}  {kind}{known}  {size(file.index.size)}"
        self.show_place()
        if first:
            self.show_row()
            self.refresh_bindings()

    # -- changes underneath

    def _watch(self) -> None:
        """Say so when the file has grown or was replaced, and read what is new; check it when it rests."""
        from core.data.problems import DataError

        file = self.file
        if file is None or not file.index.complete or self._gone:
            return
        try:
            state = file.index.refresh() if file.plain == file.path else file.packed_state()
        except DataError as error:
            self._gone = True
            self.finetui.notify(f"{error.what} What was read of it stays on the screen.", severity="warning")
            return
        if state == "same" and self._growing:
            self._growing = False
            self.check_rows(file)
        elif state == "grown":
            self._growing = True
            self._scan(file)
        elif state == "replaced":
            self.finetui.notify(f"{one_line(file.name)} was replaced: it is read anew.")
            self.open_path(file.path, file.columns)

    # -- checking and measuring, by the data worker

    @work(exclusive=True, group="check")
    async def check_rows(self, file: RowFile) -> None:
        """Every row is checked, with the chosen model if it is there; then the rows are measured."""
        from core.pipes import PipeError

        file.problems.clear()
        try:
            async with self.data_worker() as client:
                await self._take_check(file, client)
                if self.file is file:
                    await self._measure(file, client)
        except PipeError:
            if self.file is file:  # else nobody waits for this check any more
                raise

    async def _take_check(self, file: RowFile, client: PipeClient) -> None:
        frames = client.stream("check", **file.request, options=self.with_model())
        async with aclosing(frames):
            async for kind, value in frames:
                if self.file is not file:
                    return
                if kind == "chunk":
                    self._take_problems(file, value)
                else:
                    file.problems.tiers = value["tiers"]
                    file.problems.done = True
        self.show_place()
        self.show_overview()
        self.refresh_bindings()

    async def _measure(self, file: RowFile, client: PipeClient) -> None:
        from tui.overview import cost_basis

        stats = await client.call("stats", **file.request, **self.with_model())
        self.cost_basis = await asyncio.to_thread(cost_basis, self._pane.model)
        if self.file is file:
            self.stats = stats
            self.show_overview()

    def with_model(self) -> dict[str, Any]:
        """What the worker is told of the chosen model; nothing while it isn't on this machine."""
        from core.catalog.reference import ModelError, folder_here

        pane = self._pane
        try:
            folder = str(folder_here(pane.model))
        except ModelError:
            return {}
        template = pane.template[1] if pane.template else None
        return {
            "model_folder": folder,
            "chat_template": template,
            "sequence_length": pane.sequence_length,
        }

    def _take_problems(self, file: RowFile, chunk: dict[str, Any]) -> None:
        first = not file.problems.total
        file.problems.add(chunk["problems"])
        file.problems.share = chunk["bytes"] / max(1, chunk["total"])
        top, view = self._records.top, self._records.rows_in_view
        positions = range(top, min(top + view, self._records.count))
        seen = {self.order.row(position) for position in positions}
        found = {item["row"] - 1 for item in chunk["problems"]}
        if found & seen:
            self._records.forget()
        if not self._records.count or (found & {-1, self.row} and self._pane.view != "tokens"):
            self.show_row()
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self.show_place()
            self.show_overview()
        if chunk["problems"] and first:
            self.refresh_bindings()  # there is a next problem to go to now

    # -- showing

    def show_place(self) -> None:
        """What is known of the file and where the cursor is, at the list's lower edge."""
        file, records = self.file, self._records
        if file is None:
            return
        place = f"{count(records.cursor + 1)} / {count(records.count)}" if records.count else "no rows"
        records.border_subtitle = f"{file.problems.words}   {place}"

    def show_row(self) -> None:
        """Show the row under the cursor."""
        if self.file is None:
            return
        if self._records.count:
            self._pane.show_row(self.file, self.row)
        else:
            self._pane.show_nothing(self.file, NO_MATCH if self.order.filtered else "")

    def show_overview(self) -> None:
        """Show the figures of all rows."""
        raise NotImplementedError
