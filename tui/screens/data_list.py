"""Search and move: which rows the Data screen's list shows, and how the cursor goes through them."""

from __future__ import annotations

import asyncio
import bisect
import re
from typing import Any

from textual import on, work
from textual.widgets import Input

from tui.format import count, one_line
from tui.screens.data_file import DataFile
from tui.widgets.field import Field

FILTER_HINT = 'words  "a text"  /regex/  role:system  tokens>2048  code:empty-answer  -not'


class DataList(DataFile):
    """The list of rows: filtered, sorted, gone through."""

    def __init__(self) -> None:
        super().__init__()
        self._filter = Field(placeholder=FILTER_HINT, id="filter")
        self._filtering = ""

    # -- filter

    def action_filter(self) -> None:
        self.remove_class("-reading", "-overview")
        self.add_class("-filtering")
        self.set_focus(self._filter)

    @on(Input.Submitted, "#filter")
    def _filter_entered(self) -> None:
        self.go_home()
        words = self._filter.value.strip()
        if not words:
            self.clear_filter()
        elif self.file is not None:
            self._find(words)

    @work(exclusive=True, group="filter")
    async def _find(self, words: str) -> None:
        """The rows that the filter lets through, as they are found."""
        from core.data.query import parse
        from core.errors import FinetuiError

        file = self.file
        assert file is not None
        try:
            query = parse(words)
            self.order.filter()
            self._reordered()
            if query.between_rows:
                self.order.find(file.problems.rows_of(query.between_rows))
            else:
                await self._scan_rows(words, query.needs_model)
        except FinetuiError as error:
            self.finetui.show_error(error)
            self.clear_filter()
            return
        if self.file is file:
            self._show_found("")

    async def _scan_rows(self, words: str, needs_model: bool) -> None:
        from core.catalog.reference import folder_here

        file, pane = self.file, self._pane
        assert file is not None
        asked: dict[str, Any] = {"sequence_length": pane.sequence_length}
        if needs_model:
            asked["model_folder"] = str(folder_here(pane.model))
        async with self.data_worker() as client:
            async for kind, value in client.stream("filter", **file.request, query=words, **asked):
                if self.file is not file:
                    return
                if kind == "chunk":
                    self.order.find(value["rows"])
                    self._show_found(f", {100 * value['scanned'] / max(1, value['total']):.0f} %")

    def _show_found(self, progress: str) -> None:
        """How many rows there are by now, and the first ones at once."""
        found = self.order.count(0)
        first = not self._records.count and found
        self._records.grow(found)
        words = one_line(self._filter.value.strip())
        self._records.border_title = f"Rows  {words}  {count(found)} found{progress}"
        self.show_place()
        if first or not found:
            self.show_row()
            self.refresh_bindings()

    def clear_filter(self) -> None:
        """Show all rows again, the cursor where it is."""
        row = self.row if self._records.count else 0
        self.workers.cancel_group(self, "filter")
        self.remove_class("-filtering")
        self._filter.value = ""
        self.order.unfilter()
        self._reordered(row)

    # -- order

    @work(exclusive=True, group="sort")
    async def action_sort(self) -> None:
        """Longest first; again: as in the file."""
        file = self.file
        assert file is not None
        row = self.row
        if self.order.sorted:
            self.order.unsort()
        elif not file.index.complete:
            self.finetui.notify("The file is still being read; sort it then.")
            return
        else:
            lengths = await asyncio.to_thread(file.index.lengths)
            if self.file is not file:
                return
            self.order.sort(lengths)
            row = self.order.row(0)
        self._reordered(row)

    def _reordered(self, row: int = 0) -> None:
        """Show the list anew, with the cursor on a row if it is there."""
        file = self.file
        assert file is not None
        self._records.clear()
        self._records.border_title = "Rows, longest first" if self.order.sorted else "Rows"
        self._records.grow(self.order.count(len(file)))
        self._records.go(self.order.position(row) or 0)
        self._records.forget()
        self.show_place()
        self.show_row()
        self.refresh_bindings()

    # -- moves

    @work
    async def action_go_to(self) -> None:
        from tui.widgets.dialogs import Ask

        file = self.file
        assert file is not None
        answer = await self.app.push_screen_wait(
            Ask("Go to row", "", "1234", f"1 to {count(len(file))}" if file.index.complete else "")
        )
        if answer and answer.strip():
            self.go_to_row(answer)

    def go_to_row(self, typed: str) -> None:
        """Go to a row by its number as a person types it."""
        file = self.file
        if file is None:
            return
        text = re.sub(r"[\s,_.]", "", typed)
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= len(file):
            self.finetui.notify(f"There is no row {one_line(text)}: rows are 1 to {count(len(file))}")
            return
        position = self.order.position(int(text) - 1)
        if position is None:
            self.finetui.notify("The filter doesn't let that row through; esc takes the filter away")
        else:
            self._records.go(position)

    def action_next_problem(self) -> None:
        positions = self._problem_positions()
        place = bisect.bisect_right(positions, self._records.cursor)
        self._go_problem(positions[place] if place < len(positions) else None, "after")

    def action_previous_problem(self) -> None:
        positions = self._problem_positions()
        place = bisect.bisect_left(positions, self._records.cursor)
        self._go_problem(positions[place - 1] if place else None, "before")

    def _problem_positions(self) -> list[int]:
        """Where the rows with problems are in the list, ascending."""
        assert self.file is not None
        rows = self.file.problems.rows
        if not self.order.filtered and not self.order.sorted:
            return rows
        return sorted(place for row in rows if (place := self.order.position(row)) is not None)

    def _go_problem(self, position: int | None, where: str) -> None:
        if position is None or position >= self._records.count:
            self.finetui.notify(f"No row with a problem {where} this one")
        else:
            self._records.go(position)
