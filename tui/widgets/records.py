"""A list of any length, drawn line by line: only the rows in view are asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.format import clip, pad
from tui.widgets.lines import MOTIONS, strip_of

STRIPS_KEPT = 1024


@dataclass(frozen=True)
class RowView:
    """A row as the list shows it.

    Args:
        number: the row's in the file, from 0.
        turns: number of its turns, or empty when it can't be read.
        mark: `✗`, `!` or a space; the state of the row without colour.
        first: its first user message.
    """

    number: int
    turns: str
    mark: str
    first: str


class Records(ScrollView, can_focus=True):
    """Rows by number, with a cursor.

    Args:
        read: gives the view of a row; called for visible rows only.
    """

    BINDINGS = MOTIONS
    COMPONENT_CLASSES = {"records--cursor", "records--head", "records--error", "records--warning"}
    DEFAULT_CSS = """
    Records { height: 1fr; background: $background; overflow-x: hidden; overflow-y: auto; }
    Records .records--head { color: $foreground-muted; }
    Records .records--cursor { background: $panel; text-style: bold; }
    Records:focus .records--cursor { background: $primary 30%; text-style: bold; }
    Records .records--error { color: $text-error; }
    Records .records--warning { color: $text-warning; }
    """

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    def __init__(
        self, read: Callable[[int], RowView], id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._read = read
        self._strips: LRUCache[tuple[int, bool], Strip] = LRUCache(STRIPS_KEPT)
        self.count = 0
        self.cursor = 0

    # -- what the screen tells

    def clear(self) -> None:
        """No rows, cursor at the top."""
        self.count = self.cursor = 0
        self._strips.clear()
        self.scroll_to(y=0, animate=False)
        self.grow(0)

    def grow(self, count: int) -> None:
        """There are now `count` rows; the view stays where it is."""
        first = self.count == 0
        wider = len(str(count)) != len(str(self.count))
        seen = self.count - self.scroll_offset.y < self.rows_in_view
        self.count = count
        self.virtual_size = Size(self.scrollable_content_region.width, count + 1)
        if wider:
            self._strips.clear()
        if first or wider or seen:
            self.refresh()

    def forget(self) -> None:
        """Ask for the rows in view again."""
        self._strips.clear()
        self.refresh()

    def go(self, row: int) -> None:
        """Put the cursor on a row and bring it into view."""
        if not self.count:
            return
        row = max(0, min(row, self.count - 1))
        moved, before, self.cursor = row != self.cursor, self.cursor, row
        self._refresh_row(before)
        self._refresh_row(row)
        top, height = self.scroll_offset.y, self.rows_in_view
        if row < top:
            self.scroll_to(y=row, animate=False)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False)
        if moved:
            self.post_message(self.Moved(row))

    @property
    def top(self) -> int:
        """The first row in view."""
        return self.scroll_offset.y

    @property
    def rows_in_view(self) -> int:
        return max(1, self.scrollable_content_region.height - 1)

    # -- keys and mouse

    def action_move(self, rows: int) -> None:
        self.go(self.cursor + rows)

    def action_move_page(self, pages: int) -> None:
        self.go(self.cursor + pages * self.rows_in_view)

    def action_move_first(self) -> None:
        self.go(0)

    def action_move_last(self) -> None:
        self.go(self.count - 1)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0:
            self.go(min(self.count - 1, offset.y - 1 + self.scroll_offset.y))

    # -- drawing

    def on_resize(self) -> None:
        self._strips.clear()
        self.virtual_size = Size(self.scrollable_content_region.width, self.count + 1)

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y + 1
        if 1 <= y <= self.rows_in_view:
            self.refresh(Region(0, y, self.scrollable_content_region.width, 1))

    def on_focus(self) -> None:
        self._redraw_cursor()

    def on_blur(self) -> None:
        self._redraw_cursor()

    def _redraw_cursor(self) -> None:
        self._strips.discard((self.cursor, True))
        self._refresh_row(self.cursor)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y == 0:
            head = self.get_component_rich_style("records--head")
            return strip_of(Text(self._columns("#", "turns", " ", "first message", " ")), width, head)
        row = y - 1 + self.scroll_offset.y
        if row >= self.count:
            return Strip.blank(width, self.rich_style)
        key = (row, row == self.cursor)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strips[key] = self._draw(row, width)
        return strip

    def _columns(self, number: str, turns: str, mark: str, first: str, cursor: str) -> str:
        digits = max(3, len(str(self.count)))
        left = f"{cursor}{number:>{digits}} {turns:>5} {mark} "
        return left + pad(first, max(0, self.scrollable_content_region.width - len(left)))

    def _draw(self, row: int, width: int) -> Strip:
        view = self._read(row)
        chosen = row == self.cursor
        text = Text(
            self._columns(
                str(view.number + 1), view.turns, view.mark, clip(view.first, width), "▌" if chosen else " "
            )
        )
        if view.mark != " ":
            name = "records--error" if view.mark == "✗" else "records--warning"
            place = text.plain.index(view.mark)
            text.stylize(self.get_component_rich_style(name, partial=True), place, place + 1)
        style = self.get_component_rich_style("records--cursor") if chosen else self.rich_style
        return strip_of(text, width, style)
