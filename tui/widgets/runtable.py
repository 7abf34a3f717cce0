"""The table of runs: drawn line by line, so that a change repaints its row only; the cursor stays on its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.format import NONE, ago, ascii_only, clip, count, loss, one_line, pad, plain
from tui.states import colour, state_of, words
from tui.widgets.lines import MOTIONS

if TYPE_CHECKING:
    from core.runs.rows import RunRow


@dataclass(frozen=True)
class Column:
    """A column: its heading, its width (0: what is left) and the least terminal width at which it is shown."""

    key: str
    label: str
    width: int
    from_width: int = 0
    right: bool = False


COLUMNS = (
    Column("name", "name", 0),
    Column("state", "state", 11),
    Column("where", "where", 10, 100),
    Column("model", "model", 22, 110),
    Column("step", "step", 17, right=True),
    Column("eval", "eval loss", 9, right=True),
    Column("base", "base", 8, 88, right=True),
    Column("when", "started", 10),
)
GAP = 2
SIGNS = 3
"""Cells before the first column: the cursor, the letter of a marked run, and a space."""


class RunTable(ScrollView, can_focus=True):
    """Runs as rows under a line of headings.

    Attributes:
        letters: of marked runs, by their ids.
    """

    BINDINGS = [*MOTIONS, Binding("enter", "choose", show=False)]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"runs--head", "runs--cursor", "runs--mark"}
    DEFAULT_CSS = """
    RunTable {
        height: 1fr; min-height: 4; background: transparent; overflow-x: hidden; overflow-y: auto;
        border: round $panel-lighten-2; border-title-color: $foreground; border-title-style: bold;
        &:focus { border: heavy $primary; }
        &.-ascii { border: ascii $panel-lighten-2; }
        &.-ascii:focus { border: ascii $primary; }
        & > .runs--head { color: $foreground-muted; }
        & > .runs--mark { color: $text-warning; text-style: bold reverse; }
        & > .runs--cursor { background: $panel; text-style: bold; }
        &:focus > .runs--cursor { background: $primary 30%; text-style: bold; }
    }
    """

    class Moved(Message):
        """The cursor is on another run, or its run has changed."""

    class Chosen(Message):
        """`enter` on a run."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.rows_shown: list[RunRow] = []
        self.letters: dict[str, str] = {}
        self.cursor = 0
        self._cells: list[dict[str, str]] = []
        self._when = "started"
        self._title = ""

    def on_mount(self) -> None:
        if ascii_only():
            self.add_class("-ascii")
            self.styles.scrollbar_size_vertical = 0  # its thumb is drawn in blocks

    @property
    def chosen(self) -> RunRow | None:
        """The run under the cursor."""
        return self.rows_shown[self.cursor] if self.rows_shown else None

    def show(self, rows: Sequence[RunRow], title: str, now: float, trash: bool = False) -> None:
        """Show these runs; the cursor stays on its run, or on its place when that run is gone.

        Args:
            rows: in their order.
            title: for the border.
            now: the time of day, for "4 h ago".
            trash: they are deleted ones.
        """
        kept = self.chosen.id if self.chosen else ""
        before, self._cells = self._cells, [_cells(row, now, trash) for row in rows]
        self.rows_shown = list(rows)
        place = next((at for at, row in enumerate(rows) if row.id == kept), self.cursor)
        moved, self.cursor = self.cursor, max(0, min(place, len(rows) - 1))
        if len(before) != len(rows) or self._when != ("deleted" if trash else "started"):
            self._when = "deleted" if trash else "started"
            self.virtual_size = Size(self.scrollable_content_region.width, len(rows) + 1)
            self.refresh()
        else:
            for at, (old, new) in enumerate(zip(before, self._cells, strict=True)):
                if old != new or (moved != self.cursor and at in (moved, self.cursor)):
                    self._refresh_row(at)
        if title != self._title:
            self._title = title
            self.border_title = Content(title)

    def mark(self, letters: dict[str, str]) -> None:
        """Show these letters beside their runs."""
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
            labels = {column.key: column.label for column in COLUMNS} | {"when": self._when}
            style = self.get_component_rich_style("runs--head")
            text = " " * SIGNS + "".join(text for text, _ in _line(labels, width, self.app.size.width))
            return Strip([Segment(text, style)]).adjust_cell_length(width, style)
        row = y - 1 + self.scroll_offset.y
        if row >= len(self._cells):
            return Strip.blank(width, self.rich_style)
        here = row == self.cursor
        style = self.get_component_rich_style("runs--cursor") if here else self.rich_style
        sign = (">" if ascii_only() else "▌") if here else " "
        letter = self.letters.get(self.rows_shown[row].id, " ")
        marked = self.get_component_rich_style("runs--mark", partial=True) if letter != " " else style
        segments = [Segment(sign, style), Segment(letter, style + marked), Segment(" ", style)]
        for text, key in _line(self._cells[row], width, self.app.size.width):
            state = colour(self.app, state_of(self.rows_shown[row].state).colour)
            segments.append(Segment(text, style + state if key == "state" else style))
        return Strip(segments).adjust_cell_length(width, style)


def _line(cells: dict[str, str], width: int, terminal_width: int) -> list[tuple[str, str]]:
    """The cells of a row that fit, each padded to its column: (text, key)."""
    shown = [column for column in COLUMNS if terminal_width >= column.from_width]
    left = width - SIGNS - sum(column.width + GAP for column in shown if column.width)
    line = []
    for column in shown:
        room = column.width or max(8, left - GAP)
        text = clip(cells[column.key], room)
        text = " " * (room - cell_len(text)) + text if column.right else pad(text, room)
        line.append((text + " " * GAP, column.key))
    return line


def _cells(row: RunRow, now: float, trash: bool) -> dict[str, str]:
    """A run's words by column."""
    total = f" / {count(row.total_steps)}" if row.total_steps else ""
    cells = {
        "name": one_line(row.name),
        "state": words(row.state),
        "where": one_line(f"{'here' if row.backend == 'local' else row.backend} {row.device}"),
        "model": one_line(row.model.rpartition("/")[2] or row.model),
        "step": f"{count(row.step)}{total}" if row.step or total else NONE,
        "eval": loss(row.eval_loss),
        "base": loss(row.base_eval_loss),
        "when": ago(row.trashed_at if trash else row.started or row.created, now),
    }
    return {key: plain(text) for key, text in cells.items()} if ascii_only() else cells
