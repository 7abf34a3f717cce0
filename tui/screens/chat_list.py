"""The kept chats: open, rename, delete and bring back."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.errors import FinetuiError
from core.serving.chats import Chats, Row
from tui.format import ago, clip, count, one_line, pad
from tui.keeping import Keeping
from tui.widgets.dialogs import Ask, Choices, Dialog

TITLE_CELLS, SIDES_CELLS = 30, 18


class ChatList(Dialog[str | None]):
    """The id of the chat to go on with; None when the user thinks better of it.

    Args:
        rows: the chats there are.
        keeping: where they are kept.
        current: the id of the one that is open.
    """

    TITLE = "Chats"
    KEYS = "enter open   e rename   x delete   u undo delete   esc close"
    BINDINGS = [
        Binding("e", "rename", show=False),
        Binding("x", "delete", show=False),
        Binding("u", "undo", show=False),
    ]
    DEFAULT_CSS = "ChatList #dialog { width: 84; }"

    def __init__(self, rows: list[Row], keeping: Keeping, current: str) -> None:
        super().__init__()
        self._rows = rows
        self._keeping = keeping
        self._current = current
        self._deleted: list[str] = []
        self._list = Choices(markup=False)

    def compose_content(self) -> ComposeResult:
        yield self._list
        yield Static("", id="note", markup=False)

    def on_mount(self) -> None:
        self._fill(self._current)

    def _fill(self, highlighted: str) -> None:
        self._list.clear_options()
        self._list.add_options([Option(_words(row), id=row.id) for row in self._rows])
        ids = [row.id for row in self._rows]
        if ids:
            self._list.highlighted = ids.index(highlighted) if highlighted in ids else 0
        empty = "No chats are kept yet: each one is, from its first message on."
        self.query_one("#note", Static).update("" if ids else empty)

    @property
    def _row(self) -> Row | None:
        place = self._list.highlighted
        return self._rows[place] if place is not None and place < len(self._rows) else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    @work(exclusive=True, group="change")
    async def action_rename(self) -> None:
        row = self._row
        if row is None:
            return
        title = await self.app.push_screen_wait(Ask("Name of the chat", row.title))
        if title and title.strip():
            await self._change(lambda chats: chats.rename(row.id, title), row.id)

    @work(exclusive=True, group="change")
    async def action_delete(self) -> None:
        """Into the trash, for 30 days; `u` brings it back."""
        row = self._row
        if row is not None:
            self._deleted.append(row.id)
            after = self._rows[min(self._rows.index(row) + 1, len(self._rows) - 1)].id
            await self._change(lambda chats: chats.delete(row.id), after)

    @work(exclusive=True, group="change")
    async def action_undo(self) -> None:
        if self._deleted:
            chat = self._deleted.pop()
            await self._change(lambda chats: chats.restore(chat), chat)

    async def _change(self, change: Callable[[Chats], None], highlighted: str) -> None:
        try:
            await self._keeping.ask(change)
            self._rows = await self._keeping.ask(lambda chats: chats.all())
        except FinetuiError as error:
            self.query_one("#note", Static).update(f"{one_line(error.what)} {one_line(error.cause)}")
            return
        self._fill(highlighted)


def _words(row: Row) -> str:
    """`title   sides   3 turns, 5 min ago`."""
    sides = one_line(row.a if not row.b else f"{row.a} | {row.b}")
    when = f"{count(row.turns)} turn{'' if row.turns == 1 else 's'}, {ago(row.changed, time.time())}"
    return f"{pad(one_line(row.title), TITLE_CELLS)}  {pad(clip(sides, SIDES_CELLS), SIDES_CELLS)}  {when}"
