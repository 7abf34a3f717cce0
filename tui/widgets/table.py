"""A table drawn line by line: a change repaints its row only, and the cursor stays on its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.format import ascii_only, clip, pad, plain
from tui.states import colour
from tui.widgets.lines import MOTIONS

GAP = 2
LEAST_ROOM = 8
"""Cells of the column that takes what is left."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, its width (0: what is left) and the least terminal width at which it is shown."""

    key: str
    label: str
    width: int
    from_width: int = 0
    right: bool = False


@dataclass(frozen=True)
class Row:
    """A row as shown.

    Args:
        key: tells it from the others.
        cells: words by column; foreign ones made visible.
        colours: theme variables of cells that have a colour, by column.
    """

    key: str
    cells: Mapping[str, str]
    colours: Mapping[str, str]


class Table(ScrollView, can_focus=True):
    """Rows under a line of headings.

    Args:
        columns: in their order.
        marked: there is a cell for letters before the first column.

    Attributes:
        letters: of marked rows, by their keys.
    """

    BINDINGS = [*MOTIONS, Binding("enter", "choose", show=False)]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--head", "table--cursor", "table--mark"}
    DEFAULT_CSS = """
    Table {
        height: 1fr; min-height: 4; background: transparent; overflow-x: hidden; overflow-y: auto;
        border: round $panel-lighten-2; border-title-color: $foreground; border-title-style: bold;
        &:focus { border: heavy $primary; }
        &.-ascii { border: ascii $panel-lighten-2; }
        &.-ascii:focus { border: ascii $primary; }
        & > .table--head { color: $foreground-muted; }
        & > .table--mark { color: $text-warning; text-style: bold reverse; }
        & > .table--cursor { background: $panel; text-style: bold; }
        &:focus > .table--cursor { background: $primary 30%; text-style: bold; }
    }
    """

    class Moved(Message):
        """The cursor is on another row."""

    class Chosen(Message):
        """`enter` on a row."""

    def __init__(
        self,
        columns: Sequence[Column],
        id: str | None = None,  # noqa: A002 - Textual's name
        marked: bool = False,
    ) -> None:
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.marked = marked
        self.letters: dict[str, str] = {}
        self.rows_shown: list[Row] = []
        self.cursor = 0
        self._title = ""

    def on_mount(self) -> None:
        if ascii_only():
            self.add_class("-ascii")
            self.styles.scrollbar_size_vertical = 0  # its thumb is drawn in blocks

    @property
    def chosen(self) -> str:
        """Key of the row under the cursor, or empty."""
        return self.rows_shown[self.cursor].key if self.rows_shown else ""

    def show(self, rows: Sequence[Row], title: str) -> None:
        """Show these rows; the cursor stays on its row, or on its place when that row is gone.

        Args:
            rows: in their order.
            title: for the border.
        """
        kept = self.chosen
        before, self.rows_shown = self.rows_shown, list(rows)
        place = next((at for at, row in enumerate(rows) if row.key == kept), self.cursor)
        moved, self.cursor = self.cursor, max(0, min(place, len(rows) - 1))
        if len(before) != len(rows):
            self.virtual_size = Size(self.scrollable_content_region.width, len(rows) + 1)
            self.refresh()
        else:
            for at, (old, new) in enumerate(zip(before, rows, strict=True)):
                if old != new or (moved != self.cursor and at in (moved, self.cursor)):
                    self._refresh_row(at)
        if title != self._title:
            self._title = title
            self.border_title = Content(plain(title) if ascii_only() else title)
        if self.chosen != kept:
            self.post_message(self.Moved())

    def mark(self, letters: dict[str, str]) -> None:
        """Show these letters beside their rows."""
        if letters != self.letters:
            self.letters = letters
            self.refresh()

    # -- moving

    @property
    def _rows_in_view(self) -> int:
        return max(1, self.scrollable_content_region.height - 1)

    def go(self, row: int) -> None:
        """Put the cursor on a row and bring it into view."""
        row = max(0, min(row, len(self.rows_shown) - 1))
        before, self.cursor = self.cursor, row
        top = self.scroll_offset.y
        if row < top or row >= top + self._rows_in_view:
            new_top = row if row < top else row - self._rows_in_view + 1
            self.scroll_to(y=new_top, animate=False, immediate=True)
        if before != row:
            self._refresh_row(before)
            self._refresh_row(row)
            self.post_message(self.Moved())

    def action_move(self, rows: int) -> None:
        self.go(self.cursor + rows)

    def action_move_page(self, pages: int) -> None:
        self.go(self.cursor + pages * self._rows_in_view)

    def action_move_first(self) -> None:
        self.go(0)

    def action_move_last(self) -> None:
        self.go(len(self.rows_shown) - 1)

    def action_choose(self) -> None:
        self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0:
            self.go(offset.y - 1 + self.scroll_offset.y)

    # -- drawing

    def on_resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.rows_shown) + 1)
        self.go(self.cursor)
        self.refresh()

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y + 1
        if 1 <= y <= self._rows_in_view:
            self.refresh(Region(0, y, self.scrollable_content_region.width, 1))

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y == 0:
            labels = {column.key: column.label for column in self.columns}
            style = self.get_component_rich_style("table--head")
            text = " " * self._signs + "".join(text for text, _ in self._line(labels, width))
            return Strip([Segment(text, style)]).adjust_cell_length(width, style)
        at = y - 1 + self.scroll_offset.y
        if at >= len(self.rows_shown):
            return Strip.blank(width, self.rich_style)
        row, here = self.rows_shown[at], at == self.cursor
        style = self.get_component_rich_style("table--cursor") if here else self.rich_style
        sign = (">" if ascii_only() else "▌") if here else " "
        segments = [Segment(sign, style)]
        if letter := self.letters.get(row.key):
            segments.append(
                Segment(letter, style + self.get_component_rich_style("table--mark", partial=True))
            )
        segments.append(Segment(" " * (self._signs - len(segments)), style))
        for text, key in self._line(row.cells, width):
            own = style + colour(self.app, row.colours[key]) if key in row.colours else style
            segments.append(Segment(text, own))
        return Strip(segments).adjust_cell_length(width, style)

    @property
    def _signs(self) -> int:
        """Cells before the first column: the cursor, a letter where rows can have one, and a space."""
        return 3 if self.marked else 2

    def _line(self, cells: Mapping[str, str], width: int) -> list[tuple[str, str]]:
        """The cells of a row that fit, each padded to its column: (text, key)."""
        shown = [column for column in self.columns if self.app.size.width >= column.from_width]
        left = width - self._signs - sum(column.width + GAP for column in shown if column.width)
        line = []
        for column in shown:
            room = column.width or max(LEAST_ROOM, left - GAP)
            text = clip(plain(cells[column.key]) if ascii_only() else cells[column.key], room)
            text = " " * (room - cell_len(text)) + text if column.right else pad(text, room)
            line.append((text + " " * GAP, column.key))
        return line
