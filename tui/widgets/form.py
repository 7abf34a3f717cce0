"""A form of one-line fields: moved through by plain keys, a field becomes a text field while it is edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.containers import VerticalScroll
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input

from tui.format import clip, one_line, pad
from tui.widgets.field import Field
from tui.widgets.lines import MOTIONS

GROUP_WIDTH = 11
LABEL_WIDTH = 23


@dataclass(frozen=True)
class Line:
    """What a field shows.

    Args:
        name: the field.
        group: its heading, shown where it changes.
        label: its name for people.
        value: the set value as text, or empty.
        default: what is used while it is unset.
        problem: what is wrong with it, or empty.
        note: said after the value.
    """

    name: str
    group: str
    label: str
    value: str
    default: str
    problem: str = ""
    note: str = ""


class FieldRow(Widget):
    """One field of the form."""

    COMPONENT_CLASSES = {"row--muted", "row--error", "row--cursor", "row--label"}
    DEFAULT_CSS = """
    FieldRow { height: 1; width: 1fr; }
    FieldRow .row--muted { color: $foreground-muted; }
    FieldRow .row--label { color: $foreground; }
    FieldRow .row--error { color: $text-error; text-style: bold; }
    FieldRow.-cursor { background: $panel; }
    """

    def __init__(self, line: Line, group: str) -> None:
        super().__init__()
        self.line = line
        self._group = group

    def update(self, line: Line) -> None:
        if line != self.line:
            self.line = line
            self.refresh()

    def render(self) -> Text:
        line, width = self.line, self.size.width
        muted = self.get_component_rich_style("row--muted", partial=True)
        text = Text(no_wrap=True, end="")
        text.append("▌" if self.has_class("-cursor") else " ")
        text.append(pad(self._group, GROUP_WIDTH - 1), muted)
        text.append(pad(line.label, LABEL_WIDTH))
        room = max(8, width - text.cell_len - 1)
        if line.value:
            text.append(clip(one_line(line.value), room), "bold")
        elif line.default:
            text.append(clip(f"{line.default} (default)", room), muted)
        elif not line.problem:
            text.append("not set", muted)
        if line.note:
            text.append(f"  {one_line(line.note)}", muted)
        if line.problem:
            style = self.get_component_rich_style("row--error", partial=True)
            text.append(f"{'  ' if line.value else ''}✗ {one_line(line.problem)}", style)
        text.truncate(width, overflow="ellipsis")
        return text

    def edit(self, value: str, suggester: Suggester | None) -> None:
        """Put a text field over the value."""
        field = Field(value, suggester=suggester, placeholder=self.line.default)
        field.styles.margin = (0, 1, 0, GROUP_WIDTH + LABEL_WIDTH)
        self.mount(field)
        field.focus()

    def end_edit(self) -> None:
        for field in self.query(Field):
            field.remove()


class Form(VerticalScroll, can_focus=True):
    """The fields, with a cursor."""

    BINDINGS = MOTIONS
    DEFAULT_CSS = """
    Form { height: 1fr; overflow-x: hidden; }
    Form:focus FieldRow.-cursor { background: $primary 30%; }
    """

    class Moved(Message):
        """The cursor is on another field."""

    class Edited(Message):
        """A text was typed for a field."""

        def __init__(self, name: str, text: str) -> None:
            super().__init__()
            self.name = name
            self.text = text

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = 0
        self._rows: list[FieldRow] = []

    async def set_lines(self, lines: Sequence[Line]) -> None:
        """Show these fields; the same ones as before are only drawn anew."""
        if [row.line.name for row in self._rows] == [line.name for line in lines]:
            for row, line in zip(self._rows, lines, strict=True):
                row.update(line)
            return
        name = self.current
        await self.remove_children()
        before, self._rows = "", []
        for line in lines:
            self._rows.append(FieldRow(line, "" if line.group == before else line.group))
            before = line.group
        await self.mount_all(self._rows)
        names = [line.name for line in lines]
        self.cursor = names.index(name) if name in names else 0
        self._mark()
        self.post_message(self.Moved())

    @property
    def current(self) -> str:
        """The name of the field under the cursor, or empty."""
        return self._rows[self.cursor].line.name if self._rows else ""

    def go(self, place: int) -> None:
        """Put the cursor on a field."""
        if self._rows:
            self.cursor = max(0, min(place, len(self._rows) - 1))
            self._mark()
            self.post_message(self.Moved())

    def go_to(self, name: str) -> None:
        """Put the cursor on the field of a name, if it is shown."""
        names = [row.line.name for row in self._rows]
        if name in names:
            self.go(names.index(name))

    def _mark(self) -> None:
        for place, row in enumerate(self._rows):
            if row.has_class("-cursor") != (place == self.cursor):
                row.toggle_class("-cursor")
                row.refresh()
        if self._rows:
            self.scroll_to_widget(self._rows[self.cursor], animate=False)

    # -- editing

    def edit(self, value: str, suggester: Suggester | None = None) -> None:
        """Edit the field under the cursor as text."""
        self.leave()
        self._rows[self.cursor].edit(value, suggester)

    def leave(self) -> None:
        """End editing; what was typed is kept by `Edited` when it was sent with enter or left with esc."""
        for row in self._rows:
            row.end_edit()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._keep(event.value)
        self.focus()

    def on_field_passed(self, event: Field.Passed) -> None:
        event.stop()
        self.focus()
        self.go(self.cursor + 1)

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        if isinstance(event.widget, Field):
            self._keep(event.widget.value)

    def _keep(self, text: str) -> None:
        name = next((row.line.name for row in self._rows if row.query(Field)), None)
        self.leave()
        if name is not None:
            self.post_message(self.Edited(name, text))

    # -- moving

    def action_move(self, rows: int) -> None:
        self.go(self.cursor + rows)

    def action_move_page(self, pages: int) -> None:
        self.go(self.cursor + pages * max(1, self.size.height - 1))

    def action_move_first(self) -> None:
        self.go(0)

    def action_move_last(self) -> None:
        self.go(len(self._rows) - 1)

    def on_click(self, event: events.Click) -> None:
        for place, row in enumerate(self._rows):
            if event.widget is row:
                self.go(place)
