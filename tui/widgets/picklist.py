"""A list of things to mark: drawn line by line, a cursor, marks, and headings that the cursor passes over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.format import ascii_only, clip, pad, plain
from tui.widgets.lines import MOTIONS


@dataclass(frozen=True)
class Pick:
    """One line.

    Args:
        id: what it is known by; empty for a heading.
        size: at the left, at most ten cells.
        title: what it is.
        note: behind it, in muted colour.
        fixed: it can't be marked.
    """

    id: str
    title: str
    size: str = ""
    note: str = ""
    fixed: bool = False


class PickList(ScrollView, can_focus=True):
    """Lines with marks.

    Attributes:
        marked: ids, whichever way they were marked.
    """

    BINDINGS = MOTIONS
    COMPONENT_CLASSES: ClassVar[set[str]] = {"picks--head", "picks--note", "picks--mark", "picks--cursor"}
    DEFAULT_CSS = """
    PickList {
        height: 1fr; min-height: 4; background: transparent; overflow-x: hidden; overflow-y: auto;
        border: round $panel-lighten-2; border-title-color: $foreground; border-title-style: bold;
        scrollbar-size-vertical: 1;
        &:focus { border: heavy $primary; }
        &.-ascii { border: ascii $panel-lighten-2; }
        &.-ascii:focus { border: ascii $primary; }
        & > .picks--head { text-style: bold; color: $foreground 80%; }
        & > .picks--note { color: $foreground 65%; }
        & > .picks--mark { color: $text-warning; text-style: bold; }
        & > .picks--cursor { background: $panel; text-style: bold; }
        &:focus > .picks--cursor { background: $primary 30%; text-style: bold; }
    }
    """

    class Moved(Message):
        """The cursor is on another line, or the lines have changed."""

    class Marked(Message):
        """A mark was set or taken away."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.picks: list[Pick] = []
        self.marked: set[str] = set()
        self.cursor = 0

    def on_mount(self) -> None:
        if ascii_only():
            self.add_class("-ascii")
            self.styles.scrollbar_size_vertical = 0  # its thumb is drawn in blocks

    @property
    def chosen(self) -> Pick | None:
        """The line under the cursor; None while there is none."""
        return (
            self.picks[self.cursor] if self.cursor < len(self.picks) and self.picks[self.cursor].id else None
        )

    def show(self, picks: Sequence[Pick], title: str) -> None:
        """Show these lines; the cursor and the marks stay on theirs as far as they are there."""
        kept = self.chosen.id if self.chosen else ""
        self.picks = list(picks)
        self.marked &= {pick.id for pick in picks if pick.id and not pick.fixed}
        place = next((at for at, pick in enumerate(picks) if kept and pick.id == kept), self.cursor)
        self.border_title = Content(plain(title) if ascii_only() else title)
        self.virtual_size = Size(self.scrollable_content_region.width, len(picks))
        self.cursor = -1
        self.go(place, 1)
        self.refresh()
        self.call_after_refresh(self._reveal)  # how far it can be scrolled is known then

    def mark(self, ids: set[str]) -> None:
        """Have exactly these marked, those that can be."""
        self.marked = ids & {pick.id for pick in self.picks if pick.id and not pick.fixed}
        self.refresh()
        self.post_message(self.Marked())

    def toggle(self) -> None:
        """Mark the line under the cursor, or take its mark away, and go on to the next."""
        pick = self.chosen
        if pick is not None and not pick.fixed:
            self.mark(self.marked ^ {pick.id})
            self.action_move(1)

    # -- moving

    def go(self, row: int, step: int) -> None:
        """Put the cursor on a row, or on the nearest one that is no heading, first in the direction of `step`."""
        if not self.picks:
            self.cursor = 0
            return
        last = len(self.picks) - 1
        row = max(0, min(row, last))
        onward, back = (range(row, last + 1), range(row, -1, -1))[:: 1 if step > 0 else -1]
        row = next((at for way in (onward, back) for at in way if self.picks[at].id), 0)
        moved, self.cursor = row != self.cursor, row
        self._reveal()
        if moved:
            self.refresh()
            self.post_message(self.Moved())

    def _reveal(self) -> None:
        """Bring the cursor's line into view, and its heading if that is just above."""
        if self.cursor >= len(self.picks):
            return
        row, top, height = self.cursor, self.scroll_offset.y, max(1, self.scrollable_content_region.height)
        first = row - 1 if row and not self.picks[row - 1].id else row
        if first < top or row >= top + height:
            self.scroll_to(y=first if first < top else row - height + 1, animate=False, immediate=True)

    def action_move(self, rows: int) -> None:
        self.go(self.cursor + rows, 1 if rows > 0 else -1)

    def action_move_page(self, pages: int) -> None:
        rows = pages * max(1, self.scrollable_content_region.height - 1)
        self.go(self.cursor + rows, 1 if pages > 0 else -1)

    def action_move_first(self) -> None:
        self.go(0, 1)

    def action_move_last(self) -> None:
        self.go(len(self.picks) - 1, -1)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None:
            self.go(offset.y + self.scroll_offset.y, 1)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.picks))
        self.go(self.cursor, 1)
        self.refresh()

    # -- drawing

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        row = y + self.scroll_offset.y
        if row >= len(self.picks):
            return Strip.blank(width, self.rich_style)
        pick = self.picks[row]
        if not pick.id:
            return Strip(
                [Segment(f" {pick.title}", self.get_component_rich_style("picks--head"))]
            ).adjust_cell_length(width, self.rich_style)
        here = row == self.cursor
        style = self.get_component_rich_style("picks--cursor") if here else self.rich_style
        cursor = ((">" if ascii_only() else "▌") if here else " ") + " "
        box = "    " if pick.fixed else "[x] " if pick.id in self.marked else "[ ] "
        marked = style + self.get_component_rich_style("picks--mark") if pick.id in self.marked else style
        title = f"{pick.size:>10}  {self._title(pick)}  "
        note = clip(pick.note, max(0, width - cell_len(cursor + box + title)))
        pieces = [
            Segment(cursor, style),
            Segment(box, marked),
            Segment(plain(title) if ascii_only() else title, style),
            Segment(
                plain(note) if ascii_only() else note,
                style + self.get_component_rich_style("picks--note", partial=True),
            ),
        ]
        return Strip([piece for piece in pieces if piece.text]).adjust_cell_length(width, style)

    def _title(self, pick: Pick) -> str:
        """Its title, as wide as the longest as far as there is room."""
        longest = max(cell_len(item.title) for item in self.picks if item.id)
        return pad(pick.title, min(longest, max(12, (self.scrollable_content_region.width - 18) // 2)))
